use std::{collections::BTreeSet, sync::Arc};

use deploy_core::{
    clock::Clock,
    conformance,
    image::{Build, FailedStep, ImageEvent, ImageEvents, ImagePlatform, Repository, StepState},
    source::{Ancestry, Between, Commit, Source},
};
use serde_json::Value;
use tokio::sync::watch;

use super::*;
use crate::scripted::{CANARY, FAULTS, Fault, Server, all_of, logged};

mod ends;

const COMMIT: &str = "9f2c1ab09f2c1ab09f2c1ab09f2c1ab09f2c1ab0";

/// No builder here reads it: the project fetches the commit itself.
#[derive(Debug)]
struct Unread;

#[async_trait]
impl Source for Unread {
    async fn resolve(&self, _: &str) -> Result<Commit> {
        Err(interrupted("unread"))
    }

    async fn tip(&self, _: &str) -> Result<Commit> {
        Err(interrupted("unread"))
    }

    async fn contains(&self, _: &str, _: &str) -> Result<Ancestry> {
        Err(interrupted("unread"))
    }

    async fn between(&self, _: &str, _: &str, _: usize) -> Result<Between> {
        Err(interrupted("unread"))
    }
}

fn build() -> Build {
    let repository = Repository::parse("123456789012.dkr.ecr.us-east-1.amazonaws.com/shop").unwrap();
    Build::new(repository, ".", COMMIT)
}

struct Making {
    builder: CodeBuild,
    build: Build,
    cx: StepContext,
    interrupt: watch::Sender<bool>,
}

/// A step of a deploy.
fn making(server: &Server, rollout: &str, attempt: u32) -> Making {
    let clock = Arc::new(server.clock.clone());
    let (cx, interrupt) = conformance::preparing(rollout, "build-api", attempt, clock);
    Making { builder: CodeBuild::new(server.aws(), "shop"), build: build(), cx, interrupt }
}

impl Making {
    async fn run(&self) -> (Result<()>, Vec<ImageEvent>) {
        let (events, mut stream) = ImageEvents::channel();
        let ended = self.builder.make(BuildOrder::new(&self.build, &Unread, &self.cx, &events)).await;
        drop(events);
        let mut heard = Vec::new();
        while let Some(event) = stream.next().await {
            heard.push(event);
        }
        (ended, heard)
    }
}

async fn make(server: &Server, rollout: &str) -> Result<()> {
    making(server, rollout, 1).run().await.0
}

async fn seconds(server: &Server, seconds: u64) {
    server.clock.sleep(Duration::from_secs(seconds)).await;
}

/// Runs it for so long, then kills it: nothing of it runs any more, and nothing stops what it began.
async fn killed_after(server: &Server, rollout: &'static str, secs: u64) {
    let making = making(server, rollout, 1);
    let running = async { making.run().await.0 };
    tokio::select! {
        ended = running => panic!("it ended: {ended:?}"),
        () = seconds(server, secs) => server.fault("StopBuild", Fault::Denied, 1),
    }
    seconds(server, 1).await;
}

fn lines<'a>(events: &'a [ImageEvent]) -> Vec<&'a str> {
    let line = |event: &'a ImageEvent| match event {
        ImageEvent::Log { line, .. } => Some(line.as_str()),
        _ => None,
    };
    events.iter().filter_map(line).collect()
}

fn variables(start: &Value) -> Vec<(&str, &str)> {
    let variables = start["environmentVariablesOverride"].as_array().unwrap();
    variables.iter().map(|v| (v["name"].as_str().unwrap(), v["value"].as_str().unwrap())).collect()
}

