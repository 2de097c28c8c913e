//! Fetching from servers that refuse, lead astray, talk rubbish or nothing at all.

use std::{
    io::{Read, Write},
    sync::{atomic::Ordering, mpsc},
    time::Duration,
};

use tokio::sync::Notify;

use super::{
    server::{Server, advertisement, packet, respond},
    *,
};
use crate::{
    clock::{Clock, SystemClock},
    model::SecretRef,
};

const ASKS: &str = "WWW-Authenticate: Basic realm=\"x\"\r\n";
const TYPE: &str = "Content-Type: application/x-git-upload-pack-advertisement\r\n";
/// Nothing here takes longer, unless it hangs.
const HANGS: Duration = Duration::from_secs(30);

/// A clone of a repository on that server, without the helpers of whoever runs the tests.
fn clone_of(server: &Server, user: &str) -> Made {
    let made = Made::new();
    made.git.remote("origin", &server.url(user)).unwrap();
    let mut config = made.git.config().unwrap();
    config.set_str("credential.helper", "").unwrap();
    config.set_str("http.proxy", "").unwrap();
    made
}

fn token(made: &Made) -> SecretRef {
    let path = made.git.path().join("token");
    fs::write(&path, "t0ken-0f-n0b0dy\n").unwrap();
    SecretRef::File(path.to_str().unwrap().to_owned())
}

/// The error, after a look that no credential is in it.
async fn fails(made: &Made, what: &Fetch) -> Error {
    let error = made.repo.fetch(what).await.unwrap_err();
    let all = format!("{error} {error:?}");
    for secret in ["t0ken-0f-n0b0dy", "hunter2"] {
        assert!(!all.contains(secret), "{all}");
    }
    error
}

#[tokio::test]
async fn wrong_credentials_are_tried_once_each() {
    let server = Server::saying("401 Unauthorized", ASKS, "no");
    let made = clone_of(&server, "");
    let error = fails(&made, &Fetch::branch("main")).await;
    assert_eq!(error.kind(), ErrorKind::Unauthenticated);
    assert!(error.to_string().contains("credential helpers have nothing"), "{error}");
    assert_eq!((server.asked().len(), server.shown().len()), (1, 0));

    let server = Server::saying("401 Unauthorized", ASKS, "t0ken-0f-n0b0dy is wrong");
    let made = clone_of(&server, "");
    let error = fails(&made, &Fetch::branch("main").token(token(&made))).await;
    assert_eq!(error.kind(), ErrorKind::Unauthenticated);
    assert!(error.to_string().contains("tried the token"), "{error}");
    assert_eq!((server.asked().len(), server.shown().len()), (2, 1));

    // A helper, which must not be asked where a token was given, and otherwise once.
    let server = Server::saying("401 Unauthorized", ASKS, "no");
    let made = clone_of(&server, "");
    let log = made.git.path().join("helped");
    let helper = format!(
        "!f() {{ cat >/dev/null; echo $1 >> '{}'; echo username=me; echo password=hunter2; }}; f",
        log.display()
    );
    made.git.config().unwrap().set_str("credential.helper", &helper).unwrap();
    fails(&made, &Fetch::branch("main").token(token(&made))).await;
    assert!(!log.exists());
    let error = fails(&made, &Fetch::branch("main")).await;
    assert_eq!(error.kind(), ErrorKind::Unauthenticated);
    assert!(error.to_string().contains("tried what git's credential helper has"), "{error}");
    assert_eq!(fs::read_to_string(&log).unwrap(), "get\n");
    assert_eq!(server.asked().len(), 4);

    // What is in the URL libgit2 gives by itself, and it is never shown.
    let server = Server::saying("401 Unauthorized", ASKS, "no");
    let made = clone_of(&server, "me:hunter2@");
    let error = fails(&made, &Fetch::branch("main")).await;
    assert_eq!(error.kind(), ErrorKind::Unauthenticated);
    assert!(error.to_string().contains("localhost"), "{error}");
    assert!(server.asked().len() <= 3, "{:?}", server.asked());
}

