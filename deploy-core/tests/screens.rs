//! The screens, as text files that can be read beside the documentation.

mod golden;

use deploy_core::{
    model::{
        Capabilities, Change, Claim, Component, Counts, Goal, Identity, Lateness, Plan, Release, Revision,
        RolloutId, Serving, Side, Snapshot, Step, StepKind, TargetName, Timestamp, WayBack, WriteGuard,
    },
    report::{
        CommitRow, EndBlock, HistoryRow, PlanScreen, StatusRow, Zone, end_block, held_row, history_screen,
        plan_screen, restored_line, status_screen, unfinished_line,
    },
    state::journal::GuardFinding,
};
use serde_json::Value;

const OLD: &str = "4be81d0c5f7a1e2b3d4c5f6a7b8c9d0e1f2a3b4c";
const NEW: &str = "9f2c1ab8d7e6f5a4b3c2d1e0f9a8b7c6d5e4f3a2";

fn at(time: &str) -> Timestamp {
    serde_json::from_value(format!("2026-{time}Z").into()).unwrap()
}

fn target() -> TargetName {
    "prod-api/production".parse().unwrap()
}

fn revision(name: &str, commit: &str) -> Revision {
    Revision::new(name, [], Value::Null).built_from(Some(commit.into()))
}

fn screen() -> PlanScreen {
    let now = at("11-21T02:11:00");
    let identity = Identity::new([("account", "123456789012"), ("service", "prod-api")]);
    let can = Capabilities::new(WriteGuard::None, Lateness::AWS);
    let mut snapshot = Snapshot::new(now, "ecs", identity, can, revision("prod-api-task:41", OLD));
    snapshot.counts = Some(Counts::new(2, 2, 2, 0));
    let (goal, to) = (Goal::Deploy(Release::commit(NEW)), revision("prod-api-task:42", NEW));
    let mut plan = Plan::new(target(), goal, &snapshot, vec![Claim::new("service/prod-api")], to);
    let step = |id: &str, kind, title: &str| Step::new(id, Component::new("service"), kind, title);
    plan.steps = vec![
        step("register", StepKind::Effect, "register prod-api-task:42"),
        step(
            "update",
            StepKind::Effect,
            "update service to prod-api-task:42, rolling, healthy never below 2",
        ),
        step("watch", StepKind::Await, "until 2/2 report prod-api-task:42"),
    ];
    plan.bake_ms = 300_000;
    let value = |text: &str| Some(text.to_owned());
    let digest =
        |digit: &str| Some(format!("1.dkr.ecr.us-east-1.amazonaws.com/shop-api@sha256:{}", digit.repeat(8)));
    plan.diff = vec![
        Change::new("images", "api", digest("77ab09c1"), digest("e3b0c442")),
        Change::new("env", "api:FEATURE_CHAT", None, value("hunter2")).hidden(),
        Change::new("env", "api:LOG_LEVEL", value("info"), value("hunter2")).hidden(),
    ];
    let back = vec![step("back", StepKind::Effect, "update service to prod-api-task:41")];
    plan.way_back = WayBack::to(plan.base.clone(), back, "update service to prod-api-task:41");
    plan.way_back.proven = true;
    plan.way_back.not_restored = vec!["the migration stays".into()];
    let mut screen = PlanScreen::new(plan, &snapshot);
    screen.place = Some("us-east-1 123456789012, prod-website / prod-api".into());
    screen.pinned = Some(at("05-03T10:00:00"));
    screen.since = Some(at("11-18T00:05:00"));
    screen.standing = Some("last known good".into());
    screen.images.insert("api".into(), "built from 9f2c1ab, linux/amd64".into());
    screen.plan.unchanged = Some("cpu, memory, roles, secrets (4), grace 300 s, autoscaling 1-2".into());
    screen.migrations = 1;
    screen.checks = vec!["health".into()];
    let commit = |commit: &str, author: &str, time: &str, subject: &str, note: &str| CommitRow {
        commit: commit.into(),
        author: author.into(),
        at: at(time),
        subject: subject.into(),
        note: note.into(),
    };
    screen.commits = vec![
        commit(NEW, "dev", "11-21T01:11:00", "Fix login redirect", ""),
        commit("1c04aa9000", "ops", "11-20T21:02:00", "Add messages table", "migration, expand"),
        commit("77d1e02000", "dev", "11-20T20:00:00", "Chat", ""),
    ];
    screen
}

#[test]
fn a_plan_that_nothing_refuses() {
    let text = plan_screen(&screen());
    assert!(!text.contains("hunter2"), "values are hidden");
    golden::same("screens/plan.txt", &text);
}