#[tokio::test(start_paused = true)]
async fn a_build_is_started_at_the_commit_and_followed_with_its_log() {
    let server = Server::new();
    server.world(|world| {
        world.ends.push_back(("SUCCEEDED", 120));
        world.log = (0..9).map(|n| (n * 10, format!("line {n}\n"))).collect();
        world.log.push((119, "a secret: password=canary\r\nthe last\u{1b}[0m\n".to_owned()));
    });
    let mut making = making(&server, "0F3KQ8Z7VN", 1);
    making.build = making.build.platform(ImagePlatform::new("linux", "arm64", None)).version("v1.2");
    let (ended, events) = making.run().await;
    ended.unwrap();
    let starts = server.bodies("StartBuild");
    assert_eq!(
        (starts.len(), &starts[0]["projectName"], &starts[0]["sourceVersion"]),
        (1, &"shop".into(), &COMMIT.into())
    );
    let repository = "123456789012.dkr.ecr.us-east-1.amazonaws.com/shop";
    let expected = [
        ("DEPLOY_COMMIT", COMMIT.to_owned()),
        ("DEPLOY_IMAGE", format!("{repository}:{COMMIT}")),
        ("DEPLOY_REGISTRY", "123456789012.dkr.ecr.us-east-1.amazonaws.com".to_owned()),
        ("DEPLOY_REVISION_LABEL", format!("org.opencontainers.image.revision={COMMIT}")),
        ("DEPLOY_FOLDER", ".".to_owned()),
        ("DEPLOY_STARTED_BY", "0F3KQ8Z7VN/build-api".to_owned()),
        ("DEPLOY_PLATFORMS", "linux/arm64".to_owned()),
        ("DEPLOY_VERSION_IMAGE", format!("{repository}:v1.2")),
    ];
    let expected: Vec<(&str, &str)> = expected.iter().map(|(name, value)| (*name, value.as_str())).collect();
    assert_eq!(variables(&starts[0]), expected);
    assert_eq!(
        server.bodies("ListBuildsForProject")[0].get("sortOrder"),
        None,
        "refused beyond a hundred builds"
    );

    let steps: Vec<(&str, StepState)> = events
        .iter()
        .filter_map(|event| match event {
            ImageEvent::Step { step, state } => Some((step.as_str(), *state)),
            _ => None,
        })
        .collect();
    use StepState::{Done, Running};
    let expected = ["SUBMITTED", "QUEUED", "PRE_BUILD", "BUILD"].map(|name| [(name, Running), (name, Done)]);
    assert_eq!(steps, expected.concat());
    let lines = lines(&events);
    let said: Vec<&str> = lines.iter().copied().filter(|line| line.starts_with("line ")).collect();
    assert_eq!(
        said,
        ["line 0", "line 1", "line 2", "line 3", "line 4", "line 5", "line 6", "line 7", "line 8"]
    );
    assert!(lines.contains(&"the last") && !lines.concat().contains("canary"), "{lines:?}");
    // 2, 3, 4.5, 6.75 and then each 10 seconds; the first one is of the list.
    let looks = server.called("BatchGetBuilds");
    assert!((14..=16).contains(&looks), "{looks}");
    assert!(server.called("GetLogEvents") < 3 * looks, "{}", server.called("GetLogEvents"));
}

