use deploy_core::{
    Retry,
    clock::Clock,
    image::{DockerConfig, NoLogins},
};
use serde_json::json;

use super::*;
use crate::scripted::{FAULTS, Fault, Server, all_of, logged};

const HERE: &str = "123456789012.dkr.ecr.us-east-1.amazonaws.com";

fn logins(server: &Server) -> EcrLogins {
    EcrLogins::new(server.aws(), Arc::new(NoLogins))
}

fn password(login: Option<Login>) -> String {
    match login {
        Some(Login::Password { username, password }) => format!("{username} {}", password.expose()),
        other => panic!("{other:?}"),
    }
}

async fn hours(server: &Server, hours: f64) {
    server.clock.sleep(Duration::from_secs_f64(hours * 3_600.0)).await;
}

#[tokio::test(start_paused = true)]
async fn a_region_has_one_login() {
    let server = Server::new();
    let logins = logins(&server);
    for registry in [HERE, "999999999999.dkr.ecr.us-east-1.amazonaws.com", HERE] {
        assert_eq!(password(logins.login(registry).await.unwrap()), "AWS canary-password-1");
    }
    let elsewhere = "123456789012.dkr.ecr.eu-west-1.amazonaws.com";
    assert_eq!(password(logins.login(elsewhere).await.unwrap()), "AWS canary-password-2");
    let regions =
        server.world(|world| world.calls.iter().map(|(_, region, _)| region.clone()).collect::<Vec<_>>());
    assert_eq!(regions, ["us-east-1", "eu-west-1"]);
}

