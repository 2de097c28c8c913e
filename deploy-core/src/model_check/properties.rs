//! What must always hold, and what must be reachable, so that nothing holds for want of anything happening.

use stateright::Property;

use super::{
    checker::ended,
    world::{Setting, World},
};
use crate::model::Ended;

macro_rules! never {
    ($($name:literal),* $(,)?) => {
        vec![$(Property::always($name, |_, world: &World| !world.rest.ghost.broken.0.contains($name))),*]
    };
}

pub(super) fn all() -> Vec<Property<Setting>> {
    let mut all: Vec<Property<Setting>> = never![
        "the winner is told that it lost",
        "the journal has gaps",
        "an outcome is said that was not seen",
        "something is sent without a durable intent",
        "a foreign change that was seen is overwritten",
        "a foreign writer is fought",
        "it gives way to itself",
        "the claim is released while an intent is open",
        "the fence goes down",
        "the end is refused: an intent is open",
        "what must not happen twice happens twice",
        "a write of an older fence lands after a newer holder has sealed",
        "something lands after the end was said",
    ];
    all.extend([
        Property::sometimes("succeeded", |_, world: &World| {
            matches!(ended(world), Some(Ended::Succeeded { .. }))
        }),
        Property::sometimes("rolled back", |_, world: &World| {
            matches!(ended(world), Some(Ended::RolledBack { .. }))
        }),
        Property::sometimes("superseded", |_, world: &World| ended(world) == Some(&Ended::Superseded)),
        Property::sometimes("aborted", |_, world: &World| ended(world) == Some(&Ended::Aborted)),
        Property::sometimes("resumed", |_, world: &World| world.rest.ghost.resumed && ended(world).is_some()),
        Property::sometimes("gone back over an unanswered call", |_, world: &World| {
            world.rest.ghost.back_over_open && ended(world).is_some()
        }),
        Property::sometimes("undone without the store", |_, world: &World| {
            world.rest.ghost.undone_without_store
        }),
    ]);
    all
}
