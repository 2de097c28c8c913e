use aws_sdk_ecs::types::{
    Container, Deployment, DeploymentRolloutState as State, Service, ServiceEvent, Task, TaskStopCode as Code,
};
use deploy_core::model::{Blame, FaultClass, Motion, Permanence, Revision, Scope};
use serde_json::{Value, json};

use super::*;
use crate::definition::{bare_revision, component, declared};

const NOW: i64 = 1_767_225_600_000;

fn arn(revision: u32) -> String {
    format!("arn:aws:ecs:us-east-1:123456789012:task-definition/web:{revision}")
}

fn task(code: Code, stopped: &str, reason: &str, exit: Option<i32>) -> Task {
    let container = Container::builder().name("api").set_exit_code(exit);
    let container = container.set_reason((!reason.is_empty()).then(|| reason.to_owned())).build();
    Task::builder()
        .task_arn("arn:aws:ecs:us-east-1:123456789012:task/c/88ab07")
        .task_definition_arn(arn(42))
        .started_by("ecs-svc/2")
        .stop_code(code)
        .stopped_reason(stopped)
        .containers(container)
        .build()
}

#[test]
fn why_tasks_stop() {
    use {Blame as B, FaultClass as F, Permanence as P};
    let start = || Code::TaskFailedToStart;
    let exited = || Code::EssentialContainerExited;
    let scheduler = || Code::ServiceSchedulerInitiated;
    let essential = "Essential container in task exited";
    type Row = (Code, &'static str, &'static str, Option<i32>, Option<(F, B, P)>);
    let table: Vec<Row> = vec![
        (
            start(),
            "CannotPullContainerError: image not found",
            "",
            None,
            Some((F::Image, B::Release, P::Permanent)),
        ),
        (
            start(),
            "",
            "CannotPullContainerError: pull access denied",
            None,
            Some((F::Image, B::Release, P::Permanent)),
        ),
        (
            start(),
            "CannotPullContainerError: toomanyrequests: rate",
            "",
            None,
            Some((F::Image, B::Platform, P::Transient)),
        ),
        (
            start(),
            "CannotPullContainerError: dial tcp: i/o timeout",
            "",
            None,
            Some((F::Image, B::Platform, P::Transient)),
        ),
        (
            start(),
            "CannotPullImageManifestError: no such manifest",
            "",
            None,
            Some((F::Image, B::Release, P::Permanent)),
        ),
        (
            start(),
            "ResourceInitializationError: unable to pull secrets: AccessDeniedException",
            "",
            None,
            Some((F::Resources, B::Release, P::Permanent)),
        ),
        (
            start(),
            "ResourceInitializationError: unable to pull secrets: ResourceNotFoundException: Secrets Manager can't find the specified secret",
            "",
            None,
            Some((F::Resources, B::Release, P::Permanent)),
        ),
        (
            start(),
            "ResourceInitializationError: RequestError: send request failed: dial tcp: i/o timeout",
            "",
            None,
            Some((F::Resources, B::Unknown, P::Transient)),
        ),
        (
            start(),
            "ResourceInitializationError: failed to mount EFS",
            "",
            None,
            Some((F::Resources, B::Release, P::Recurring)),
        ),
        (
            start(),
            "CannotStartContainerError: ResourceInitializationError: exec: no such file or directory",
            "",
            None,
            Some((F::Start, B::Release, P::Permanent)),
        ),
        (
            start(),
            "",
            "CannotCreateContainerError: bad mount",
            None,
            Some((F::Start, B::Release, P::Permanent)),
        ),
        (
            start(),
            "Capacity is unavailable at this time",
            "",
            None,
            Some((F::Capacity, B::Platform, P::Transient)),
        ),
        (
            start(),
            "Timeout waiting for network interface provisioning to complete.",
            "",
            None,
            Some((F::Infrastructure, B::Platform, P::Transient)),
        ),
        (start(), "something new", "", None, Some((F::Start, B::Release, P::Recurring))),
        (exited(), essential, "", Some(1), Some((F::Crash, B::Release, P::Recurring))),
        (exited(), essential, "", Some(0), Some((F::Crash, B::Release, P::Recurring))),
        (exited(), essential, "", Some(139), Some((F::Crash, B::Release, P::Recurring))),
        (exited(), essential, "", Some(143), Some((F::Crash, B::Unknown, P::Recurring))),
        (
            exited(),
            essential,
            "OutOfMemoryError: Container killed due to memory usage",
            Some(137),
            Some((F::OutOfMemory, B::Release, P::Recurring)),
        ),
        (
            scheduler(),
            "Task failed ELB health checks in (target-group x)",
            "",
            None,
            Some((F::Unhealthy, B::Release, P::Recurring)),
        ),
        (
            scheduler(),
            "Task failed container health checks",
            "",
            None,
            Some((F::Unhealthy, B::Release, P::Recurring)),
        ),
        (scheduler(), "Scaling activity initiated by (deployment ecs-svc/1)", "", Some(143), None),
        (
            Code::UserInitiated,
            "Task stopped by user",
            "",
            Some(143),
            Some((F::Other, B::Platform, P::Transient)),
        ),
        (
            Code::SpotInterruption,
            "Your Spot Task was interrupted.",
            "",
            None,
            Some((F::Infrastructure, B::Platform, P::Transient)),
        ),
        (Code::TerminationNotice, "x", "", Some(1), Some((F::Infrastructure, B::Platform, P::Transient))),
        (Code::InfrastructureHealth, "x", "", Some(1), Some((F::Infrastructure, B::Platform, P::Transient))),
    ];
    for (code, stopped, reason, exit, expected) in table {
        let shown = format!("{code:?} {stopped} {reason} {exit:?}");
        let found = fault_of(&task(code, stopped, reason, exit));
        let kind = found.as_ref().map(|(fault, _)| (fault.class, fault.blame, fault.permanence));
        assert_eq!(kind, expected, "{shown}");
        if let Some((_, instance)) = found {
            assert_eq!((instance.id.as_str(), instance.exit_code), ("88ab07", exit), "{shown}");
            assert_eq!(instance.revision, "web:42");
        }
    }
}

