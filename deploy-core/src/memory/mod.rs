//! The memory platform: the reference, and a shape-shifter.
