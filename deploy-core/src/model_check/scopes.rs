//! The scopes that are checked to the end with every rule in place.

use super::{
    check, setting,
    world::{Budget, Class, Setting},
};

const NONE: Budget = Budget::NONE;

/// Nothing is broken, and what the scope is there for happens in it.
fn holds(set: Setting, reached: &[&str]) {
    let (broken, unreached) = check(set);
    assert!(broken.is_empty(), "{broken:#?}");
    let missing: Vec<_> = reached.iter().filter(|name| unreached.contains(name)).collect();
    assert!(missing.is_empty(), "never happened: {missing:?}");
}

/// The bigger scopes run with `MODEL=full` alone: they take minutes.
fn full() -> bool {
    std::env::var("MODEL").is_ok_and(|value| value == "full")
}

#[test]
fn p0_a_crash_and_a_takeover() {
    let budget = Budget { crashes: 1, resumes: 1, delays: 1, red: 1, ..NONE };
    let reached = ["succeeded", "rolled back", "resumed", "gone back over an unanswered call"];
    holds(setting("crash, takeover, late call, bad revision", Class::P0, 9, budget), &reached);
}

#[test]
fn p0_somebody_else_writes() {
    let budget = Budget { delays: 1, foreign: 1, red: 1, aborts: 1, ..NONE };
    let reached = ["superseded", "rolled back", "aborted", "succeeded"];
    holds(setting("foreign writer, late call, abort", Class::P0, 9, budget), &reached);
}

#[test]
fn p0_somebody_else_writes_the_new_value() {
    let budget = Budget { delays: 1, foreign_new: 3, red: 1, ..NONE };
    let set = setting("foreign new value, late call", Class::P0, 9, budget).signed_for(5);
    holds(set, &["superseded", "rolled back"]);
}

#[test]
fn p0_a_lease_broken_under_a_living_holder() {
    let budget = Budget { resumes: 1, breaks: 1, delays: 1, ..NONE };
    holds(setting("broken lease, late call", Class::P0, 6, budget), &["resumed", "succeeded"]);
}

#[test]
fn p0_a_platform_without_signatures() {
    let budget = Budget { resumes: 1, delays: 1, pauses: 1, ..NONE };
    let set = setting("unsigned, pause, takeover, late call", Class::P0, 9, budget).unsigned();
    holds(set, &["resumed", "succeeded"]);
}

#[test]
fn p0_the_store_is_gone() {
    let budget = Budget { partitions: 1, red: 1, pauses: 1, ..NONE };
    holds(setting("store out of reach, pause", Class::P0, 7, budget), &["undone without the store"]);
}

#[test]
fn a_successor_of_somebody_who_could_not_write_down_the_undo() {
    for (class, ticks) in [(Class::P0, 10), (Class::P1, 8)] {
        let budget = Budget { partitions: 1, red: 1, resumes: 1, ..NONE };
        let reached = ["undone without the store", "resumed", "rolled back"];
        holds(setting("store out of reach, takeover", class, ticks, budget), &reached);
    }
}

#[test]
fn p0_answers_of_the_store_are_lost() {
    let aborting = Budget { store: 2, resumes: 1, aborts: 1, ..NONE };
    holds(setting("lost answers of the store, abort", Class::P0, 4, aborting), &["succeeded", "aborted"]);
    let leaving = Budget { store: 2, resumes: 1, leaves: 1, ..NONE };
    holds(setting("lost answers of the store, leaving", Class::P0, 4, leaving), &["succeeded", "resumed"]);
}

#[test]
fn p0_what_must_not_happen_twice() {
    let budget = Budget { crashes: 1, resumes: 1, delays: 1, ..NONE };
    holds(setting("at most once, crash, takeover", Class::P0, 10, budget).with_run(), &["resumed"]);
}

fn takeovers_at_any_time(class: Class) {
    let aborts = Budget { resumes: 1, breaks: 1, aborts: 1, ..NONE };
    let delays = Budget { resumes: 1, breaks: 1, delays: 1, ..NONE };
    for (name, budget, reached) in [
        ("broken lease, abort", aborts, ["resumed", "aborted"]),
        ("broken lease, late call", delays, ["resumed", "succeeded"]),
    ] {
        let mut set = setting(name, class, 3, budget);
        // Nothing in the safety of P1 and P2 depends on clocks.
        set.rules.permit_clock = false;
        holds(set, &reached);
    }
}

#[test]
fn p1_takeovers_at_any_time() {
    takeovers_at_any_time(Class::P1);
}

#[test]
fn p1_going_back_over_an_unanswered_call() {
    let budget = Budget { delays: 2, aborts: 1, red: 1, ..NONE };
    let reached = ["gone back over an unanswered call", "aborted", "rolled back"];
    holds(setting("abort and late calls", Class::P1, 7, budget), &reached);
}

#[test]
fn p2_takeovers_at_any_time() {
    takeovers_at_any_time(Class::P2);
}

#[test]
fn full_scope() {
    if !full() {
        return;
    }
    let two = Budget { crashes: 2, resumes: 2, delays: 1, red: 1, ..NONE };
    holds(setting("full: two crashes, three deployers", Class::P0, 13, two), &["resumed"]);
    let foreign = Budget { crashes: 1, resumes: 1, delays: 1, red: 1, foreign: 1, aborts: 1, ..NONE };
    holds(setting("full: takeover and a foreign writer", Class::P0, 10, foreign), &["superseded"]);
    let late = Budget { delays: 2, crashes: 1, resumes: 1, aborts: 1, ..NONE };
    holds(setting("full: two late calls", Class::P0, 10, late), &["resumed"]);
    let unanswered = Budget { delays: 2, foreign_new: 3, red: 1, ..NONE };
    holds(setting("full: foreign new value, two late calls", Class::P0, 9, unanswered), &["superseded"]);
    let store = Budget { store: 2, resumes: 1, leaves: 1, aborts: 1, ..NONE };
    holds(setting("full: lost answers of the store", Class::P0, 4, store), &["resumed", "aborted"]);
    for class in [Class::P1, Class::P2] {
        let both = Budget { resumes: 1, breaks: 1, delays: 1, aborts: 1, ..NONE };
        let mut set = setting("full: broken lease, late call, abort", class, 3, both);
        set.rules.permit_clock = false;
        holds(set, &["resumed", "aborted"]);
        let three = Budget { resumes: 2, breaks: 2, delays: 1, ..NONE };
        let mut set = setting("full: three deployers, broken leases, late call", class, 4, three);
        set.rules.permit_clock = false;
        holds(set, &["resumed"]);
    }
}
