//! The memory platform in its four shapes: what each promises, and what each is awkward in.

mod ecs;
mod every;
mod kubernetes;
mod support;
mod terraform;
mod vapor;
mod world;
