//! Every call that is made, times every fault that it can meet: kind, retry and what is known of the effect.

mod common;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use common::{Place, place};
use deploy_core::{
    EffectState::{self, NotApplied, Unknown},
    Error,
    ErrorKind::{self, Malformed, PermissionDenied, Throttled, TimedOut, Unauthenticated, Unavailable},
    Platform, Retry,
    clock::Clock as _,
    context::{Effected, Outputs},
    model::{Motion, Plan, Scope, StepId, Timestamp},
};
use deploy_ecs::emulator::{FaultKind, FaultRule};
use serde_json::json;

/// What may be done after an error, without the seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Again {
    Never,
    IfIdempotent,
    Always,
    Later,
}

fn again(error: &Error) -> Again {
    match error.retry() {
        Retry::Never => Again::Never,
        Retry::IfIdempotent => Again::IfIdempotent,
        Retry::Always => Again::Always,
        Retry::After(_) => Again::Later,
        other => panic!("{other:?}"),
    }
}

type Cell = (ErrorKind, Again, EffectState);

const FAULTS: [FaultKind; 10] = [
    FaultKind::Throttled,
    FaultKind::ServerError500,
    FaultKind::Refused,
    FaultKind::ResetBefore,
    FaultKind::ResetAfter,
    FaultKind::Slow(20_000),
    FaultKind::LateApply(15_000),
    FaultKind::Malformed200,
    FaultKind::ExpiredToken,
    FaultKind::AccessDenied403,
];

/// A read has no effect, so it may always be made again; only who is not let in need not come back.
const READ: [Cell; 10] = [
    (Throttled, Again::Later, NotApplied),
    (Unavailable, Again::Always, NotApplied),
    (Unavailable, Again::Always, NotApplied),
    (Unavailable, Again::Always, NotApplied),
    (Unavailable, Again::Always, NotApplied),
    (TimedOut, Again::Always, NotApplied),
    (Unavailable, Again::Always, NotApplied),
    (Malformed, Again::Always, NotApplied),
    (Unauthenticated, Again::Never, NotApplied),
    (PermissionDenied, Again::Never, NotApplied),
];

/// A mutation without an answer may have been applied, or may be yet.
const MUTATION: [Cell; 10] = [
    (Throttled, Again::Later, NotApplied),
    (Unavailable, Again::IfIdempotent, Unknown),
    (Unavailable, Again::Always, NotApplied),
    (Unavailable, Again::IfIdempotent, Unknown),
    (Unavailable, Again::IfIdempotent, Unknown),
    (TimedOut, Again::IfIdempotent, Unknown),
    (Unavailable, Again::IfIdempotent, Unknown),
    (Malformed, Again::IfIdempotent, Unknown),
    (Unauthenticated, Again::Never, NotApplied),
    (PermissionDenied, Again::Never, NotApplied),
];

/// Who makes a call, and what it is to give. The same action in two places is two rows: one repeats reads, one does not.
const TABLE: [(&str, &str, [Cell; 10]); 16] = [
    ("inspect", "GetCallerIdentity", READ),
    ("inspect", "DescribeServices", READ),
    ("inspect", "DescribeTaskDefinition", READ),
    ("observe", "DescribeServices", READ),
    ("observe", "ListTasks", READ),
    ("observe", "DescribeTasks", READ),
    ("reverted", "DescribeServiceDeployments", READ),
    ("plan", "BatchGetImage", READ),
    ("plan for Fargate", "GetDownloadUrlForLayer", READ),
    ("revisions", "ListTaskDefinitions", READ),
    ("tail", "DescribeTasks", READ),
    ("tail", "GetLogEvents", READ),
    ("errors", "FilterLogEvents", READ),
    ("register", "RegisterTaskDefinition", MUTATION),
    ("update", "UpdateService", MUTATION),
    ("back", "StopServiceDeployment", MUTATION),
];

