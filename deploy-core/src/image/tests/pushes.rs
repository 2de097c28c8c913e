//! Pushes, and the whole way from a folder to a verified image.

use std::time::Duration;

use serde_json::json;

use super::{
    fake_engine::{Turn, failure},
    fake_registry::Fault,
    *,
};
use crate::{
    error::Retry,
    image::{Built, Published},
};

async fn built(bench: &Bench) -> Built {
    bench.engine.build(&bench.build(), None, &bench.cx()).await.unwrap()
}

async fn push(bench: &Bench, built: &Built) -> Result<String> {
    bench.engine.push(built, &bench.registry, &bench.cx().events).await
}

async fn publish(bench: &Bench, build: &Build) -> Result<Published> {
    build.publish(&bench.engine, &bench.registry, &bench.cx()).await
}

#[tokio::test(start_paused = true)]
async fn the_digest_is_the_registrys() {
    let bench = Bench::new();
    let built = built(&bench).await;
    let digest = push(&bench, &built).await.unwrap();
    assert_eq!(bench.registry.digest(&repository(), &commit()).await.unwrap(), Some(digest.clone()));
    assert_eq!(
        bench.fake_engine.calls("/push")[0].path.matches("/images/127.0.0.1:5000/shop/api/push").count(),
        1
    );
    bench.fake_engine.quiet().await;
    let heard = bench.heard().await;
    assert!(heard.contains("Pushing { status: \"Pushing\", sent: 5, of: 9 }"), "{heard}");
    assert_clean(&heard);
}

#[tokio::test(start_paused = true)]
async fn what_breaks_is_pushed_again_and_the_next_try_succeeds() {
    for turn in [
        Turn::Drop(vec![json!({"status": "Pushing"})]),
        Turn::Say(vec![failure("received unexpected HTTP status: 500 Internal Server Error")]),
        Turn::Say(vec![failure("toomanyrequests: slow down")]),
        Turn::Say(vec![json!({"status": "Pushing"})]),
        Turn::Hang(vec![json!({"status": "Pushing"})]),
    ] {
        let bench = Bench::new();
        let built = built(&bench).await;
        bench.fake_engine.then(vec![turn.clone(); 2]);
        push(&bench, &built).await.unwrap();
        assert_eq!(bench.fake_engine.calls("/push").len(), 3, "{turn:?}");
        bench.fake_engine.then(vec![turn.clone(); 3]);
        let error = push(&bench, &built).await.unwrap_err();
        let kinds = [ErrorKind::Unavailable, ErrorKind::Throttled, ErrorKind::TimedOut];
        assert!(kinds.contains(&error.kind()), "{error:?}");
        assert_eq!(bench.fake_engine.calls("/push").len(), 6, "{turn:?}");
        bench.fake_engine.quiet().await;
        let heard = bench.heard().await;
        assert_eq!(heard.matches("Retrying").count(), 4, "{heard}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_login_that_is_over_is_renewed_once() {
    let old = Some(Login::password("bob", "canary-old"));
    let bench = Bench::with(Logins::new([old.clone(), Some(Login::password("bob", PASSWORD))]));
    let image = built(&bench).await;
    push(&bench, &image).await.unwrap();
    assert_eq!(bench.fake_engine.calls("/push").len(), 2);
    let bench = Bench::with(Logins::new([old]));
    let image = built(&bench).await;
    let error = push(&bench, &image).await.unwrap_err();
    assert_eq!((error.kind(), error.retry()), (ErrorKind::Unauthenticated, Retry::Never));
    assert_eq!(bench.fake_engine.calls("/push").len(), 2);
    bench
        .fake_engine
        .then([Turn::Say(vec![failure(&format!("denied: not with {PASSWORD} nor canary-old"))])]);
    let error = push(&bench, &image).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PermissionDenied);
    assert!(!format!("{error:?}").contains("canary-old"), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn what_the_engine_says_is_not_believed() {
    let bench = Bench::new();
    let image = built(&bench).await;
    let digest = format!("sha256:{}", "a".repeat(64));
    let lie = || Turn::Say(vec![json!({"status": format!("{}: digest: {digest} size: 1", commit())})]);
    bench.fake_engine.then([lie()]);
    let error = push(&bench, &image).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    push(&bench, &image).await.unwrap();
    bench.fake_engine.then([lie()]);
    let error = push(&bench, &image).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
    assert!(error.message().contains(&digest), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_commit_is_built_once() {
    let bench = Bench::new();
    let build = bench.build().platform(platform("linux/amd64")).version("v1.2");
    let first = publish(&bench, &build).await.unwrap();
    assert!(first.built);
    let again = publish(&bench, &build).await.unwrap();
    assert_eq!((again.built, &again.image), (false, &first.image));
    assert_eq!((bench.fake_engine.calls("/build").len(), bench.fake_engine.calls("/push").len()), (1, 1));
    let tags = bench.fake_registry.tags();
    assert_eq!(tags, [commit(), "v1.2".to_owned()]);
    assert_eq!(bench.registry.digest(&repository(), "v1.2").await.unwrap(), Some(first.image.digest));
}

#[tokio::test(start_paused = true)]
async fn a_version_that_is_taken_stays_taken() {
    let bench = Bench::new();
    let theirs = bench.fake_registry.image("v1.2", "linux/amd64", None, "2026-11-01T00:00:00Z");
    for _ in 0..2 {
        let error = publish(&bench, &bench.build().version("v1.2")).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Refused);
        assert!(error.message().contains(&theirs), "{error}");
        assert!(bench.fake_engine.calls("/build").is_empty());
    }
    publish(&bench, &bench.build()).await.unwrap();
    let error = publish(&bench, &bench.build().version("v1.2")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
}

#[tokio::test(start_paused = true)]
async fn several_platforms_become_an_index() {
    let bench = Bench::new();
    let platforms = ["linux/amd64", "linux/arm64"].map(platform);
    let build = bench.build().platform(platforms[0].clone()).platform(platforms[1].clone());
    let published = publish(&bench, &build).await.unwrap();
    assert_eq!(published.image.platforms, platforms);
    let names = [commit(), format!("{}-linux-amd64", commit()), format!("{}-linux-arm64", commit())];
    assert_eq!(bench.fake_registry.tags(), names);
    let index: serde_json::Value =
        serde_json::from_str(&bench.fake_registry.manifest_text(&published.image.digest)).unwrap();
    assert_eq!(index["manifests"][1]["platform"], json!({"os": "linux", "architecture": "arm64"}));
    assert!(index["manifests"][1]["size"].as_u64().unwrap() > 100, "{index}");
    assert!(!publish(&bench, &build).await.unwrap().built);
    assert_eq!(bench.fake_engine.calls("/build").len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_registry_that_fails_in_between_fails_the_deploy_and_the_next_try_builds_nothing() {
    let bench = Bench::new();
    let image = built(&bench).await;
    push(&bench, &image).await.unwrap();
    bench.fake_registry.fail(vec![Fault::Status(500, "", ""); 4]);
    let error = publish(&bench, &bench.build()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(bench.clock.elapsed() >= Duration::from_millis(3500));
    assert!(!publish(&bench, &bench.build()).await.unwrap().built);
    assert_eq!(bench.fake_engine.calls("/build").len(), 1);
}
