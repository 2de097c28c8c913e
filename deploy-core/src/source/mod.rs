//! Where commits come from.
