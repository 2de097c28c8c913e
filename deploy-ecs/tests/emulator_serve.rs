//! The socket: whatever arrives there, and how it is closed.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use deploy_ecs::emulator::{FaultKind, FaultRule, ListenOptions, Served, listen};

async fn served() -> Served {
    let mut options = ListenOptions::new(([127, 0, 0, 1], 0).into());
    options.speed = 100;
    listen(options).await.unwrap()
}

/// Sends bytes and reads until the server closes, or has sent as many answers as there should be.
async fn exchange(addr: SocketAddr, request: Vec<u8>, answers: usize) -> String {
    let talk = move || {
        let mut stream = TcpStream::connect(addr).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        // The server may have refused before all of it is sent.
        drop(stream.write_all(&request));
        let (mut seen, mut part) = (Vec::new(), [0; 65_536]);
        loop {
            match stream.read(&mut part) {
                Ok(0) | Err(_) => break,
                Ok(read) => seen.extend_from_slice(&part[..read]),
            }
            let text = String::from_utf8_lossy(&seen);
            let whole =
                text.matches("\r\n\r\n").count() >= answers && (text.ends_with('}') || text.ends_with('>'));
            if text.matches("HTTP/1.1 ").count() >= answers && whole {
                break;
            }
        }
        String::from_utf8_lossy(&seen).into_owned()
    };
    tokio::task::spawn_blocking(talk).await.unwrap()
}

fn call(action: &str, body: &str, headers: &str) -> String {
    format!(
        "POST / HTTP/1.1\r\nHost: emulator\r\nX-Amz-Target: AmazonEC2ContainerServiceV20141113.{action}\r\n{headers}\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

#[tokio::test]
async fn whatever_arrives_is_answered() {
    let served = served().await;
    let big = format!("{{\"x\": \"{}\"}}", "a".repeat(5 * 1024 * 1024));
    let rows = [
        ("garbage", "GARBAGE\r\n\r\n".to_owned(), "HTTP/1.1 400"),
        ("no request of AWS", "GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(), "HTTP/1.1 400"),
        ("no JSON", call("ListClusters", "{", ""), "HTTP/1.1 400"),
        ("no structure", call("ListClusters", "[]", ""), "HTTP/1.1 400"),
        ("another service", call("X", "{}", "").replace("AmazonEC2", "Other"), "HTTP/1.1 400"),
        ("too large", call("ListClusters", &big, ""), "HTTP/1.1 413"),
        ("continued", call("ListClusters", "{}", "Expect: 100-continue\r\n"), "HTTP/1.1 100"),
        (
            "no layer",
            "GET /_layers/sha256:0 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".to_owned(),
            "HTTP/1.1 404",
        ),
        ("fine", call("ListClusters", "{}", ""), "HTTP/1.1 200"),
    ];
    for (what, request, expected) in rows {
        let answer = exchange(served.addr(), request.into_bytes(), 1).await;
        assert!(answer.starts_with(expected), "{what}: {answer}");
    }
}

#[tokio::test]
async fn a_connection_is_used_again() {
    let served = served().await;
    let twice = call("ListClusters", "{}", "") + &call("ListClusters", "{}", "");
    let answers = exchange(served.addr(), twice.into_bytes(), 2).await;
    assert_eq!(answers.matches("HTTP/1.1 200").count(), 2, "{answers}");
    let lines = answers.lines().filter(|line| line.starts_with("{\"clusterArns\""));
    assert!(lines.count() > 0, "{answers}");
}

#[tokio::test]
async fn what_is_being_answered_when_it_is_closed_is_answered() {
    let served = served().await;
    served.emulator().fault(FaultRule::new(FaultKind::Slow(50_000)).action("ListClusters"));
    let slow = tokio::spawn(exchange(served.addr(), call("ListClusters", "{}", "").into_bytes(), 1));
    while served.emulator().counts().of("ListClusters") == 0 {
        tokio::task::yield_now().await;
    }
    let addr = served.addr();
    served.shutdown().await;
    assert!(slow.await.unwrap().starts_with("HTTP/1.1 200"));
    assert!(TcpStream::connect(addr).is_err(), "nobody listens any more");
}

#[tokio::test]
async fn it_listens_as_whom_it_is_told_to_be() {
    let mut options = ListenOptions::new(([127, 0, 0, 1], 0).into());
    options.account = "210987654321".to_owned();
    options.region = "eu-west-1".to_owned();
    let served = listen(options.clone()).await.unwrap();
    assert_eq!(served.ready_line(), format!("listening on http://{}", served.addr()));
    let image = served.emulator().image("chat", "ok-1");
    assert_eq!(image, "210987654321.dkr.ecr.eu-west-1.amazonaws.com/chat:ok-1");
    let answer = exchange(served.addr(), call("CreateCluster", "{}", "").into_bytes(), 1).await;
    assert!(answer.contains("arn:aws:ecs:eu-west-1:210987654321:cluster/default"), "{answer}");
    for account in ["", "12345678901", "12345678901x"] {
        options.account = account.to_owned();
        assert!(listen(options.clone()).await.is_err(), "{account}");
    }
    options.account = "210987654321".to_owned();
    options.addr = served.addr();
    assert!(listen(options).await.is_err(), "the address is in use");
}
