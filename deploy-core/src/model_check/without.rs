//! Each rule of the protocol taken out: the model must then find what docs/protocol.md says that happens. A rule whose
//! removal nobody notices would be one that nothing depends on.

use super::{
    check, setting,
    world::{Budget, Class, Setting},
};
use crate::machine::Rules;

const NONE: Budget = Budget::NONE;

/// Every scope here holds with all rules; without this one, that is broken.
fn without(set: Setting, rule: impl Fn(&mut Rules), found: &[&str]) {
    let mut set = set;
    rule(&mut set.rules);
    let (broken, _) = check(set);
    let names: Vec<&str> = broken.iter().map(|(name, _)| *name).collect();
    println!("    -> {broken:?}");
    assert!(names.iter().any(|name| found.contains(name)), "found only {names:?}");
}

const TWICE: &str = "what must not happen twice happens twice";
const OLDER: &str = "a write of an older fence lands after a newer holder has sealed";
const AFTER_THE_END: &str = "something lands after the end was said";
const OPEN_END: &str = "the end is refused: an intent is open";

#[test]
fn without_barrier_writes_an_old_request_lands_after_the_takeover() {
    let budget = Budget { crashes: 1, resumes: 1, delays: 1, ..NONE };
    let set = setting("without barrier", Class::P1, 6, budget);
    without(set, |rules| rules.barrier = false, &[OLDER]);
}

#[test]
fn without_versions_read_first_an_older_taker_seals_over_a_newer_one() {
    let budget = Budget { resumes: 2, breaks: 2, ..NONE };
    let set = setting("without versions_first", Class::P1, 3, budget);
    without(set, |rules| rules.versions_first = false, &[OLDER]);
}

#[test]
fn without_the_quiet_time_an_old_request_lands_over_the_new_holder() {
    let budget = Budget { resumes: 1, breaks: 1, delays: 1, ..NONE };
    let set = setting("without quiet_time", Class::P0, 6, budget);
    without(set, |rules| rules.quiet_time = false, &[OLDER]);
}

#[test]
fn without_reading_back_the_winner_is_told_that_it_lost() {
    let budget = Budget { store: 1, ..NONE };
    let set = setting("without read_back", Class::P0, 6, budget);
    without(set, |rules| rules.read_back = false, &["the winner is told that it lost"]);
}

#[test]
fn without_the_clock_at_the_permit_a_paused_holder_sends_after_the_takeover() {
    let budget = Budget { pauses: 1, resumes: 1, ..NONE };
    let set = setting("without permit_clock", Class::P0, 9, budget).unsigned();
    without(set, |rules| rules.permit_clock = false, &[OLDER, AFTER_THE_END]);
}

#[test]
fn without_an_empty_list_of_open_calls_the_claim_is_released_over_one() {
    let budget = Budget { delays: 1, ..NONE };
    let set = setting("without open_empty", Class::P0, 6, budget);
    let released = "the claim is released while an intent is open";
    without(set, |rules| rules.open_empty = false, &[released, AFTER_THE_END]);
}

#[test]
fn without_the_standing_undo_a_failing_store_forbids_the_rollback() {
    let word = "undone without the store";
    for standing in [true, false] {
        let budget = Budget { partitions: 1, red: 1, ..NONE };
        let mut set = setting("standing undo", Class::P0, 6, budget);
        set.rules.standing_undo = standing;
        let (broken, unreached) = check(set);
        assert!(broken.is_empty(), "{broken:#?}");
        assert_eq!(!unreached.contains(&word), standing, "{unreached:?}");
    }
}

#[test]
fn without_at_most_once_an_unknown_call_is_sent_again() {
    let budget = Budget { crashes: 1, resumes: 1, ..NONE };
    let set = setting("without at_most_once", Class::P0, 8, budget).with_run();
    without(set, |rules| rules.at_most_once = false, &[TWICE]);
}

#[test]
fn without_care_on_sight_one_of_two_equal_calls_is_taken_for_the_other() {
    let budget = Budget { delays: 1, red: 1, ..NONE };
    let set = setting("without sight_only_if_sole", Class::P0, 6, budget);
    without(set, |rules| rules.sight_only_if_sole = false, &[AFTER_THE_END]);
}

#[test]
fn without_counting_a_foreign_writer_is_fought() {
    let budget = Budget { delays: 1, red: 1, foreign_new: 3, ..NONE };
    let set = setting("without count_appearances", Class::P0, 9, budget).signed_for(5);
    without(set, |rules| rules.count_appearances = false, &["a foreign writer is fought"]);
}

#[test]
fn without_waiting_superseded_is_said_before_the_last_look() {
    let budget = Budget { delays: 1, foreign: 1, ..NONE };
    let set = setting("without look_after_closed", Class::P0, 6, budget);
    without(set, |rules| rules.look_after_closed = false, &[OPEN_END, AFTER_THE_END]);
}

#[test]
fn without_waiting_rolled_back_is_said_before_it_is_final() {
    let budget = Budget { delays: 1, aborts: 1, ..NONE };
    let set = setting("without final_after_closed", Class::P0, 6, budget);
    without(set, |rules| rules.final_after_closed = false, &[OPEN_END, AFTER_THE_END]);
}

#[test]
fn without_one_record_an_old_holder_writes_into_the_new_ones_journal() {
    let budget = Budget { resumes: 1, breaks: 1, ..NONE };
    let set = setting("without one_record", Class::P1, 3, budget);
    without(set, |rules| rules.one_record = false, &["the journal has gaps"]);
}
