//! The real binary, as a person or a program runs it, against an emulator served on loopback.

mod changes;
mod commands;
mod kept;
mod looks;
mod stage;
mod usage;
