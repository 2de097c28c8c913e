//! Lines of `plan`, `status`, `history`, `doctor` and `config`: the envelope of events, around entries of their own.

use deploy_kit::{
    Deploy, Look, Status,
    event::EVENT_VERSION,
    model::{Outcome, Revision, RolloutId, Snapshot, StepKind, TargetName, Timestamp},
    source::{Migration, MigrationsBetween},
    state::journal::GuardFinding,
};
use serde::Serialize;
use serde_json::{Value, json};

#[derive(Serialize)]
struct Envelope<'a> {
    v: u32,
    at: Timestamp,
    deploy: Option<&'a RolloutId>,
    target: &'a TargetName,
    phase: Option<&'a str>,
    r#type: &'a str,
    message: &'a str,
    data: Value,
}

/// One line of an entry that belongs to a target, and perhaps to a deploy.
pub(super) fn line(
    kind: &str,
    at: Timestamp,
    target: &TargetName,
    deploy: Option<&RolloutId>,
    message: &str,
    data: Value,
) -> String {
    let envelope =
        Envelope { v: EVENT_VERSION, at, deploy, target, phase: None, r#type: kind, message, data };
    serde_json::to_string(&envelope).unwrap_or_default() + "\n"
}

fn version(revision: &Revision) -> Value {
    let mut version = json!({ "revision": revision.name });
    if let Some(commit) = &revision.commit {
        version["commit"] = commit.as_str().into();
    }
    version
}

fn serving(now: &Snapshot) -> Value {
    let mut serving = version(&now.serving);
    serving["observed_at"] = json!(now.at);
    if let Some(counts) = now.counts {
        serving["healthy"] = counts.healthy.into();
        serving["desired"] = counts.desired.into();
    }
    serving
}

fn ended(outcome: &Outcome) -> Value {
    json!({
        "deploy": outcome.rollout,
        "verdict": outcome.ended.word(),
        "exit": outcome.exit(),
        "needs_person": outcome.needs_person(),
        "ended_at": outcome.ended_at,
    })
}

fn guard(finding: &GuardFinding) -> Value {
    json!({
        "guard": finding.guard,
        "result": finding.result,
        "overridable": finding.overridable,
        "text": finding.text,
        "next": finding.next,
    })
}

pub(super) fn plan(look: &Look, ready: bool) -> Value {
    let plan = &look.plan;
    let changes = plan.diff.iter().map(|change| {
        let mut of = json!({ "part": change.part, "name": change.name });
        // Values of variables are no part of any line.
        if !change.hidden {
            of["before"] = json!(change.before);
            of["after"] = json!(change.after);
        }
        of
    });
    let steps = plan.steps.iter().map(|step| {
        let mut of = json!({ "step": step.id, "kind": step.kind.word(), "title": step.title });
        if step.kind != StepKind::Effect {
            of["limit_ms"] = step.deadline_ms.into();
        }
        of
    });
    let migrations = match &look.migrations {
        Some(MigrationsBetween::Known(migrations)) => {
            let one =
                |migration: &Migration| json!({ "path": migration.path, "commit": migration.commit.id });
            Some(migrations.iter().map(one).collect::<Vec<_>>())
        }
        // Absent is not known.
        Some(MigrationsBetween::CannotKnow(_)) | None => None,
    };
    let prepare = plan.prepare.iter().map(|step| json!({ "step": step.id, "title": step.title }));
    let mut data = json!({
        "hash": plan.approval_hash(),
        "open": plan.open,
        "prepare": prepare.collect::<Vec<_>>(),
        "ready": ready,
        "platform": plan.platform,
        "from": version(&plan.base),
        "to": version(&plan.to),
        "rollback": plan.goal.is_rollback(),
        "changes": changes.collect::<Vec<_>>(),
        "steps": steps.collect::<Vec<_>>(),
        "bake_ms": plan.bake_ms,
        "way_back": plan.way_back.to.as_ref().map(version),
        "way_back_proven": plan.way_back.proven,
        "guards": look.guards.iter().map(guard).collect::<Vec<_>>(),
        "commits": look.commits.iter().map(|commit| &commit.id).collect::<Vec<_>>(),
        "notes": plan.notes,
    });
    if let Some(migrations) = migrations {
        data["migrations"] = migrations.into();
    }
    data
}

pub(super) fn status(status: &Status, last: Option<&Outcome>) -> Value {
    json!({
        "serving": serving(&status.now),
        "unfinished": status.unfinished,
        "holder": status.holder,
        "driven": status.driven,
        "known_good": status.known_good.iter().map(version).collect::<Vec<_>>(),
        "last": last.map(ended),
    })
}

pub(super) fn entry(deploy: &Deploy) -> Value {
    json!({
        "from": version(&deploy.from),
        "to": version(&deploy.to),
        "actor": deploy.actor,
        "rollback": deploy.rollback,
        "started_at": deploy.started_at,
        "known_good": deploy.known_good,
        "took_ms": deploy.outcome.as_ref().map(crate::rows::took_ms),
        "ended": deploy.outcome.as_ref().map(ended),
    })
}