#[tokio::test(start_paused = true)]
async fn it_is_kept_until_shortly_before_its_end_whatever_the_wall_clock_does() {
    let server = Server::new();
    let logins = logins(&server);
    logins.login(HERE).await.unwrap();
    hours(&server, 11.7).await;
    logins.login(HERE).await.unwrap();
    assert_eq!(server.called("GetAuthorizationToken"), 1);
    server.clock.jump(-6 * 3_600_000);
    hours(&server, 0.1).await;
    assert_eq!(password(logins.login(HERE).await.unwrap()), "AWS canary-password-2");
    // One that ends at once, or says nothing of its end, is used and not kept.
    for (length, given) in [
        (0.1, None),
        (-5.0, None),
        (12.0, Some(json!({"authorizationData": [{"authorizationToken": "QVdTOng="}]}))),
    ] {
        server.world(|world| (world.login_hours, world.login) = (length, given));
        logins.forget(HERE);
        let before = server.called("GetAuthorizationToken");
        logins.login(HERE).await.unwrap();
        logins.login(HERE).await.unwrap();
        assert_eq!(server.called("GetAuthorizationToken"), before + 2, "{length}");
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_was_refused_is_forgotten() {
    let server = Server::new();
    let logins = logins(&server);
    logins.login(HERE).await.unwrap();
    logins.forget("123456789012.dkr.ecr.eu-west-1.amazonaws.com");
    assert_eq!(password(logins.login(HERE).await.unwrap()), "AWS canary-password-1");
    logins.forget(HERE);
    assert_eq!(password(logins.login(HERE).await.unwrap()), "AWS canary-password-2");
}

#[tokio::test(start_paused = true)]
async fn who_asks_meanwhile_shares_the_call_and_its_failure() {
    for (fault, calls, good) in
        [(None, 1, true), (Some(Fault::Denied), 1, false), (Some(Fault::Throttled), 3, false)]
    {
        let server = Server::new();
        server.world(|world| world.latency = Duration::from_secs(1));
        if let Some(fault) = fault {
            server.fault("GetAuthorizationToken", fault, 3);
        }
        let logins = logins(&server);
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..20 {
            let logins = logins.clone();
            tasks.spawn(async move { logins.login(HERE).await });
        }
        let ended = tasks.join_all().await;
        assert!(ended.iter().all(|ended| ended.is_ok() == good), "{ended:?}");
        assert_eq!(server.called("GetAuthorizationToken"), calls, "{fault:?}");
        // And whoever comes later asks again.
        server.world(|world| world.faults.clear());
        logins.login(HERE).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn who_gives_up_while_asking_leaves_the_turn_to_others() {
    let server = Server::new();
    server.fault("GetAuthorizationToken", Fault::Hangs, 1);
    let logins = logins(&server);
    let first = tokio::spawn({
        let logins = logins.clone();
        async move { logins.login(HERE).await }
    });
    server.clock.sleep(Duration::from_secs(1)).await;
    first.abort();
    logins.login(HERE).await.unwrap();
    assert_eq!(server.called("GetAuthorizationToken"), 2);
}

#[derive(Debug, Default)]
struct Others(Mutex<Vec<String>>);

#[async_trait]
impl RegistryLogins for Others {
    async fn login(&self, registry: &str) -> Result<Option<Login>> {
        lock(&self.0).push(format!("login {registry}"));
        Ok(Some(Login::password("me", "theirs")))
    }

    fn forget(&self, registry: &str) {
        lock(&self.0).push(format!("forget {registry}"));
    }
}

#[tokio::test(start_paused = true)]
async fn other_registries_are_the_others_business() {
    let (server, others) = (Server::new(), Arc::new(Others::default()));
    let logins = EcrLogins::new(server.aws(), Arc::clone(&others) as Arc<dyn RegistryLogins>);
    let looks_like_it = "123456789012.dkr.ecr.us-east-1.amazonaws.com.example.com";
    assert_eq!(password(logins.login(looks_like_it).await.unwrap()), "me theirs");
    logins.forget("docker.io");
    logins.login(HERE).await.unwrap();
    logins.forget(HERE);
    assert_eq!(*lock(&others.0), [format!("login {looks_like_it}"), "forget docker.io".to_owned()]);
    assert_eq!(server.called("GetAuthorizationToken"), 1);
    let _ = EcrLogins::new(server.aws(), Arc::new(DockerConfig::from_env()));
}

#[tokio::test(start_paused = true)]
async fn every_fault_has_its_kind_and_shows_no_secret() {
    use ErrorKind::*;
    for fault in FAULTS {
        let (kind, calls) = match fault {
            Fault::Throttled => (Throttled, 3),
            Fault::Error500 | Fault::ResetBefore | Fault::ResetAfter => (Unavailable, 3),
            Fault::Hangs => (TimedOut, 3),
            Fault::Expired => (Unauthenticated, 1),
            Fault::Denied => (PermissionDenied, 1),
            _ => (Malformed, 1),
        };
        let server = Server::new();
        let logins = logins(&server);
        // Once: what passes is tried again.
        server.fault("GetAuthorizationToken", fault, 1);
        assert_eq!(logins.login(HERE).await.is_ok(), calls == 3, "{fault:?}");
        logins.forget(HERE);
        let before = server.called("GetAuthorizationToken");
        server.fault("GetAuthorizationToken", fault, 3);
        let error = logins.login(HERE).await.unwrap_err();
        assert_eq!(
            (error.kind(), server.called("GetAuthorizationToken") - before),
            (kind, calls),
            "{error:?}"
        );
        let shown = all_of(&error);
        assert!(shown.contains("GetAuthorizationToken in us-east-1"), "{shown}");
        assert!(
            !shown.contains("canary") && !shown.contains(&STANDARD.encode("AWS:canary")[..12]),
            "{shown}"
        );
        if kind == Throttled {
            assert!(matches!(error.retry(), Retry::After(_)), "{error:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_no_login_is_none() {
    let data = |token: &str| json!({"authorizationData": [{"authorizationToken": token, "expiresAt": 1_900_000_000}]});
    for odd in [
        json!({}),
        json!({"authorizationData": []}),
        json!({"authorizationData": [{}]}),
        data(""),
        data("canary, not in base64"),
        data(&STANDARD.encode("canary")),
        data(&STANDARD.encode("AWS:")),
        data(&STANDARD.encode(":canary")),
        data(&STANDARD.encode([b'A', b':', 0xff, 0xfe])),
    ] {
        let server = Server::new();
        server.world(|world| world.login = Some(odd.clone()));
        let error = logins(&server).login(HERE).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Malformed, "{odd}");
        assert!(!all_of(&error).contains("canary"), "{error:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn no_log_line_and_no_debug_text_holds_it() {
    logged();
    let server = Server::new();
    let logins = logins(&server);
    server.aws().caller().await.unwrap();
    assert!(logged().contains("arn:aws:iam::123456789012"), "the SDK logs whole answers: this is no proof");
    server.fault("GetAuthorizationToken", Fault::Error500, 1);
    let login = logins.login(HERE).await.unwrap();
    logins.forget(HERE);
    server.fault("GetAuthorizationToken", Fault::Malformed, 1);
    logins.login(HERE).await.unwrap_err();
    let token = STANDARD.encode("AWS:canary-password-1");
    for text in
        [logged(), format!("{logins:?} {login:?} {:?}", logins.region("us-east-1").kept.lock().is_ok())]
    {
        assert!(!text.contains("canary") && !text.contains(&token[..16]), "{text}");
    }
}