#[tokio::test(start_paused = true)]
async fn every_fault_of_a_start_starts_one_build_at_most() {
    for (fault, times) in FAULTS.into_iter().flat_map(|fault| [(fault, 1), (fault, 2)]) {
        for lag in [0, 600] {
            let server = Server::new();
            server.world(|world| world.list_lag = Duration::from_secs(lag));
            server.fault("StartBuild", fault, times);
            let ended = make(&server, "0F3KQ8Z7VN").await;
            let (built, starts) = (server.states().len(), server.called("StartBuild"));
            let shown = format!("{fault:?} {times} {lag}: {ended:?}");
            match fault {
                Fault::Expired => {
                    assert_eq!(ended.unwrap_err().kind(), ErrorKind::Unauthenticated, "{shown}")
                }
                Fault::Denied => {
                    assert_eq!(ended.unwrap_err().kind(), ErrorKind::PermissionDenied, "{shown}")
                }
                _ => ended.unwrap_or_else(|_| panic!("{shown}")),
            }
            assert_eq!(built, usize::from(!matches!(fault, Fault::Expired | Fault::Denied)), "{shown}");
            // What landed is found where it can be seen, and only else sent again, with the same token.
            let landed = matches!(fault, Fault::ResetAfter | Fault::Malformed);
            match fault {
                Fault::Expired | Fault::Denied => assert_eq!(starts, 1, "{shown}"),
                _ if landed && lag == 0 => assert_eq!(starts, 1, "{shown}"),
                _ => assert_eq!(starts, times + 1, "{shown}"),
            }
            let tokens: BTreeSet<String> = server
                .bodies("StartBuild")
                .iter()
                .map(|start| start["idempotencyToken"].to_string())
                .collect();
            assert_eq!(tokens.len(), 1, "{shown}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_start_that_never_gets_an_answer_ends_within_the_life_of_its_token() {
    for fault in [Fault::ResetAfter, Fault::Hangs, Fault::Quota, Fault::Throttled] {
        let server = Server::new();
        server.world(|world| world.list_lag = Duration::from_secs(10_000));
        server.fault("StartBuild", fault, 1_000);
        let began = server.clock.elapsed();
        let error = make(&server, "0F3KQ8Z7VN").await.unwrap_err();
        assert!(server.clock.elapsed() - began < Duration::from_secs(150), "{error:?}");
        assert!(error.retry() != Retry::Never && server.states().len() <= 1, "{error:?}");
        let unknown = matches!(fault, Fault::ResetAfter | Fault::Hangs);
        assert_eq!(error.effect() == EffectState::Unknown, unknown, "{error:?}");
        // The next attempt finds what was started.
        server.world(|world| (world.faults, world.list_lag) = (Vec::new(), Duration::ZERO));
        making(&server, "0F3KQ8Z7VN", 2).run().await.0.unwrap();
        assert_eq!(server.states(), ["SUCCEEDED"]);
    }
}

#[tokio::test(start_paused = true)]
async fn faults_of_looks_are_borne_and_those_of_credentials_are_not() {
    for action in ["ListBuildsForProject", "BatchGetBuilds", "GetLogEvents"] {
        for fault in FAULTS {
            let server = Server::new();
            server.world(|world| world.log = vec![(1, "a line".to_owned())]);
            server.fault(action, fault, 1);
            let ended = make(&server, "0F3KQ8Z7VN").await;
            let refused = match fault {
                Fault::Expired => Some(ErrorKind::Unauthenticated),
                Fault::Denied => Some(ErrorKind::PermissionDenied),
                Fault::Malformed if action == "ListBuildsForProject" => Some(ErrorKind::Malformed),
                _ => None,
            };
            let refused = refused.filter(|_| action != "GetLogEvents");
            assert_eq!(ended.as_ref().err().map(Error::kind), refused, "{action} {fault:?}: {ended:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_blind_follower_waits_for_minutes_and_not_for_ever() {
    let server = Server::new();
    server.world(|world| world.ends.push_back(("SUCCEEDED", 10_000)));
    // Three of them are one look: four minutes.
    server.fault("BatchGetBuilds", Fault::Error500, 60);
    let making = making(&server, "0F3KQ8Z7VN", 1);
    let running = async { making.run().await.0 };
    tokio::select! {
        ended = running => panic!("{ended:?}"),
        () = seconds(&server, 900) => {}
    }
    let server = Server::new();
    server.fault("BatchGetBuilds", Fault::Malformed, 10_000);
    let error = make(&server, "0F3KQ8Z7VN").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Malformed);
    assert!(
        server.clock.elapsed() < Duration::from_secs(330) && !all_of(&error).contains(CANARY),
        "{error:?}"
    );
    assert_eq!(server.called("StopBuild"), 0, "the next attempt follows it");
}

#[tokio::test(start_paused = true)]
async fn who_was_killed_and_resumes_goes_on_with_the_build() {
    // Running; and ended meanwhile in each way.
    for (ends, builds, good) in [
        (("SUCCEEDED", 200), 1, true),
        (("SUCCEEDED", 20), 1, true),
        (("FAILED", 20), 1, false),
        (("FAULT", 20), 2, true),
        (("TIMED_OUT", 20), 2, true),
    ] {
        let server = Server::new();
        server.world(|world| world.ends.push_back(ends));
        killed_after(&server, "0F3KQ8Z7VN", 10).await;
        seconds(&server, 60).await;
        let (ended, _) = making(&server, "0F3KQ8Z7VN", 2).run().await;
        assert_eq!((ended.is_ok(), server.states().len()), (good, builds), "{ends:?}: {ended:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_newest_build_of_a_step_decides() {
    let server = Server::new();
    server.world(|world| world.ends.extend([("FAULT", 5), ("FAILED", 20)]));
    make(&server, "0F3KQ8Z7VN").await.unwrap_err();
    killed_after(&server, "0F3KQ8Z7VN", 10).await;
    seconds(&server, 60).await;
    let error = making(&server, "0F3KQ8Z7VN", 3).run().await.0.unwrap_err();
    assert_eq!(
        (error.kind(), server.states()),
        (ErrorKind::Invalid, vec!["FAULT".to_owned(), "FAILED".to_owned()])
    );
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_asked_for_is_refused_before_any_call() {
    let server = Server::new();
    for (build, text) in [
        (build().argument("A", "b").dockerfile("other"), "dockerfile, argument"),
        (build().target("app").inline_cache().cache_from("x"), "target, cache_from, inline_cache"),
        (build().secret("npm", deploy_core::model::SecretRef::FromEnv("CANARY".into())), "secret"),
        (Build::new(build().repository().clone(), ".", "main"), "not the full id"),
        (Build::new(build().repository().clone(), "/home/me/shop", COMMIT), "no folder of a repository"),
    ] {
        let mut making = making(&server, "0F3KQ8Z7VN", 1);
        making.build = build;
        let error = making.run().await.0.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.to_string().contains(text), "{error}");
    }
    assert!(server.world(|world| world.calls.is_empty()));
}

#[tokio::test(start_paused = true)]
async fn a_project_that_is_not_there_and_a_log_that_may_not_be_read() {
    let server = Server::new();
    server.fault("ListBuildsForProject", Fault::NotFound, 1);
    let error = make(&server, "0F3KQ8Z7VN").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.to_string().contains("create the project"), "{error}");

    server.fault("GetLogEvents", Fault::Denied, 1_000);
    let (ended, events) = making(&server, "0F3KQ8Z7VN", 1).run().await;
    ended.unwrap();
    assert_eq!(server.called("GetLogEvents"), 1, "said once, and not asked again");
    assert!(lines(&events).iter().any(|line| line.contains("cannot be read")), "{events:?}");
}

#[tokio::test(start_paused = true)]
async fn the_projects_own_variables_are_shown_nowhere() {
    logged();
    let server = Server::new();
    server.world(|world| world.ends.push_back(("FAILED", 30)));
    server.fault("BatchGetBuilds", Fault::Malformed, 2);
    server.fault("StartBuild", Fault::Malformed, 1);
    let making = making(&server, "0F3KQ8Z7VN", 1);
    let (ended, events) = making.run().await;
    let (error, logged) = (ended.unwrap_err(), logged());
    assert!(logged.contains("arn:aws:iam::123456789012"), "the SDK logs whole answers: this is no proof");
    for text in [logged, all_of(&error), format!("{events:?} {:?}", making.builder)] {
        assert!(!text.contains(CANARY), "{text}");
    }
}