#[test]
fn nothing_that_others_write_makes_it_panic() {
    for text in ["", "\u{0}", "ü".repeat(9_000).as_str(), "CannotPull", ":", "/"] {
        let _ = fault_of(&task(Code::from(text), text, text, Some(i32::MIN)));
        let odd = Task::builder().task_arn(text).stopped_reason(text).build();
        let _ = fault_of(&odd);
        let mut memory = Memory::default();
        remember(&[odd], None, &mut memory);
        let _ = look(
            at(0),
            &facts(Value::Null),
            &Service::builder().task_definition(text).desired_count(-4).build(),
            &mut memory,
        );
    }
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(NOW + seconds * 1000)
}

fn deployment(
    id: &str,
    status: &str,
    revision: u32,
    state: Option<State>,
    counts: (i32, i32, i32),
) -> Deployment {
    Deployment::builder()
        .id(format!("ecs-svc/{id}"))
        .status(status)
        .task_definition(arn(revision))
        .set_rollout_state(state)
        .desired_count(counts.0)
        .running_count(counts.1)
        .pending_count(counts.2)
        .created_at(aws_sdk_ecs::primitives::DateTime::from_millis(NOW))
        .build()
}

fn service(deployments: Vec<Deployment>) -> Service {
    let declared = deployments.iter().find(|one| one.status() == Some("PRIMARY"));
    let declared = declared.and_then(Deployment::task_definition).unwrap_or_default().to_owned();
    Service::builder()
        .status("ACTIVE")
        .desired_count(2)
        .task_definition(declared)
        .set_deployments(Some(deployments))
        .build()
}

/// Toward web:42 by ecs-svc/2, from web:41 by ecs-svc/1, sent at 0.
fn facts(handle: Value) -> Facts {
    let revision: Revision = bare_revision(&arn(42));
    Facts::of(&Scope::Toward { component: component(), revision, handle }).unwrap()
}

fn ours() -> Facts {
    facts(
        json!({"deploymentId": "ecs-svc/2", "taskDefinitionArn": arn(42), "beforeArn": arn(41), "beforeId": "ecs-svc/1", "at": at(0)}),
    )
}