#[tokio::test]
async fn what_may_pass_is_tried_three_times_and_what_is_refused_once() {
    for (status, tries, kind) in [
        ("503 Service Unavailable", 3, ErrorKind::Unavailable),
        ("429 Too Many Requests", 3, ErrorKind::Throttled),
        ("403 Forbidden", 1, ErrorKind::PermissionDenied),
        ("404 Not Found", 1, ErrorKind::NotFound),
    ] {
        let server = Server::saying(status, "", "");
        let error = fails(&clone_of(&server, ""), &Fetch::branch("main")).await;
        assert_eq!((error.kind(), server.asked().len()), (kind, tries), "{status}");
    }
    let left = std::sync::atomic::AtomicUsize::new(2);
    let server = Server::answering(move |_, stream| {
        let fails =
            left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok();
        match fails {
            true => respond(stream, "503 Service Unavailable", "", ""),
            false => respond(stream, "200 OK", TYPE, &advertisement("other")),
        }
    });
    let error = fails(&clone_of(&server, ""), &Fetch::branch("main")).await;
    assert_eq!(error.kind(), ErrorKind::NotFound, "the third time it answers: {error}");
}

#[tokio::test]
async fn right_credentials_go_in() {
    // In Base64: x-access-token:t0ken-0f-n0b0dy
    let right = "Authorization: Basic eC1hY2Nlc3MtdG9rZW46dDBrZW4tMGYtbjBiMGR5";
    let server = Server::answering(move |request, stream| match request.contains(right) {
        true => respond(stream, "200 OK", TYPE, &advertisement("other")),
        false => respond(stream, "401 Unauthorized", ASKS, ""),
    });
    let made = clone_of(&server, "");
    let error = fails(&made, &Fetch::branch("main").token(token(&made))).await;
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error:?}");
    assert!(error.to_string().contains("no branch main"), "{error}");
    let absent = SecretRef::File("/nowhere".into());
    assert_eq!(fails(&made, &Fetch::branch("main").token(absent)).await.kind(), ErrorKind::NotFound);
    assert_eq!(server.asked().len(), 2, "without the token nothing was asked");
}

#[tokio::test]
async fn a_token_is_not_sent_where_the_server_leads_on_to() {
    let other = Server::saying("401 Unauthorized", ASKS, "");
    let elsewhere = format!("Location: {}/info/refs?service=git-upload-pack\r\n", other.url(""));
    let server = Server::answering(move |_, stream| respond(stream, "302 Found", &elsewhere, ""));
    let made = clone_of(&server, "");
    let error = fails(&made, &Fetch::branch("main").token(token(&made))).await;
    assert_eq!(error.kind(), ErrorKind::Unauthenticated, "{error:?}");
    assert!(error.to_string().contains("the token is not for"), "{error}");
    assert_eq!(other.asked().len(), 1, "it was led there");
    assert_eq!(other.shown().len() + server.shown().len(), 0);
}

#[tokio::test]
async fn every_answer_of_a_server_has_its_kind_and_nothing_loops() {
    let rubbish = "0007x\n\u{0}zzzz";
    for (status, headers, body, kind) in [
        ("403 Forbidden", "", "", ErrorKind::PermissionDenied),
        ("404 Not Found", "", "", ErrorKind::NotFound),
        ("429 Too Many Requests", "", "", ErrorKind::Throttled),
        ("500 Internal Server Error", "", "", ErrorKind::Unavailable),
        ("503 Service Unavailable", "", "", ErrorKind::Unavailable),
        ("401 Unauthorized", "", "", ErrorKind::Unauthenticated),
        (
            "302 Found",
            "Location: /shop.git/info/refs?service=git-upload-pack\r\n",
            "",
            ErrorKind::Unavailable,
        ),
        ("200 OK", "Content-Type: text/html\r\n", "<html>", ErrorKind::Unavailable),
        ("200 OK", TYPE, rubbish, ErrorKind::Unavailable),
        ("200 OK", TYPE, "", ErrorKind::Unavailable),
    ] {
        let server = Server::saying(status, headers, body);
        let made = clone_of(&server, "");
        let error = fails(&made, &Fetch::branch("main")).await;
        assert_eq!(error.kind(), kind, "{status} {headers}: {error:?}");
        assert!(error.to_string().contains("localhost"), "{error}");
        // libgit2 follows fifteen times, and there are three tries.
        assert!(server.asked().len() <= 45, "{status}: {}", server.asked().len());
    }
    // Nobody listens there any more.
    let made = Made::new();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    for url in [format!("http://localhost:{port}/a"), format!("git://localhost:{port}/a")] {
        made.git.remote_set_url("origin", &url).unwrap();
        let error = fails(&made, &Fetch::branch("main")).await;
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
        assert_eq!(error.retry(), crate::error::Retry::Always);
    }
}

