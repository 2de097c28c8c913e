//! Builds, over bollard's transport.

use std::collections::BTreeMap;

use serde_json::json;

use super::{
    fake_engine::{Turn, failure, trace_of},
    *,
};
use crate::{
    error::Retry,
    image::{BuilderKind, Built, FailedStep, REVISION},
};

async fn try_build(bench: &Bench) -> Result<Built> {
    bench.engine.build(&bench.build(), None, &bench.cx()).await
}

fn trace(step: &str, log: &str) -> serde_json::Value {
    json!({"id": "moby.buildkit.trace", "aux": trace_of(step, log)})
}

fn map(text: &str) -> BTreeMap<String, String> {
    serde_json::from_str(text).unwrap()
}

#[tokio::test(start_paused = true)]
async fn all_that_is_asked_for_reaches_the_engine() {
    let bench = Bench::new();
    let build = bench.build().dockerfile("./Dockerfile").target("web").argument("A", "1").inline_cache();
    let build = build.cache_from("127.0.0.1:5000/cache").source("https://git.example.com/a").version("v1");
    let built = bench.engine.build(&build, Some(&platform("linux/arm64")), &bench.cx()).await.unwrap();
    assert_eq!((built.tag.as_str(), built.image_id.as_str()), (commit().as_str(), "sha256:1"));
    assert_eq!(built.builder, BuilderKind::BuildKit);
    let [seen] = &bench.fake_engine.calls("/build")[..] else { panic!("one build") };
    let query = |name: &str| seen.query[name].as_str();
    assert_eq!(query("t"), format!("127.0.0.1:5000/shop/api:{}", commit()));
    assert_eq!(
        (query("dockerfile"), query("target"), query("platform")),
        ("Dockerfile", "web", "linux/arm64")
    );
    assert_eq!((query("version"), query("cachefrom")), ("2", r#"["127.0.0.1:5000/cache"]"#));
    assert_eq!(query("session").len(), 32);
    assert_eq!(map(query("buildargs")), map(r#"{"A": "1", "BUILDKIT_INLINE_CACHE": "1"}"#));
    let labels = map(query("labels"));
    assert_eq!((labels[REVISION].clone(), labels.len()), (commit(), 4));
    assert_eq!(labels["org.opencontainers.image.created"], "2026-11-21T02:13:07.402Z");
    let mut archive = tar::Archive::new(&seen.body[..]);
    let names = archive.entries().unwrap().map(|entry| entry.unwrap().path().unwrap().display().to_string());
    assert_eq!(names.collect::<Vec<_>>(), ["Dockerfile", "a"]);
    bench.fake_engine.quiet().await;
}

#[tokio::test(start_paused = true)]
async fn a_secret_goes_over_the_session_and_is_shown_nowhere() {
    let bench = Bench::new();
    bench.fake_engine.then([Turn::ShowSecret]);
    let build = bench.build().secret("npm", SecretRef::Resolver("npm".into()));
    bench.engine.build(&build, None, &bench.cx()).await.unwrap();
    let [seen] = &bench.fake_engine.calls("/build")[..] else { panic!("one build") };
    let [session] = &bench.fake_engine.calls("/session")[..] else { panic!("one session") };
    assert_eq!(session.headers["x-docker-expose-session-uuid"], seen.query["session"].as_str());
    assert_clean(&format!("{:?} {}", seen.query, String::from_utf8_lossy(&seen.body)));
    bench.fake_engine.quiet().await;
    let heard = bench.heard().await;
    assert!(heard.contains("it is ***"), "it was fetched: {heard}");
    assert_clean(&heard);
}

#[tokio::test(start_paused = true)]
async fn the_classic_builder_gets_logins_and_refuses_secrets() {
    for change in [("1.38", "Engine"), ("1.41", "Podman Engine")] {
        let bench = Bench::new();
        (bench.fake_engine.state().api, bench.fake_engine.state().component) = change;
        let build = bench.build().secret("npm", SecretRef::Resolver("npm".into()));
        let error = bench.engine.build(&build, None, &bench.cx()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.message().contains("no BuildKit"), "{error}");
        assert!(bench.fake_engine.calls("/build").is_empty());
        assert_eq!(try_build(&bench).await.unwrap().builder, BuilderKind::Classic);
        let [seen] = &bench.fake_engine.calls("/build")[..] else { panic!("one build") };
        assert_eq!(seen.query["version"], "1");
        let header = seen.headers["x-registry-config"].to_str().unwrap();
        assert!(!header.contains(['+', '/']), "{header}");
        use base64::Engine as _;
        let logins = base64::engine::general_purpose::URL_SAFE.decode(header).unwrap();
        let logins: serde_json::Value = serde_json::from_slice(&logins).unwrap();
        assert_eq!(logins["127.0.0.1:5000"]["password"], PASSWORD);
        assert!(bench.fake_engine.calls("/session").is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn a_dropped_build_leaves_no_connection() {
    let bench = Bench::new();
    bench.fake_engine.then([Turn::Hang(vec![trace("RUN sleep", "sleeping\n")])]);
    let (build, cx) = (bench.build(), bench.cx());
    let mut building = Box::pin(bench.engine.build(&build, None, &cx));
    let waited = tokio::select! {
        built = &mut building => panic!("{built:?}"),
        () = bench.clock.sleep(std::time::Duration::from_secs(3600)) => bench.clock.elapsed(),
    };
    assert_eq!(bench.fake_engine.calls("/build").len(), 1);
    drop(building);
    bench.fake_engine.quiet().await;
    assert_eq!(bench.clock.elapsed(), waited, "at once");
}

#[tokio::test(start_paused = true)]
async fn a_step_that_fails_and_an_engine_that_goes_leave_their_log() {
    let lines = || vec![trace("RUN make", "compiling\nthe reason\n")];
    let failed =
        [lines(), vec![failure("process \"make\" did not complete successfully: exit code: 2")]].concat();
    let full = [lines(), vec![failure("failed to copy: write /x: no space left on device")]].concat();
    for (turn, kind, retry) in [
        (Turn::Say(failed), ErrorKind::Invalid, Retry::Never),
        (Turn::Say(full), ErrorKind::Unavailable, Retry::Always),
        (Turn::Say(lines()), ErrorKind::Unavailable, Retry::Always),
        (Turn::Drop(lines()), ErrorKind::Unavailable, Retry::Always),
    ] {
        let bench = Bench::new();
        bench.fake_engine.then([turn.clone()]);
        let error = try_build(&bench).await.unwrap_err();
        assert_eq!((error.kind(), error.retry()), (kind, retry), "{turn:?}: {error:?}");
        let step = std::error::Error::source(&error)
            .and_then(|source| source.downcast_ref::<FailedStep>())
            .unwrap_or_else(|| panic!("{turn:?}: {error:?}"));
        assert_eq!(
            (step.step.as_str(), step.log.as_slice()),
            ("RUN make", &["compiling".to_owned(), "the reason".to_owned()][..])
        );
        assert!(error.message().contains("RUN make"), "{error}");
        // And the next try succeeds.
        try_build(&bench).await.unwrap();
        bench.fake_engine.quiet().await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_engine_refuses_has_its_kind() {
    for (status, message, kind) in [
        (400, "dockerfile parse error line 1: unknown instruction: FORM", ErrorKind::Invalid),
        (500, "write /var/lib/docker/tmp: no space left on device", ErrorKind::Unavailable),
        (503, "canary-build-secret", ErrorKind::Unavailable),
    ] {
        let bench = Bench::new();
        bench.fake_engine.then([Turn::Status(status, message)]);
        let build = bench.build().secret("npm", SecretRef::Resolver("npm".into()));
        let error = bench.engine.build(&build, None, &bench.cx()).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error:?}");
        assert_clean(&format!("{error:?}"));
    }
    let bench = Bench::new();
    let missing = bench.build().secret("npm", SecretRef::FromEnv("NOWHERE".into()));
    let error = bench.engine.build(&missing, None, &bench.cx()).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.to_string().as_str()),
        (ErrorKind::NotFound, "the build secret npm: no such secret")
    );
    assert!(bench.fake_engine.calls("/build").is_empty());
    std::fs::remove_file(bench.folder.path().join("Dockerfile")).unwrap();
    assert_eq!(try_build(&bench).await.unwrap_err().kind(), ErrorKind::NotFound);
}