/// The first error of a step's effects.
fn failed(effects: Vec<Effected>) -> Option<Error> {
    effects.into_iter().find_map(|ended| match ended {
        Effected::Failed(error) => Some(error),
        _ => None,
    })
}

/// A crashing release that is being watched: everything that looks has something to see.
async fn crashing(place: &Place) -> (Plan, Outputs, String) {
    let plan = place.plan(&place.image("crash")).await.expect("a plan");
    let outputs = place.forward(&plan).await;
    let watched = place.watch(&place.scope(&plan, "watch", &outputs), 60).await;
    let task = watched.seen.instances.first().expect("a stopped task").id.clone();
    (plan, outputs, task)
}

/// Somebody asks ECS to stop the deployment of `update`.
async fn stopped(place: &Place, plan: &Plan, outputs: &Outputs) -> Scope {
    let moved = &outputs[&StepId::from("update")];
    let body = json!({"serviceDeploymentArn": moved["serviceDeploymentArn"], "stopType": "ROLLBACK"});
    place.ecs("StopServiceDeployment", &body);
    // A look that does not show our deployment is not believed before: it may be older than the update.
    place.clock.sleep(Duration::from_secs(65)).await;
    place.scope(plan, "watch", outputs)
}

/// Makes the call under the fault; `None`: it went well all the same.
async fn meet(place: &Place, who: &str, action: &str, fault: FaultKind) -> Option<Error> {
    let rule = || place.emulator.fault(FaultRule::new(fault).action(action).always());
    match who {
        "inspect" => {
            rule();
            place.service.inspect().await.err()
        }
        "observe" => {
            let (plan, outputs, _) = crashing(place).await;
            rule();
            let seen = place.service.observe(&place.scope(&plan, "watch", &outputs)).await;
            match seen {
                Err(error) => Some(error),
                Ok(seen) => {
                    // What stopped tasks say is not needed for a look, so their error is only told to people.
                    let told = seen.notes.get("stopped tasks").expect("a note");
                    assert!(told.starts_with(action), "{told}");
                    None
                }
            }
        }
        "reverted" => {
            let (plan, outputs, _) = crashing(place).await;
            let scope = stopped(place, &plan, &outputs).await;
            rule();
            place.service.observe(&scope).await.err()
        }
        "plan" => {
            rule();
            place.plan(&place.image("ok-2")).await.err()
        }
        "plan for Fargate" => {
            place.runs_with(&json!({"requiresCompatibilities": ["FARGATE"]}));
            rule();
            match place.plan(&place.image("ok-2")).await {
                Err(error) => Some(error),
                Ok(plan) => {
                    let told = |note: &String| note.contains(action);
                    assert!(plan.notes.iter().any(told), "{:?}", plan.notes);
                    None
                }
            }
        }
        "revisions" => {
            rule();
            place.service.revisions(3).await.err()
        }
        "tail" => {
            let (_, _, task) = crashing(place).await;
            rule();
            place.service.logs().expect("logs").tail(&task, 5).await.err()
        }
        "errors" => {
            rule();
            place.service.logs().expect("logs").errors(Timestamp::from_millis(0), 5).await.err()
        }
        "register" => {
            let plan = place.plan(&place.image("ok-2")).await.expect("a plan");
            rule();
            failed(place.step(&plan, "register", &Outputs::new()).await.effects)
        }
        "update" => {
            let plan = place.plan(&place.image("ok-2")).await.expect("a plan");
            let mut outputs = Outputs::new();
            place.done(&plan, "register", &mut outputs).await;
            rule();
            failed(place.step(&plan, "update", &outputs).await.effects)
        }
        "back" => {
            let (plan, outputs, _) = crashing(place).await;
            rule();
            failed(place.step(&plan, "back", &outputs).await.effects)
        }
        other => panic!("who is {other}?"),
    }
}

