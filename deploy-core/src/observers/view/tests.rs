use serde_json::json;

use super::*;
use crate::{
    model::{Actor, GateId, Outcome, Revision},
    observers::fixture::{at, crash, fact, look, outcome, rolled_back, seen, started, step},
    state::journal::{CommandKind, GuardFinding},
};

fn texts(view: &mut View, event: &Event) -> Vec<String> {
    view.see(event).into_iter().map(|line| line.text).collect()
}

fn begun() -> View {
    let mut view = View::new(Zone::utc());
    view.see(&fact(1, "02:11:57", PhaseName::Guard, started()));
    view
}

#[test]
fn a_look_is_told_from_the_side_of_the_deploy() {
    use PhaseName::{Back, Watch};
    let revert = Motion::PlatformRevert { to: Some(Revision::new("web:41", [], json!(null))), ended: false };
    let foreign = Motion::Foreign { revision: None, by: Some(Actor("ops".into())) };
    let table = [
        (Watch, [2, 2, 1, 2], Motion::Progressing, "new 1/2 healthy (1 starting), old 2 serving"),
        (Watch, [2, 2, 2, 0], Motion::Done, "new 2/2 healthy"),
        (Watch, [2, 0, 0, 2], Motion::Progressing, "new 0/2 healthy, old 2 serving"),
        (Back, [2, 2, 1, 1], Motion::Progressing, "old 1/2 healthy (1 starting), new 1 left"),
        (
            Watch,
            [2, 2, 1, 1],
            Motion::Waiting(GateId::new("confirm")),
            "new 1/2 healthy (1 starting), old 1 serving; waits at confirm",
        ),
        (
            Watch,
            [2, 1, 1, 1],
            revert,
            "new 1/2 healthy, old 1 serving; the platform goes back by itself to web:41",
        ),
        (Watch, [2, 1, 1, 1], foreign, "new 1/2 healthy, old 1 serving; changed from outside by ops"),
    ];
    for (phase, counts, motion, text) in table {
        let mut view = begun();
        assert_eq!(texts(&mut view, &look(phase, seen("02:12:00", counts, motion))), [text]);
    }
    let mut uncounted = seen("02:12:00", [0; 4], Motion::Progressing);
    uncounted.counts = None;
    assert_eq!(texts(&mut begun(), &look(Watch, uncounted)), ["new on its way"]);
    let mut crashing = seen("02:12:00", [2, 2, 0, 2], Motion::Progressing);
    crashing.signals = vec![crash(1)];
    let text = "new 0/2 healthy (2 starting, 1 crash), old 2 serving";
    assert_eq!(texts(&mut begun(), &look(Watch, crashing)), [text]);
}

#[test]
fn the_same_look_is_shown_once_a_minute() {
    let mut view = begun();
    let mut shown = Vec::new();
    for second in 0..150_u64 {
        let mut seen = seen("02:12:00", [2, 2, 1, 2], Motion::Progressing);
        seen.at = seen.at.plus_ms(second * 1000);
        if !view.see(&look(PhaseName::Watch, seen)).is_empty() {
            shown.push(second);
        }
    }
    assert_eq!(shown, [0, 60, 120]);
}

#[test]
fn what_was_watched_before_is_a_change_in_the_next_phase() {
    let mut view = begun();
    let at_rest = || seen("02:12:00", [2, 2, 2, 0], Motion::Done);
    assert_eq!(view.see(&look(PhaseName::Watch, at_rest())).len(), 1);
    assert_eq!(view.see(&look(PhaseName::Watch, at_rest())).len(), 0);
    assert_eq!(view.see(&look(PhaseName::Bake, at_rest())).len(), 1);
}

#[test]
fn checks_are_shown_when_they_change_their_mind_and_once_a_minute() {
    let mut view = begun();
    let mut check = |time: &str, verdict: &str, of: u64| {
        let data = json!({ "bad": 0, "of": of });
        let kind = EventKind::Check { check: "health".into(), verdict: verdict.into(), data };
        let deploy = RolloutId::new("01JD7M8KX2");
        let event =
            Event::live(at(time), &deploy, &crate::observers::fixture::target(), PhaseName::Bake, kind);
        texts(&mut view, &event)
    };
    assert_eq!(check("02:19:02", "pass", 31), ["health pass (31 of 31)"]);
    assert!(check("02:19:12", "pass", 32).is_empty());
    assert_eq!(check("02:19:22", "fail", 33), ["health fail (33 of 33)"]);
    assert_eq!(check("02:20:22", "fail", 34), ["health fail (34 of 34)"]);
}