#[test]
fn where_a_rollout_is() {
    let (busy, done, failed) = (Some(State::InProgress), Some(State::Completed), Some(State::Failed));
    let old =
        |status: &str, state: &Option<State>, counts| deployment("1", status, 41, state.clone(), counts);
    let new =
        |status: &str, state: &Option<State>, counts| deployment("2", status, 42, state.clone(), counts);
    let revert = |ended| Motion::PlatformRevert { to: Some(bare_revision(&arn(41))), ended };
    let foreign = |revision| Motion::Foreign { revision: Some(bare_revision(&arn(revision))), by: None };
    type Row = (&'static str, i64, Vec<Deployment>, Motion, u32);
    let table: Vec<Row> = vec![
        ("not shown yet", 1, vec![old("PRIMARY", &done, (2, 2, 0))], Motion::Progressing, 42),
        (
            "begun",
            3,
            vec![new("PRIMARY", &busy, (2, 0, 2)), old("ACTIVE", &done, (2, 2, 0))],
            Motion::Progressing,
            42,
        ),
        ("all run, not complete", 40, vec![new("PRIMARY", &busy, (2, 2, 0))], Motion::Progressing, 42),
        ("complete", 60, vec![new("PRIMARY", &done, (2, 2, 0))], Motion::Done, 42),
        ("complete without state", 60, vec![new("PRIMARY", &None, (2, 2, 0))], Motion::Done, 42),
        (
            "complete, old ones only drain",
            60,
            vec![new("PRIMARY", &done, (2, 2, 0)), old("ACTIVE", &done, (0, 0, 0))],
            Motion::Done,
            42,
        ),
        (
            "early success, one is missing",
            60,
            vec![new("PRIMARY", &done, (2, 1, 1))],
            Motion::Progressing,
            42,
        ),
        (
            "complete, old ones still run",
            60,
            vec![new("PRIMARY", &done, (2, 2, 0)), old("ACTIVE", &done, (0, 1, 0))],
            Motion::Progressing,
            42,
        ),
        (
            "the breaker goes back",
            90,
            vec![old("PRIMARY", &busy, (2, 1, 1)), new("ACTIVE", &failed, (0, 1, 0))],
            revert(false),
            41,
        ),
        (
            "the breaker is back",
            120,
            vec![old("PRIMARY", &done, (2, 2, 0)), new("ACTIVE", &failed, (0, 0, 0))],
            revert(true),
            41,
        ),
        (
            "the breaker is back, ours has drained",
            200,
            vec![old("PRIMARY", &done, (2, 2, 0))],
            revert(true),
            41,
        ),
        (
            "a person went back by hand",
            90,
            vec![deployment("3", "PRIMARY", 41, busy.clone(), (2, 0, 2)), new("ACTIVE", &busy, (1, 1, 0))],
            foreign(41),
            41,
        ),
        (
            "a person deployed over it",
            90,
            vec![deployment("3", "PRIMARY", 43, busy.clone(), (2, 0, 2)), new("ACTIVE", &busy, (1, 1, 0))],
            foreign(43),
            43,
        ),
        (
            "deployed over, ours has drained",
            200,
            vec![deployment("3", "PRIMARY", 43, done.clone(), (2, 2, 0))],
            foreign(43),
            43,
        ),
        (
            "the same again by a person",
            200,
            vec![deployment("3", "PRIMARY", 42, done.clone(), (2, 2, 0))],
            Motion::Done,
            42,
        ),
        (
            "given up with nowhere to go",
            200,
            vec![new("PRIMARY", &failed, (2, 0, 0)), old("ACTIVE", &done, (2, 2, 0))],
            Motion::Progressing,
            42,
        ),
    ];
    for (what, seconds, deployments, motion, is) in table {
        let seen = look(at(seconds), &ours(), &service(deployments), &mut Memory::default()).observation;
        assert_eq!(seen.motion, motion, "{what}");
        assert_eq!(seen.declared, declared(&arn(is)), "{what}");
        assert_eq!(
            seen.signals.iter().any(deploy_core::model::Signal::decides),
            what.starts_with("given up"),
            "{what}"
        );
    }
}

#[test]
fn holding_says_what_is_declared_and_leaves_the_verdict_to_whoever_knows_the_plan() {
    let holding = |revision| {
        Facts::of(&Scope::Holding { component: component(), revision: bare_revision(&arn(revision)) })
            .unwrap()
    };
    let (done, busy) = (Some(State::Completed), Some(State::InProgress));
    let new_first = service(vec![
        deployment("2", "PRIMARY", 42, busy, (2, 1, 1)),
        deployment("1", "ACTIVE", 41, Some(State::Failed), (1, 1, 0)),
    ]);
    let seen = look(at(9), &holding(41), &new_first, &mut Memory::default()).observation;
    assert_eq!(
        (seen.motion, seen.declared),
        (Motion::Progressing, declared(&arn(42))),
        "before it is put back"
    );
    let mut memory = Memory::default();
    let new = service(vec![deployment("2", "PRIMARY", 42, done.clone(), (2, 2, 0))]);
    assert_eq!(look(at(90), &holding(42), &new, &mut memory).observation.motion, Motion::Done);
    let reverted = service(vec![
        deployment("1", "PRIMARY", 41, done, (2, 2, 0)),
        deployment("2", "ACTIVE", 42, Some(State::Failed), (0, 0, 0)),
    ]);
    let seen = look(at(120), &holding(42), &reverted, &mut memory).observation;
    assert!(
        matches!(seen.motion, Motion::PlatformRevert { ended: true, .. }),
        "an alarm while baking: {seen:?}"
    );
}

#[test]
fn a_look_that_goes_back_in_time_is_not_believed() {
    let mut memory = Memory::default();
    let new = || vec![deployment("2", "PRIMARY", 42, Some(State::InProgress), (2, 0, 2))];
    look(at(2), &ours(), &service(new()), &mut memory);
    let old = service(vec![deployment("1", "PRIMARY", 41, Some(State::Completed), (2, 2, 0))]);
    assert_eq!(look(at(5), &ours(), &old, &mut memory).observation.motion, Motion::Progressing);
    assert_ne!(
        look(at(70), &ours(), &old, &mut memory).observation.motion,
        Motion::Progressing,
        "by then it is new"
    );
}

#[test]
fn before_the_update_is_answered_the_base_is_not_foreign() {
    let facts = facts(json!({"beforeArn": arn(41)}));
    let old = service(vec![deployment("1", "PRIMARY", 41, Some(State::Completed), (2, 2, 0))]);
    let seen = look(at(5), &facts, &old, &mut Memory::default()).observation;
    assert_eq!((seen.motion, seen.declared), (Motion::Progressing, declared(&arn(41))));
    let landed = service(vec![deployment("2", "PRIMARY", 42, Some(State::InProgress), (2, 0, 2))]);
    assert_eq!(look(at(5), &facts, &landed, &mut Memory::default()).observation.declared, declared(&arn(42)));
}

#[test]
fn stopped_tasks_are_looked_at_only_when_something_is_off() {
    let mut memory = Memory::default();
    let mut wants = |seconds, pending, running, failed| {
        let mut one = deployment("2", "PRIMARY", 42, Some(State::InProgress), (2, running, pending));
        one.failed_tasks = failed;
        look(at(seconds), &ours(), &service(vec![one]), &mut memory).wants_tasks
    };
    assert!(!wants(1, 2, 0, 0), "has only begun");
    assert!(!wants(90, 2, 0, 0), "90 s from the first pending look, not from the update");
    assert!(wants(92, 2, 0, 0), "does not turn running");
    assert!(!wants(95, 1, 1, 0), "it has");
    assert!(!wants(100, 0, 2, 0));
    assert!(wants(105, 1, 1, 0), "running fell");
    assert!(wants(110, 0, 2, 1), "failed tasks are counted");
}

#[test]
fn only_our_deployments_tasks_since_the_update_count_and_each_once() {
    let mut memory = Memory { since: Some(at(0)), ..Memory::default() };
    let crash = |id: &str, by: &str, stopped: i64| {
        Task::builder()
            .task_arn(format!("arn:aws:ecs:us-east-1:123456789012:task/c/{id}"))
            .started_by(by)
            .stop_code(Code::EssentialContainerExited)
            .stopped_at(aws_sdk_ecs::primitives::DateTime::from_millis(NOW + stopped * 1000))
            .containers(Container::builder().name("api").exit_code(1).build())
            .build()
    };
    let tasks = [
        crash("a", "ecs-svc/2", 5),
        crash("b", "ecs-svc/1", 5),
        crash("c", "ecs-svc/2", -5),
        crash("a", "ecs-svc/2", 5),
    ];
    remember(&tasks, Some("ecs-svc/2"), &mut memory);
    assert_eq!(memory.faults.keys().collect::<Vec<_>>(), ["a"]);
    assert!(!signals(&memory.faults, &memory.logs)[0].decides(), "one crash does not decide");
    remember(&[crash("d", "ecs-svc/2", 9)], Some("ecs-svc/2"), &mut memory);
    memory.logs.insert("a".into(), vec!["line".into()]);
    let found = signals(&memory.faults, &memory.logs);
    assert!(found.len() == 1 && found[0].decides() && found[0].log == ["line"], "{found:?}");
    assert!(found[0].text.starts_with("container api exits 1"), "{}", found[0].text);
}

#[test]
fn events_are_read_from_the_update_on_and_never_blamed_on_the_release() {
    let event = |id: &str, seconds: i64, message: &str| {
        ServiceEvent::builder()
            .id(id)
            .created_at(aws_sdk_ecs::primitives::DateTime::from_millis(NOW + seconds * 1000))
            .message(message)
            .build()
    };
    let mut service = service(vec![deployment("2", "PRIMARY", 42, Some(State::InProgress), (2, 0, 0))]);
    service.events = Some(vec![
        event("1", -60, "(service web) is unable to consistently start tasks successfully."),
        event("2", 5, "(service web) was unable to place a task. Reason: no capacity."),
        event("3", 6, "(service web) has reached a steady state."),
    ]);
    let mut memory = Memory::default();
    let first = look(at(8), &ours(), &service, &mut memory);
    let classes: Vec<_> = first.observation.signals.iter().map(|signal| signal.class).collect();
    assert_eq!(classes, [FaultClass::Capacity]);
    assert!(!first.observation.signals[0].decides() && first.wants_tasks);
}

#[test]
fn a_calm_deploy_of_five_minutes_costs_about_65_looks() {
    let (mut time, mut looks) = (0, 0);
    while time < 300_000 {
        time += look_again_ms(time, false, false);
        looks += 1;
    }
    assert_eq!(looks, 65);
}
