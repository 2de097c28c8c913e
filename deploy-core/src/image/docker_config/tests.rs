use std::time::Duration;

use super::*;
use crate::clock::TokioClock;

fn config(text: &str) -> (tempfile::TempDir, DockerConfig) {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("config.json"), text).unwrap();
    let config = DockerConfig::in_folder(dir.path());
    (dir, config)
}

fn basic(text: &str) -> String {
    STANDARD.encode(text)
}

#[tokio::test]
async fn logins_of_the_file_are_found_under_all_of_their_names() {
    let text = format!(
        r#"{{"auths": {{
            "https://index.docker.io/v1/": {{"auth": "{}"}},
            "https://old.example.com/v2/": {{"auth": "{}"}},
            "registry.example.com:5000": {{"auth": "{}"}},
            "token.example.com": {{"auth": "{}", "identitytoken": "canary-token"}},
            "empty.example.com": {{}}
        }}, "HttpHeaders": {{"x": "y"}}}}"#,
        basic("hub:one"),
        basic("old:two"),
        basic("five:th:ree"),
        basic("00000000-0000-0000-0000-000000000000:"),
    );
    let (_dir, config) = config(&text);
    for (registry, expected) in [
        ("docker.io", Some(Login::password("hub", "one"))),
        ("old.example.com", Some(Login::password("old", "two"))),
        ("registry.example.com:5000", Some(Login::password("five", "th:ree"))),
        ("token.example.com", Some(Login::IdentityToken(Secret::new("canary-token")))),
        ("empty.example.com", None),
        ("registry.example.com", None),
    ] {
        assert_eq!(config.login(registry).await.unwrap(), expected, "{registry}");
    }
}

#[tokio::test]
async fn a_broken_file_is_not_quoted_and_a_missing_one_is_empty() {
    let (_dir, broken) = config("{\"auths\": {\n\"canary\" 3}}");
    let error = broken.login("x.example.com").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Malformed);
    assert!(!format!("{error:?}").contains("canary") && error.to_string().contains("line 2"), "{error:?}");
    for auth in ["canary!", &basic("canary")] {
        let (_dir, bad) = config(&format!(r#"{{"auths": {{"x.example.com": {{"auth": "{auth}"}}}}}}"#));
        let error = bad.login("x.example.com").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Malformed);
        assert!(!format!("{error:?}").contains(auth), "{error:?}");
    }
    let missing = DockerConfig::in_folder("/nowhere/at/all");
    assert_eq!(missing.login("x.example.com").await.unwrap(), None);
}

#[cfg(unix)]
mod helpers {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::model::Timestamp;

    /// A helper of the test's own, by its whole path.
    fn program(script: &str) -> (tempfile::TempDir, String) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("docker-credential-test");
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        let name = path.display().to_string();
        (dir, name)
    }

    #[tokio::test]
    async fn a_helper_is_asked_by_its_protocol() {
        let answer = r#"printf '{"ServerURL":"%s","Username":"%s","Secret":"%s"}' "$server" "#;
        for (script, expected) in [
            (
                format!("read server; test \"$1 $server\" = 'get x.example.com' && {answer} bob pw"),
                Some(Login::password("bob", "pw")),
            ),
            (format!("{answer} '<token>' abc"), Some(Login::IdentityToken(Secret::new("abc")))),
            (format!("{answer} bob ''"), None),
            ("echo 'credentials not found in native keychain'; exit 1".to_owned(), None),
        ] {
            let (_dir, program) = program(&script);
            assert_eq!(
                helper::within(&program, "x.example.com", &SystemClock).await.unwrap(),
                expected,
                "{script}"
            );
        }
    }

    #[tokio::test]
    async fn what_a_helper_says_is_never_shown() {
        for script in [
            "echo canary; echo canary >&2; exit 1",
            "echo canary",
            "exec cat /dev/zero",
            "echo '{\"Username\":3,\"Secret\":\"canary\"}'",
        ] {
            let (_dir, program) = program(script);
            let error = helper::within(&program, "x.example.com", &SystemClock).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unauthenticated, "{script}: {error:?}");
            assert!(!format!("{error:?}").contains("canary"), "{error:?}");
        }
        let error = helper::within("docker-credential-that-is-nowhere", "x", &SystemClock).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        for bad in ["../x", "a b", "x/y"] {
            let clock = TokioClock::starting_at(Timestamp::default());
            assert_eq!(helper::ask(bad, "x", &clock).await.unwrap_err().kind(), ErrorKind::Invalid);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_helper_that_does_not_answer_is_given_up() {
        let (_dir, program) = program("exec sleep 600");
        let clock = TokioClock::starting_at(Timestamp::default());
        let error = helper::within(&program, "x", &clock).await.unwrap_err();
        assert_eq!((error.kind(), clock.elapsed()), (ErrorKind::TimedOut, Duration::from_secs(30)));
    }
}

#[test]
fn the_registry_of_a_helper_is_found() {
    let file: File = serde_json::from_str(
        r#"{"credsStore": "desktop", "credHelpers": {"https://a.example.com": "ecr-login", "docker.io": "hub"}}"#,
    )
    .unwrap();
    assert_eq!(file.helper("a.example.com"), Some("ecr-login"));
    assert_eq!(file.helper("docker.io"), Some("hub"));
    assert_eq!(file.helper("b.example.com"), Some("desktop"));
    let none: File = serde_json::from_str(r#"{"credsStore": ""}"#).unwrap();
    assert_eq!(none.helper("b.example.com"), None);
}