#[test]
fn facts_that_change_nothing_for_a_reader_are_not_shown() {
    use PhaseName::{Apply, Back};
    let abort = Fact::Command {
        command: CommandKind::Abort,
        id: None,
        by: "dev".into(),
        reason: Some("wrong\nbranch".into()),
        via: "handle".into(),
        accepted: true,
    };
    let table = [
        (Fact::Guard(GuardFinding::pass("base")), None),
        (Fact::Guard(GuardFinding::refuse("base", "it moved")), Some("guard base refuses: it moved")),
        (step("update", StepState::Began, None), None),
        (step("update", StepState::Applied, None), None),
        (step("update", StepState::Unknown, None), Some("update: it is not known whether it happened")),
        (step("update", StepState::Done, Some(1000)), Some("update done: prod-api-task:42, 1 s")),
        (abort, Some("abort by dev: wrong | branch")),
    ];
    for (what, text) in table {
        let shown = texts(&mut begun(), &fact(2, "02:12:00", Apply, what));
        assert_eq!(shown.first().map(String::as_str), text);
    }
    let driver = |how| Fact::Driver {
        owner: "b".into(),
        previous: None,
        fence: crate::model::Fence(2),
        how,
        reason: None,
    };
    assert!(begun().see(&fact(2, "02:12:00", Back, driver(DriverHow::Began))).is_empty());
    let took = texts(&mut begun(), &fact(2, "02:12:00", Back, driver(DriverHow::TookOver)));
    assert_eq!(took, ["b takes over: its predecessor fell silent"]);
}

fn end(events: Vec<Event>, outcome: Outcome) -> Vec<String> {
    let mut view = begun();
    events.iter().for_each(|event| drop(view.see(event)));
    let ended = Fact::Ended { outcome: Box::new(outcome), known_good: None };
    texts(&mut view, &fact(20, "02:14:00", PhaseName::Done, ended))
}

#[test]
fn a_success_ends_in_one_line_and_nothing_else() {
    let mut done = outcome();
    (done.ended, done.cause) = (crate::model::Ended::Succeeded { changed: true }, None);
    let looks = vec![look(PhaseName::Watch, seen("02:12:00", [2, 2, 2, 0], Motion::Done))];
    assert_eq!(
        end(looks, done),
        ["DONE  prod-api/production serves 4be81d0, 2/2 healthy. Nothing to do.   1 min 10 s"]
    );
}

#[test]
fn what_users_noticed_is_said_only_as_far_as_it_was_seen() {
    use PhaseName::{Back, Watch};
    let row = |looks: Vec<(PhaseName, [u32; 4])>| {
        let looks = looks
            .into_iter()
            .map(|(phase, counts)| look(phase, seen("02:12:30", counts, Motion::Progressing)));
        let rows = end(looks.collect(), outcome());
        rows.into_iter().find_map(|row| row.strip_prefix("  users  ").map(str::to_owned))
    };
    let table = [
        (vec![], None),
        (vec![(Watch, [2, 2, 0, 0])], None),
        (
            vec![(Watch, [2, 2, 0, 2]), (Back, [2, 2, 1, 1])],
            Some("old ones served throughout, never fewer than 1"),
        ),
        (
            vec![(Watch, [2, 2, 0, 2]), (Watch, [2, 2, 2, 0])],
            Some("never fewer than 2 served, old and new together"),
        ),
        (
            vec![(Watch, [2, 2, 0, 2]), (Watch, [2, 2, 0, 0])],
            Some("nothing served at 02:12:30Z, as far as was seen"),
        ),
    ];
    for (looks, text) in table {
        assert_eq!(row(looks).as_deref(), text);
    }
}

#[test]
fn deploys_that_go_on_at_once_are_told_apart() {
    let mut views = Views::default();
    let mut other = fact(1, "02:11:57", PhaseName::Guard, started());
    other.deploy = RolloutId::new("01JD7M8KX3");
    other.target = "drums/staging".parse().unwrap();
    let events = rolled_back();
    assert_eq!(views.see(&events[0])[0].text, "4be81d0 -> 9f2c1ab, by ci");
    assert_eq!(views.see(&other)[0].text, "drums/staging 4be81d0 -> 9f2c1ab, by ci");
    events.iter().for_each(|event| drop(views.see(event)));
    assert_eq!(views.open().count(), 1, "what has ended is forgotten");
}

#[test]
fn what_a_step_made_is_named_from_then_on() {
    let mut view = View::new(Zone::utc());
    let mut began = started();
    if let Fact::Started { to, .. } = &mut began {
        *to = Revision::new("prod-api-task:(new)", [], json!(null));
    }
    view.see(&fact(1, "02:11:57", PhaseName::Guard, began));
    let mut done = step("register", StepState::Done, Some(412));
    if let Fact::Step { output, .. } = &mut done {
        *output = Some(json!({ "revision": { "name": "prod-api-task:42", "declared": {} } }));
    }
    let shown = texts(&mut view, &fact(2, "02:11:58", PhaseName::Apply, done));
    assert_eq!(shown, ["register done: prod-api-task:42, 0.4 s"]);
    assert_eq!(view.to, Some(("prod-api-task:42".into(), "prod-api-task:42".into())));
}