/// A clock that sleeps until it is told to wake.
#[derive(Debug, Default)]
struct Told(Notify);

#[async_trait]
impl Clock for Told {
    fn now(&self) -> Timestamp {
        SystemClock.now()
    }

    fn elapsed(&self) -> Duration {
        SystemClock.elapsed()
    }

    async fn sleep(&self, _: Duration) {
        self.0.notified().await;
    }
}

#[tokio::test]
async fn a_server_that_says_nothing_is_given_up_at_the_deadline() {
    let (asked, is_asked) = mpsc::channel();
    let (hung_up, has_hung_up) = mpsc::channel::<()>();
    let has_hung_up = std::sync::Mutex::new(has_hung_up);
    let server = Server::answering(move |_, _| {
        asked.send(()).unwrap();
        // Until the test is over.
        let _ = has_hung_up.lock().unwrap().recv();
    });
    let made = clone_of(&server, "");
    let clock = std::sync::Arc::new(Told::default());
    let what = Fetch::branch("main").within(Duration::from_secs(90)).clock(clock.clone());
    let waker = tokio::task::spawn_blocking(move || {
        is_asked.recv_timeout(HANGS).unwrap();
        clock.0.notify_one();
    });
    let error = fails(&made, &what).await;
    waker.await.unwrap();
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    assert!(
        error.to_string().contains("main was not fetched") && error.to_string().contains("1 min 30 s"),
        "{error}"
    );
    drop(hung_up);
}

#[tokio::test]
async fn a_fetch_that_nobody_waits_for_ends_soon_and_changes_nothing() {
    let (began, has_begun) = mpsc::channel();
    let (ended, has_ended) = mpsc::channel();
    let server = Server::answering(move |request, stream| {
        if request.starts_with("GET") {
            respond(stream, "200 OK", TYPE, &advertisement("main"));
            return;
        }
        let head = "HTTP/1.1 200 OK\r\nContent-Type: application/x-git-upload-pack-result\r\nConnection: close\r\n\r\n";
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(packet("NAK\n").as_bytes()).unwrap();
        // A server that counts objects for ever, until the client hangs up.
        let counting = packet("\u{2}Counting objects\r");
        let mut told = 0;
        while stream.write_all(counting.as_bytes()).is_ok() {
            told += 1;
            if told == 100 {
                began.send(()).unwrap();
            }
        }
        let _ = stream.read(&mut [0; 1]);
        ended.send(()).unwrap();
    });
    let made = clone_of(&server, "");
    let repo = made.repo.clone();
    let fetch = tokio::spawn(async move { repo.fetch(&Fetch::branch("main")).await });
    tokio::task::spawn_blocking(move || has_begun.recv_timeout(HANGS).unwrap()).await.unwrap();
    fetch.abort();
    assert!(fetch.await.unwrap_err().is_cancelled());
    tokio::task::spawn_blocking(move || has_ended.recv_timeout(HANGS).unwrap()).await.unwrap();
    assert!(made.git.references().unwrap().next().is_none());
}