#[test]
fn values_are_shown_to_those_who_ask() {
    let mut screen = screen();
    screen.show_values = true;
    assert!(plan_screen(&screen).contains("~ api:LOG_LEVEL   info -> hunter2"));
}

#[test]
fn a_plan_that_is_refused() {
    let mut screen = screen();
    let found = "service prod-app takes prod-app-task; this plan gives it prod-api-task\nfrom deploy.toml:19";
    let refused = GuardFinding::refuse("identity", found);
    screen.guards =
        vec![GuardFinding::pass("base"), refused.next("meant the API?  ecs deploy prod-api/production")];
    screen.plan.way_back = WayBack::none("this is the first deploy");
    screen.plan.diff.clear();
    screen.commits.clear();
    screen.pinned = None;
    golden::same("screens/plan-refused.txt", &plan_screen(&screen));
}

#[test]
fn a_plan_that_changes_nothing_says_so() {
    let mut screen = screen();
    screen.plan.steps.clear();
    assert!(plan_screen(&screen).ends_with("READY  Nothing to change.\n"));
}

#[test]
fn the_history_of_a_target() {
    let deploy = |id: &str, time: &str, from: &str, to: &str, took_ms, end: &str, note: &str| HistoryRow {
        deploy: Some(RolloutId::new(id)),
        at: at(time),
        who: Some("ci".into()),
        from: Some(from.into()),
        to: to.into(),
        took_ms,
        end: end.into(),
        note: note.into(),
    };
    let mut outside =
        deploy("", "11-16T11:03:00", "", "prod-api-task:38", None, "OUTSIDE", "changed by arn:...:user/ops");
    (outside.deploy, outside.who, outside.from) = (None, None, None);
    let rows = [
        deploy("01JD7M8KX2", "11-21T02:11:00", OLD, NEW, Some(70_397), "ROLLED BACK", "api exits 1"),
        deploy(
            "01JD707QM9",
            "11-18T09:40:00",
            "c01d9aa",
            OLD,
            Some(451_000),
            "DONE",
            "good: rollback goes here",
        ),
        outside,
    ];
    golden::same("screens/history.txt", &history_screen(&rows, at("11-21T03:00:00"), &Zone::utc()));
}

#[test]
fn the_status_of_one_target_and_of_several() {
    let row = |name: &str, commit: Option<&str>, note: &str| StatusRow {
        target: name.parse().unwrap(),
        commit: commit.map(str::to_owned),
        revision: commit.map(|_| "prod-api-task:41".to_owned()),
        counts: commit.map(|_| Counts::new(2, 2, 2, 0)),
        since: commit.map(|_| at("11-21T02:13:07")),
        note: note.into(),
        line: Some(format!("DONE  {name} serves 4be81d0, 2/2 healthy. Nothing to do.")),
    };
    let rows = [
        row("prod-api/production", Some(OLD), "held: 9f2c1ab and 2 more"),
        row("prod-app/production", None, "cannot see it (ECS: expired token)"),
    ];
    let now = at("11-21T03:00:00");
    let one = status_screen(&rows[..1], now, &Zone::utc());
    let two = status_screen(&rows, now, &Zone::utc());
    golden::same("screens/status.txt", &format!("{one}\n{two}"));
}

#[test]
fn the_end_of_a_deploy() {
    let next = "ecs logs prod-api/production --deploy 8KX2       all that the two tasks wrote";
    let block = EndBlock {
        fault: Some("container api exits 1, three seconds after start: 2 of 2 new tasks".into()),
        log: vec!["88ab07  02:12:41  Error: Cannot find module './chat/router'".into()],
        users: Some("old tasks served throughout, never fewer than 2".into()),
        time: Some("started 02:11:57, decided 02:12:44 (2nd stopped task)".into()),
        held: vec![held_row(OLD, NEW, 3)],
        owed: vec![],
        next: vec![
            next.into(),
            "git revert 77d1e02, push, ecs deploy             lifts the hold by itself".into(),
        ],
    };
    let mut serving = Serving::new(Side::Old, at("11-21T02:13:07"));
    (serving.commit, serving.counts) = (Some(OLD.into()), Some(Counts::new(2, 2, 2, 0)));
    let restored = restored_line(&target(), &serving, at("11-21T12:04:15"), 1, &Zone::utc());
    let both = ["4be81d0".to_owned(), "9f2c1ab".to_owned()];
    let unfinished = unfinished_line(&target(), &both, "ecs resume prod-api/production");
    golden::same("screens/end.txt", &format!("{}{restored}\n{unfinished}\n", end_block(&block)));
    assert_eq!(end_block(&EndBlock::default()), "", "nothing to say, no rows");
    assert_eq!(held_row(OLD, NEW, 1), "9f2c1ab: no deploy with it until it is reverted");
}
