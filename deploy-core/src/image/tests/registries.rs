//! What registries do to their clients.

use std::time::Duration;

use super::{
    fake_registry::{Auth, Fault},
    *,
};
use crate::{
    error::Retry,
    image::{NoLogins, VerifiedImage},
};

async fn find(bench: &Bench) -> Result<Option<VerifiedImage>> {
    bench.registry.find(&repository(), &commit(), &[platform("linux/amd64")]).await
}

fn with_image(logins: Logins) -> (Bench, String) {
    let bench = Bench::with(logins);
    let digest = bench.fake_registry.image(&commit(), "linux/amd64", Some(&commit()), "2026-11-01T00:00:00Z");
    (bench, digest)
}

#[tokio::test(start_paused = true)]
async fn a_token_is_fetched_once_and_again_when_it_is_over() {
    let (bench, digest) = with_image(Logins::right());
    for tokens in [1, 1, 2] {
        assert_eq!(find(&bench).await.unwrap().unwrap().digest, digest);
        assert_eq!(bench.fake_registry.calls("GET /token"), tokens);
        if bench.fake_registry.calls("GET /v2/") > 4 {
            bench.fake_registry.expire_tokens();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_login_that_is_over_is_asked_for_anew_once() {
    for auth in [Auth::Bearer, Auth::Basic] {
        let old = Some(Login::password("bob", "canary-old"));
        let (bench, _) = with_image(Logins::new([old.clone(), Some(Login::password("bob", PASSWORD))]));
        bench.fake_registry.state().auth = auth;
        assert!(find(&bench).await.unwrap().is_some(), "{auth:?}");
        assert_eq!(bench.logins.left(), 1);
        let (bench, _) = with_image(Logins::new([old]));
        bench.fake_registry.state().auth = auth;
        let error = find(&bench).await.unwrap_err();
        assert_eq!((error.kind(), error.retry()), (ErrorKind::Unauthenticated, Retry::Never), "{error:?}");
        assert!(error.to_string().contains("docker login 127.0.0.1:5000"), "{error}");
        assert!(bench.fake_registry.state().seen.len() <= 6, "{:?}", bench.fake_registry.state().seen);
        assert_clean(&format!("{error:?} {:?} {:?}", bench.registry, bench.logins));
    }
}

#[tokio::test(start_paused = true)]
async fn identity_tokens_and_no_login_at_all() {
    let token = Login::IdentityToken(Secret::new("canary-identity"));
    let (bench, _) = with_image(Logins::new([Some(token)]));
    assert!(find(&bench).await.unwrap().is_some());
    assert_eq!(bench.fake_registry.calls("POST /token"), 1);
    let (bench, _) = with_image(Logins::new([None]));
    assert_eq!(find(&bench).await.unwrap_err().kind(), ErrorKind::Unauthenticated);
    bench.fake_registry.state().auth = Auth::None;
    assert!(find(&bench).await.unwrap().is_some());
    assert_eq!(NoLogins.login("x").await.unwrap(), None);
}

#[tokio::test(start_paused = true)]
async fn too_many_calls_are_waited_for_as_long_as_the_registry_says() {
    let (bench, _) = with_image(Logins::right());
    bench.fake_registry.state().auth = Auth::None;
    bench.fake_registry.fail([Fault::Status(429, "7", ""), Fault::Status(429, "", "")]);
    assert!(find(&bench).await.unwrap().is_some());
    // Seven seconds as told, then a pause of its own.
    assert_eq!(bench.clock.elapsed(), Duration::from_millis(8000));
    bench.fake_registry.fail([Fault::Status(429, "3600", "{\"errors\":[{\"code\":\"TOOMANYREQUESTS\"}]}")]);
    let error = find(&bench).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Throttled);
    assert_eq!(error.retry(), Retry::After(Duration::from_secs(3600)));
    assert!(error.to_string().contains("TOOMANYREQUESTS"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn what_breaks_is_tried_again_a_bounded_number_of_times() {
    let broken = Fault::Status(500, "", "<html>canary</html>");
    for (fault, kind) in [
        (broken.clone(), ErrorKind::Unavailable),
        (Fault::Drop, ErrorKind::Unavailable),
        (Fault::DropMidBody, ErrorKind::Unavailable),
        (Fault::Hang, ErrorKind::TimedOut),
        (Fault::Status(503, "2", ""), ErrorKind::Unavailable),
    ] {
        let (bench, _) = with_image(Logins::right());
        bench.fake_registry.state().auth = Auth::None;
        bench.fake_registry.fail(vec![fault.clone(); 3]);
        assert!(find(&bench).await.unwrap().is_some(), "{fault:?}");
        bench.fake_registry.fail(vec![fault.clone(); 4]);
        let seen = bench.fake_registry.state().seen.len();
        let error = find(&bench).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{fault:?}: {error:?}");
        assert_eq!(bench.fake_registry.state().seen.len() - seen, 4, "{fault:?}");
        assert_clean(&format!("{error:?}"));
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_registry_refuses_is_not_tried_again() {
    for (fault, kind) in [
        (Fault::Status(403, "", ""), ErrorKind::PermissionDenied),
        (Fault::Status(418, "", ""), ErrorKind::Unexpected),
        (Fault::Garbage, ErrorKind::Malformed),
    ] {
        let (bench, _) = with_image(Logins::right());
        bench.fake_registry.state().auth = Auth::None;
        bench.fake_registry.fail([fault.clone()]);
        let error = find(&bench).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{fault:?}: {error:?}");
        assert_eq!(bench.fake_registry.state().seen.len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn blobs_elsewhere_are_fetched_without_the_login() {
    let (bench, _) = with_image(Logins::right());
    bench.fake_registry.state().redirect = Some("http://127.0.0.1:9000".to_owned());
    // The fake wants its token there, too: so it is refused, and the address with its signature is not shown.
    let error = find(&bench).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthenticated);
    assert_clean(&format!("{error:?}"));
    bench.fake_registry.state().auth = Auth::None;
    assert!(find(&bench).await.unwrap().is_some());
    bench.fake_registry.state().redirect = Some("http://storage.example.com".to_owned());
    let error = find(&bench).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Malformed);
    assert!(error.to_string().contains("without TLS"), "{error}");
    assert_clean(&format!("{error:?}"));
}

#[tokio::test(start_paused = true)]
async fn a_registry_that_tells_no_digests_is_asked_for_the_manifest() {
    let (bench, digest) = with_image(Logins::right());
    bench.fake_registry.state().silent = true;
    assert_eq!(bench.registry.digest(&repository(), &commit()).await.unwrap(), Some(digest));
    assert_eq!(bench.registry.digest(&repository(), "nothing").await.unwrap(), None);
    let platforms: Vec<ImagePlatform> = Vec::new();
    assert!(bench.registry.find(&repository(), &commit(), &platforms).await.unwrap().is_some());
}
