//! A service as a platform, over the real SDK and the emulator, step by step.

mod common;

use common::{Place, START_MS, place, place_of};
use deploy_core::{
    ErrorKind, Platform,
    context::Outputs,
    model::{FaultClass, Goal, Motion, Permanence, Release, Scope, StepId, StepKind},
    state::journal::Sending,
};
use deploy_ecs::emulator::{Config, FaultKind, FaultRule};
use serde_json::json;

#[tokio::test(start_paused = true)]
async fn inspecting_tells_what_is_here() {
    let place = place();
    let now = place.service.inspect().await.unwrap();
    for (part, value) in [
        ("account", "123456789012"),
        ("region", "us-east-1"),
        ("cluster", "arn:aws:ecs:us-east-1:123456789012:cluster/prod-website"),
        ("service", "arn:aws:ecs:us-east-1:123456789012:service/prod-website/prod-api"),
        ("family", "prod-api-task"),
        ("containers", "api"),
        ("repositories", "123456789012.dkr.ecr.us-east-1.amazonaws.com/shop-api"),
    ] {
        assert_eq!(now.identity.get(part), Some(value), "{part}");
    }
    assert_eq!(now.serving.name, "prod-api-task:1");
    assert!(now.steady);
    assert_eq!(now.capabilities.fencing(), "detected");
    assert!(!now.capabilities.reverts_itself);
    let again = place.service.inspect().await.unwrap();
    assert_eq!((again.declared, again.detail), (now.declared, now.detail), "an untouched place");
    assert_eq!(place.emulator.counts().of("GetCallerIdentity"), 1, "who we are is asked once");
    assert_eq!(place.emulator.counts().mutating(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_good_release_is_registered_and_becomes_done() {
    let place = place();
    let commit = "9f2c1ab0".repeat(5);
    let mut goal = Release::of_what_runs().image("api", place.emulator.image("shop-api", "ok-2"));
    goal.commit = Some(commit.clone());
    let plan = place.plan(&Goal::Deploy(goal)).await.unwrap();
    let kinds: Vec<_> = plan.steps.iter().map(|step| (step.id.as_str(), step.kind.word())).collect();
    assert_eq!(kinds, [("register", "effect"), ("update", "effect"), ("watch", "await")]);
    assert_eq!(plan.way_back.words, "update service to prod-api-task:1");
    assert_eq!(plan.floor, 2);

    let mut outputs = Outputs::new();
    let run = place.step(&plan, "register", &outputs).await;
    assert_eq!(run.asked.len(), 1);
    outputs.insert(StepId::from("register"), run.result.unwrap());
    let before = place.scope(&plan, "update", &outputs);
    let run = place.step(&plan, "update", &outputs).await;
    let asked = &run.asked[0];
    assert!(asked.exclusive && asked.sending == Sending::Idempotent);
    assert_eq!(asked.to.as_ref(), before.declared(), "what is declared is known before it is sent");
    outputs.insert(StepId::from("update"), run.result.unwrap());

    let scope = place.scope(&plan, "watch", &outputs);
    let watched = place.watch(&scope, 600).await;
    assert_eq!(watched.seen.motion, Motion::Done, "{:?}", watched.seen);
    assert_eq!(
        watched.seen.counts.map(|counts| (counts.desired, counts.healthy, counts.old)),
        Some((2, 2, 0))
    );
    assert!(watched.seen.signals.is_empty(), "{:?}", watched.seen.signals);
    let now = place.service.inspect().await.unwrap();
    assert_eq!(now.serving.name, "prod-api-task:2");
    assert_eq!(now.serving.commit, Some(commit), "kept beside the digest");
    assert!(now.serving.images["api"].starts_with("sha256:"), "{:?}", now.serving.images);
    assert_eq!(place.emulator.counts().mutating(), 2, "{:?}", place.emulator.counts());
    assert_eq!(place.emulator.counts().of("ListTasks"), 0, "nothing was off");
}

#[tokio::test(start_paused = true)]
async fn what_the_sdk_does_not_know_survives() {
    let place = place();
    let container = json!({"name": "api", "image": place.emulator.image("shop-api", "ok-1"), "essential": true,
        "fromTheFuture": {"a": [1, 2]}, "environment": [{"name": "KEEP", "value": "1"}, {"name": "DROP", "value": "2"}]});
    let body = json!({"family": "prod-api-task", "containerDefinitions": [container], "quantum": "on",
        "enableFaultInjection": true, "tags": [{"key": "team", "value": "shop"}]});
    place.ecs("RegisterTaskDefinition", &body);
    place.ecs(
        "UpdateService",
        &json!({"cluster": "prod-website", "service": "prod-api", "taskDefinition": "prod-api-task:2"}),
    );
    place.emulator.skip_ms(120_000);
    let release = Release::of_what_runs().env("api", "NEW", "3").unset("api", "DROP");
    let plan = place.plan(&Goal::Deploy(release)).await.unwrap();
    assert!(format!("{:?}", plan.diff).contains("env + api:NEW"), "{:?}", plan.diff);
    assert!(!format!("{:?}", plan.diff).contains('3'), "values are hidden: {:?}", plan.diff);
    place.done(&plan, "register", &mut Outputs::new()).await;
    let answer = place
        .ecs("DescribeTaskDefinition", &json!({"taskDefinition": "prod-api-task:3", "include": ["TAGS"]}));
    let made = &answer["taskDefinition"];
    assert_eq!(made["quantum"], "on");
    assert_eq!(made["enableFaultInjection"], true);
    assert_eq!(made["containerDefinitions"][0]["fromTheFuture"], json!({"a": [1, 2]}));
    let variables = &made["containerDefinitions"][0]["environment"];
    assert_eq!(*variables, json!([{"name": "KEEP", "value": "1"}, {"name": "NEW", "value": "3"}]));
    let tags = answer["tags"].as_array().unwrap();
    assert!(tags.contains(&json!({"key": "team", "value": "shop"})), "{tags:?}");
    assert!(tags.contains(&json!({"key": "deploy-kit:rollout", "value": "0000000000"})), "{tags:?}");
}

#[tokio::test(start_paused = true)]
async fn nothing_to_do_is_no_step() {
    let place = place();
    let plan = place.plan(&Goal::Deploy(Release::of_what_runs())).await.unwrap();
    assert!(!plan.changes_something() && plan.diff.is_empty(), "{plan:?}");
    let unset = Goal::Deploy(Release::of_what_runs().unset("api", "NEVER_SET"));
    assert!(!place.plan(&unset).await.unwrap().changes_something());
    let restore = Goal::Restore(place.service.inspect().await.unwrap().serving);
    assert!(!place.plan(&restore).await.unwrap().changes_something());
    let adopt = place.plan(&Goal::Adopt).await.unwrap();
    assert_eq!(adopt.steps.iter().map(|step| &step.kind).collect::<Vec<_>>(), [&StepKind::Await]);
    let watched = place.watch(&place.scope(&adopt, "watch", &Outputs::new()), 60).await;
    assert_eq!(watched.seen.motion, Motion::Done);
}

#[tokio::test(start_paused = true)]
async fn the_common_mistakes_are_refused() {
    let place = place();
    let wrong = place.ecs.service("prod-website", "prod-api").family("prod-app-task");
    let now = wrong.inspect().await.unwrap();
    let target = deploy_core::model::TargetName::new("a", "b").unwrap();
    let cx = deploy_core::platform::PlanContext::new(target, 0, None);
    let error = wrong.plan(&place.image("ok-2"), &now, &cx).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
    for word in ["prod-api", "prod-api-task", "prod-app-task"] {
        assert!(error.message().contains(word), "{error}");
    }
    let image = |container: &str, name: &str| {
        Goal::Deploy(Release::of_what_runs().image(container, place.emulator.image(name, "ok-2")))
    };
    let error = place.plan(&image("api", "shop-app")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
    assert!(error.message().contains("shop-api") && error.message().contains("shop-app"), "{error}");
    let error = place.plan(&image("app", "shop-api")).await.unwrap_err();
    assert!(error.to_string().contains("no container app (its containers: api)"), "{error}");
    let error = place.plan(&place.image("v9")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused, "{error}");
    let digest =
        place.emulator.image("shop-api", "ok-1").replace(":ok-1", &format!("@sha256:{}", "0".repeat(64)));
    let gone = Goal::Deploy(Release::of_what_runs().image("api", digest));
    assert_eq!(place.plan(&gone).await.unwrap_err().kind(), ErrorKind::Refused);
    let missing = place.ecs.service("prod-website", "prod-apo").inspect().await.unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::NotFound);
    let secret = Goal::Deploy(Release::of_what_runs().env("web", "A", "1"));
    assert_eq!(place.plan(&secret).await.unwrap_err().kind(), ErrorKind::Refused);
    assert_eq!(place.emulator.counts().mutating(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_image_for_another_architecture_is_refused() {
    let fargate = json!({"requiresCompatibilities": ["FARGATE"]});
    let arm = json!({"requiresCompatibilities": ["FARGATE"],
        "runtimePlatform": {"cpuArchitecture": "ARM64", "operatingSystemFamily": "LINUX"}});
    let instances = json!({"requiresCompatibilities": ["EC2"]});
    for (definition, tag, wrong) in [
        (&fargate, "ok-2", None),
        (&fargate, "ok-arm64", Some(["linux/amd64", "linux/arm64"])),
        (&arm, "ok-arm64", None),
        (&arm, "ok-2", Some(["linux/arm64", "linux/amd64"])),
        (&instances, "ok-arm64", None),
    ] {
        let place = place();
        place.runs_with(definition);
        place.emulator.reset_calls();
        let planned = place.plan(&place.image(tag)).await;
        let Some([asked, is]) = wrong else {
            let plan = planned.unwrap();
            assert!(
                plan.changes_something() && !format!("{:?}", plan.notes).contains("architecture"),
                "{definition} {tag}: {:?}",
                plan.notes
            );
            continue;
        };
        let error = planned.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Refused, "{definition} {tag}: {error}");
        for word in ["wrong architecture", "container api", asked, is, tag] {
            assert!(error.message().contains(word), "{word}: {error}");
        }
        assert_eq!(place.emulator.counts().mutating(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn an_index_of_images_has_to_have_the_architecture() {
    let place = place();
    place.runs_with(&json!({"requiresCompatibilities": ["FARGATE"]}));
    for (tag, architectures, fits) in [
        ("v1", ["arm64", "amd64"], true),
        ("v2", ["arm64", "riscv64"], false),
        ("v3", ["amd64", "unknown"], true),
    ] {
        let entries: Vec<_> = architectures
            .iter()
            .map(|name| {
                let os = if *name == "unknown" { "unknown" } else { "linux" };
                json!({"digest": format!("sha256:{}", name.len()), "platform": {"os": os, "architecture": name}})
            })
            .collect();
        let media_type = "application/vnd.oci.image.index.v1+json";
        let manifest = json!({"schemaVersion": 2, "mediaType": media_type, "manifests": entries}).to_string();
        place.ecr(
            "PutImage",
            &json!({"repositoryName": "shop-api", "imageTag": tag, "imageManifest": manifest,
                "imageManifestMediaType": media_type}),
        );
        place.emulator.reset_calls();
        let planned = place.plan(&place.image(tag)).await;
        assert_eq!(planned.is_ok(), fits, "{tag}: {planned:?}");
        assert_eq!(place.emulator.counts().of("GetDownloadUrlForLayer"), 0, "the index tells");
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_registry_hides_is_noted() {
    let place = place();
    place.runs_with(&json!({"requiresCompatibilities": ["FARGATE"]}));
    place.emulator.fault(FaultRule::new(FaultKind::AccessDenied403).action("GetDownloadUrlForLayer"));
    let plan = place.plan(&place.image("ok-2")).await.unwrap();
    assert!(
        plan.notes.iter().any(|note| note.contains("cannot tell which architecture")),
        "{:?}",
        plan.notes
    );
}

/// Deploys an image and watches until something is decided.
async fn bad(place: &Place, tag: &str) -> common::Watched {
    let plan = place.plan(&place.image(tag)).await.unwrap();
    let outputs = place.forward(&plan).await;
    place.watch(&place.scope(&plan, "watch", &outputs), 900).await
}

#[tokio::test(start_paused = true)]
async fn every_way_to_fail_is_told() {
    use FaultClass::*;
    let table = [
        ("nopull", Image, 1),
        ("badcmd", Start, 1),
        ("nosecret", Resources, 1),
        ("crash", Crash, 2),
        ("exit0", Crash, 2),
        ("segv", Crash, 2),
        ("oom", OutOfMemory, 2),
    ];
    for (tag, class, instances) in table {
        let place = place();
        let watched = bad(&place, tag).await;
        let decided: Vec<_> = watched.seen.signals.iter().filter(|signal| signal.decides()).collect();
        assert_eq!(decided.len(), 1, "{tag}: {:?}", watched.seen);
        assert_eq!(decided[0].class, class, "{tag}: {decided:?}");
        assert!(decided[0].instances.len() >= instances, "{tag}");
        assert!(watched.took.as_secs() <= 40, "{tag} took {:?}", watched.took);
        assert_eq!(watched.seen.motion, Motion::Progressing, "{tag}");
        let has_log = decided[0].permanence == Permanence::Recurring;
        assert_eq!(!decided[0].log.is_empty(), has_log, "{tag}: {:?}", decided[0].log);
    }
}

#[tokio::test(start_paused = true)]
async fn a_task_that_fails_its_health_checks_is_told() {
    let place = place_of(Config::default(), |seed| seed.target_group(8080));
    let watched = bad(&place, "unhealthy").await;
    let decided: Vec<_> = watched.seen.signals.iter().filter(|signal| signal.decides()).collect();
    assert_eq!(decided.len(), 1, "{:?}", watched.seen);
    assert_eq!(decided[0].class, FaultClass::Unhealthy);
}

#[tokio::test(start_paused = true)]
async fn the_platforms_troubles_are_not_the_releases() {
    for (tag, class) in [
        ("nocapacity", FaultClass::Capacity),
        ("pulllimit", FaultClass::Image),
        ("nonet", FaultClass::Resources),
    ] {
        let place = place();
        let plan = place.plan(&place.image(tag)).await.unwrap();
        let outputs = place.forward(&plan).await;
        let watched = place.watch(&place.scope(&plan, "watch", &outputs), 300).await;
        assert_eq!(watched.seen.motion, Motion::Progressing, "{tag}");
        assert!(watched.seen.signals.iter().any(|signal| signal.class == class), "{tag}: {:?}", watched.seen);
        assert!(!watched.seen.signals.iter().any(deploy_core::model::Signal::decides), "{tag}");
    }
}

#[tokio::test(start_paused = true)]
async fn going_back_is_one_call() {
    let place = place();
    let plan = place.plan(&place.image("crash")).await.unwrap();
    let mut outputs = place.forward(&plan).await;
    place.watch(&place.scope(&plan, "watch", &outputs), 600).await;
    let calls = place.emulator.counts().mutating();
    place.done(&plan, "back", &mut outputs).await;
    assert_eq!(place.emulator.counts().mutating() - calls, 1);
    let scope = place.scope(&plan, "back", &outputs);
    assert_eq!(scope.revision().name, "prod-api-task:1");
    let watched = place.watch(&scope, 600).await;
    assert_eq!(watched.seen.motion, Motion::Done, "{:?}", watched.seen);
    assert!(
        watched.seen.signals.is_empty(),
        "the new tasks' troubles are not the old ones': {:?}",
        watched.seen
    );
    let holding = Scope::Holding { component: scope.component().clone(), revision: scope.revision().clone() };
    assert_eq!(place.service.observe(&holding).await.unwrap().motion, Motion::Done);
    assert_eq!(place.service.inspect().await.unwrap().serving.name, "prod-api-task:1");
}

#[tokio::test(start_paused = true)]
async fn the_circuit_breakers_way_back_is_followed_and_never_called_success() {
    let place = place_of(Config::default(), |seed| seed.breaker(true));
    let plan = place.plan(&place.image("crash")).await.unwrap();
    assert!(plan.capabilities.reverts_itself);
    let outputs = place.forward(&plan).await;
    let scope = place.scope(&plan, "watch", &outputs);
    let mut reverts = Vec::new();
    for _ in 0..200 {
        let seen = place.service.observe(&scope).await.unwrap();
        assert_ne!(seen.motion, Motion::Done);
        if let Motion::PlatformRevert { to, ended } = seen.motion {
            assert_eq!(to.map(|to| to.name).as_deref(), Some("prod-api-task:1"));
            reverts.push(ended);
            if ended {
                break;
            }
        }
        place.emulator.skip_ms(0);
        deploy_core::clock::Clock::sleep(&*place.clock, std::time::Duration::from_secs(3)).await;
    }
    assert_eq!(reverts.last(), Some(&true), "{reverts:?}");
}

#[tokio::test(start_paused = true)]
async fn somebody_elses_update_is_foreign() {
    let place = place();
    let plan = place.plan(&place.image("ok-2")).await.unwrap();
    let outputs = place.forward(&plan).await;
    let scope = place.scope(&plan, "watch", &outputs);
    let body = json!({"family": "prod-api-task", "containerDefinitions": [{"name": "api", "image": place.emulator.image("shop-api", "ok-3")}]});
    place.ecs("RegisterTaskDefinition", &body);
    place.ecs(
        "UpdateService",
        &json!({"cluster": "prod-website", "service": "prod-api", "taskDefinition": "prod-api-task:3"}),
    );
    let seen = place.service.observe(&scope).await.unwrap();
    match seen.motion {
        Motion::Foreign { revision: Some(revision), .. } => assert_eq!(revision.name, "prod-api-task:3"),
        other => panic!("{other:?}"),
    }
    assert_ne!(Some(&seen.declared), scope.declared());
}

#[tokio::test(start_paused = true)]
async fn stale_looks_are_seen_through() {
    let place = place_of(Config { stale_ms: 8_000, ..Config::default() }, |seed| seed);
    let plan = place.plan(&place.image("ok-2")).await.unwrap();
    let outputs = place.forward(&plan).await;
    let scope = place.scope(&plan, "watch", &outputs);
    let first = place.service.observe(&scope).await.unwrap();
    assert_eq!(first.motion, Motion::Progressing);
    assert_eq!(Some(&first.declared), scope.declared(), "an old look says nothing about what is declared");
    assert_eq!(place.watch(&scope, 300).await.seen.motion, Motion::Done);
}

#[tokio::test(start_paused = true)]
async fn a_crash_after_it_was_healthy_is_seen_while_baking() {
    let place = place();
    let plan = place.plan(&place.image("flaky")).await.unwrap();
    let outputs = place.forward(&plan).await;
    let scope = place.scope(&plan, "watch", &outputs);
    assert_eq!(place.watch(&scope, 300).await.seen.motion, Motion::Done);
    let holding = Scope::Holding { component: scope.component().clone(), revision: scope.revision().clone() };
    for _ in 0..30 {
        let seen = place.service.observe(&holding).await.unwrap();
        if seen.signals.iter().any(deploy_core::model::Signal::decides) {
            return;
        }
        deploy_core::clock::Clock::sleep(&*place.clock, std::time::Duration::from_millis(seen.look_again_ms))
            .await;
    }
    panic!("nobody noticed");
}

#[tokio::test(start_paused = true)]
async fn revisions_can_be_listed_restored_and_be_gone() {
    let place = place();
    let plan = place.plan(&place.image("ok-2")).await.unwrap();
    let outputs = place.forward(&plan).await;
    place.watch(&place.scope(&plan, "watch", &outputs), 300).await;
    let revisions = place.service.revisions(10).await.unwrap();
    let names: Vec<_> = revisions.iter().map(|revision| revision.name.as_str()).collect();
    assert_eq!(names, ["prod-api-task:2", "prod-api-task:1"]);
    let plan = place.plan(&Goal::Restore(revisions[1].clone())).await.unwrap();
    assert_eq!(plan.way_back.to.as_ref().map(|to| to.name.as_str()), Some("prod-api-task:2"));
    let mut outputs = Outputs::new();
    place.done(&plan, "update", &mut outputs).await;
    let watched = place.watch(&place.scope(&plan, "watch", &outputs), 300).await;
    assert_eq!(watched.seen.motion, Motion::Done);
    assert_eq!(watched.seen.at.as_millis() / 3_600_000, START_MS / 3_600_000, "in virtual time");
    place.ecs("DeregisterTaskDefinition", &json!({"taskDefinition": "prod-api-task:2"}));
    let error = place.service.startable(&revisions[0]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    assert!(place.plan(&Goal::Restore(revisions[0].clone())).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn other_controllers_and_strategies_are_refused_by_name() {
    let mut refused = 0;
    for (setting, value, word) in [
        ("deploymentController", json!({"type": "EXTERNAL"}), "EXTERNAL"),
        ("deploymentController", json!({"type": "CODE_DEPLOY"}), "CODE_DEPLOY"),
        ("deploymentConfiguration", json!({"strategy": "BLUE_GREEN", "bakeTimeInMinutes": 1}), "BLUE_GREEN"),
    ] {
        let emulator = deploy_ecs::emulator::Emulator::new(Config::default());
        let image = emulator.image("shop-api", "ok-1");
        let seed = deploy_ecs::emulator::Seed::new("c", "s", "f", "api", &image, 1).setting(setting, value);
        if let Err(error) = emulator.seed(&seed) {
            assert!(error.to_string().contains(word) || error.code == "InvalidParameterException", "{error}");
            continue;
        }
        let clock = place().clock;
        let service = deploy_ecs::Ecs::emulated(&emulator, clock).unwrap().service("c", "s");
        let now = service.inspect().await.unwrap();
        let target = deploy_core::model::TargetName::new("a", "b").unwrap();
        let cx = deploy_core::platform::PlanContext::new(target, 0, None);
        let error = service.plan(&Goal::Adopt, &now, &cx).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.message().contains(word), "{error}");
        refused += 1;
    }
    assert!(refused > 0, "the emulator has none of them");
}

#[tokio::test(start_paused = true)]
async fn a_plan_is_what_it_was() {
    let place = place();
    let mut release = Release::of_what_runs().env("api", "LOG_LEVEL", "debug");
    release = release.image("api", place.emulator.image("shop-api", "ok-2"));
    release.commit = Some("9f2c1ab0".repeat(5));
    let goal = Goal::Deploy(release);
    let plan = place.plan(&goal).await.unwrap();
    assert_eq!(plan, place.plan(&goal).await.unwrap(), "the same goal and place give the same plan");
    let text = format!("{}\n", serde_json::to_string_pretty(&plan).unwrap());
    let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/plan.json");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(golden, &text).unwrap();
    }
    assert_eq!(text, std::fs::read_to_string(golden).unwrap(), "UPDATE_GOLDEN=1 writes it anew");
    assert!(!format!("{:?}", plan.diff).contains("debug"), "values do not show: {:?}", plan.diff);
}