#[tokio::test(start_paused = true)]
async fn every_call_and_every_fault_have_their_cell() {
    for (who, action, cells) in TABLE {
        for (fault, (kind, retry, effect)) in FAULTS.into_iter().zip(cells) {
            let place = place();
            let error = meet(&place, who, action, fault).await;
            let told_as_note = who == "observe" && action != "DescribeServices";
            // Who may not ask believes that ECS itself goes back.
            // Who may deploy need not be allowed to read layers.
            let not_needed =
                ["reverted", "plan for Fargate"].contains(&who) && fault == FaultKind::AccessDenied403;
            assert_eq!(error.is_none(), told_as_note || not_needed, "{who} {action} {fault:?}");
            let Some(error) = error else { continue };
            assert_eq!(
                (error.kind(), again(&error), error.effect()),
                (kind, retry, effect),
                "{who} {action} {fault:?}: {error}"
            );
            assert!(error.message().contains(action), "{who} {action} {fault:?} names its call: {error}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn no_call_and_no_fault_are_missing_in_the_table() {
    let place = place();
    let (plan, outputs, task) = crashing(&place).await;
    place.step(&plan, "back", &outputs).await.result.expect("back");
    place.service.observe(&place.scope(&plan, "watch", &outputs)).await.expect("a look at what was stopped");
    place.service.revisions(3).await.expect("revisions");
    place.service.logs().expect("logs").tail(&task, 5).await.expect("lines");
    place.service.logs().expect("logs").errors(Timestamp::from_millis(0), 5).await.expect("lines");
    place.runs_with(&json!({"requiresCompatibilities": ["FARGATE"]}));
    place.plan(&place.image("ok-2")).await.expect("a plan");
    let listed: BTreeSet<&str> = TABLE.iter().map(|(_, action, _)| *action).collect();
    // What was reset when the place was made was the seed's own.
    let counts = place.emulator.counts();
    let made: BTreeSet<&str> = counts.iter().map(|(_, action, _)| action).collect();
    assert_eq!(made, listed);
    let mut names: BTreeMap<&str, u32> = BTreeMap::new();
    for fault in FAULTS {
        *names.entry(fault.name()).or_default() += 1;
    }
    let all: BTreeSet<&str> = FaultKind::NAMES.into_iter().collect();
    // An old look is no error: tests/looks.rs.
    let missing: Vec<&&str> = all.iter().filter(|name| !names.contains_key(**name)).collect();
    assert_eq!(missing, [&"stale-read"]);
}

#[tokio::test(start_paused = true)]
async fn who_may_not_stop_deployments_goes_back_by_an_update() {
    let place = place();
    let (plan, outputs, _) = crashing(&place).await;
    let fault = FaultRule::new(FaultKind::AccessDenied403).action("StopServiceDeployment");
    place.emulator.fault(fault.always());
    let before = place.emulator.counts().mutating();
    place.step(&plan, "back", &outputs).await.result.expect("back");
    assert_eq!(place.emulator.counts().mutating() - before, 2, "one refused, one done");
    assert_eq!(place.service.inspect().await.expect("a look").serving.name, "prod-api-task:1");
}

/// On request or by itself: only DescribeServiceDeployments tells why ECS goes back.
#[tokio::test(start_paused = true)]
async fn a_deployment_that_somebody_stops_is_not_taken_back_by_ecs() {
    let place = place();
    let (plan, outputs, _) = crashing(&place).await;
    let scope = stopped(&place, &plan, &outputs).await;
    for _ in 0..2 {
        let seen = place.service.observe(&scope).await.expect("a look");
        let Motion::Foreign { revision, by } = seen.motion else { panic!("{seen:?}") };
        assert_eq!(revision.expect("where to").name, "prod-api-task:1");
        assert_eq!(by.expect("by whom").0, "a request to stop the deployment");
    }
    assert_eq!(place.emulator.counts().of("DescribeServiceDeployments"), 1, "asked once");
}
