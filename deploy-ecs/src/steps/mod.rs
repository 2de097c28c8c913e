//! The kinds of steps, one file each.

pub(crate) mod register;
pub(crate) mod update_service;
