//! Stored plans.

use serde_json::json;

use super::{
    covered, same,
    samples::{NEW, at, claim, identity, new, old, service, target},
};
use crate::model::{
    Capabilities, Change, ConfigChange, ConfigValue, Counts, Envelope, Fingerprint, GateId, Goal, GroupId,
    Lateness, Plan, Release, Runner, SecretRef, Snapshot, Step, StepKind, Undo, WayBack, WriteGuard,
};

fn snapshot() -> Snapshot {
    let can = Capabilities::new(WriteGuard::None, Lateness::AWS);
    let mut now = Snapshot::new(at(0), "ecs", identity(), can, old());
    now.counts = Some(Counts::new(2, 2, 2, 0));
    now
}

fn release() -> Release {
    let mut release = Release::commit(NEW)
        .image("api", "repo/shop-api@sha256:22")
        .env("api", "LOG_LEVEL", "debug")
        .secret("api", "DB_PASSWORD", SecretRef::FromEnv("PW".into()))
        .secret("api", "TLS_KEY", SecretRef::File("/run/tls".into()))
        .secret("api", "API_KEY", SecretRef::Resolver("vault/api".into()))
        .unset("api", "OLD_FLAG");
    release.subject = Some("Fix the router".into());
    release
}

/// A plan with everything that one can say.
pub(super) fn full() -> Plan {
    let step = |id: &str, kind| Step::new(id, service(), kind, format!("do {id}"));
    let none = Undo::None { reason: "it changes nothing".into() };
    let gate = StepKind::Gate { gate: GateId::new("go-live"), late_goes_on: true };
    let mut build = step("build", StepKind::Effect).undone_by(none);
    build.runner = Runner::Command;
    let mut migrate =
        step("migrate", StepKind::Effect).undone_by(Undo::Barrier { migration: "m1".into() }).within_ms(1);
    (migrate.runner, migrate.attempts) = (Runner::Workflow, 1);
    let update = step("update", StepKind::Effect).with(json!({ "desired": 2 })).in_group(GroupId::new("all"));
    let warm = step("warm", StepKind::Effect).undone_by(Undo::Compensates);
    let mut plan = Plan::new(target(), Goal::Deploy(release()), &snapshot(), vec![claim()], new());
    plan.steps = vec![build, migrate, update, warm, step("watch", StepKind::Await), step("gate", gate)];
    plan.remedies = vec![step("remedy", StepKind::Effect)];
    plan.diff = vec![
        Change::new("images", "api", Some("sha256:11".into()), Some("sha256:22".into())),
        Change::new("env", "api/LOG_LEVEL", None, Some("debug".into())).hidden(),
    ];
    plan.way_back = WayBack::to(old(), vec![step("back", StepKind::Effect)], "UpdateService to 41");
    (plan.way_back.proven, plan.way_back.not_restored) = (true, vec!["m1".into()]);
    let allowed = [("aws_ecs_service.api update".to_owned(), Some(Fingerprint::new("aa")))];
    let any = ("aws_ecs_task.api create".to_owned(), None);
    plan.envelope = Some(Envelope { allowed: allowed.into_iter().chain([any]).collect() });
    (plan.bake_ms, plan.notes) = (300_000, vec!["one machine only".into()]);
    plan
}

/// Name of the file, and what it holds.
pub(super) fn all() -> Vec<(&'static str, Plan)> {
    let adopt = Plan::new(target(), Goal::Adopt, &snapshot(), vec![claim()], old());
    let mut restore = full();
    restore.goal = Goal::Restore(old());
    vec![("plan/deploy.json", full()), ("plan/restore.json", restore), ("plan/adopt.json", adopt)]
}

#[test]
fn every_plan_is_stored_as_it_always_was() {
    let read: Vec<Plan> = all().into_iter().map(|(name, plan)| same(name, &plan)).collect();
    covered!(read.iter().map(|plan| &plan.goal), Goal { Deploy, Restore, Adopt });
    let steps = || read.iter().flat_map(|plan| &plan.steps);
    covered!(steps().map(|step| &step.kind), StepKind { Effect, Await, Gate });
    covered!(steps().map(|step| &step.undo), Undo { Restores, Compensates, None, Barrier });
    covered!(steps().map(|step| step.runner), Runner { Platform, Command, Workflow });
    let changes = read.iter().filter_map(|plan| match &plan.goal {
        Goal::Deploy(release) => Some(&release.changes),
        _ => None,
    });
    let changes: Vec<&ConfigChange> = changes.flatten().collect();
    let values = || changes.iter().filter_map(|change| change.value.as_ref());
    covered!(values(), ConfigValue { Plain, Secret });
    let secrets = values().filter_map(|value| match value {
        ConfigValue::Secret(secret) => Some(secret),
        _ => None,
    });
    covered!(secrets, SecretRef { FromEnv, File, Resolver });
}

/// What a person approved yesterday is found again today: both hashes are a format, too.
#[test]
fn the_hashes_of_a_plan_are_what_they_always_were() {
    let lines: Vec<String> = all()
        .iter()
        .map(|(name, plan)| format!("{name} {} {}", plan.approval_hash(), plan.base_hash()))
        .collect();
    let lines = lines.join("\n");
    assert_eq!(super::golden("plan/hashes.txt", &lines), lines);
}
