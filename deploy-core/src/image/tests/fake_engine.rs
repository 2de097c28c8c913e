//! A Docker Engine that does what a test tells it: it answers builds and pushes over bollard's own transport.

use std::{
    collections::{BTreeMap, VecDeque},
    io,
    sync::{Arc, Mutex, MutexGuard},
};

use async_trait::async_trait;
use base64::{Engine as _, engine::general_purpose::URL_SAFE};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::{
    Request, Response, Uri,
    body::{Frame, Incoming},
    client::conn::http2,
    server::conn::http1,
    service::service_fn,
    upgrade::Upgraded,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use tokio::sync::{Notify, watch};

use super::{Body, PASSWORD, answer, body, fake_registry::FakeRegistry};
use crate::{
    clock::{Clock, TokioClock},
    image::wire::{Dial, Wire},
    model::Timestamp,
};

/// What a build or a push does in place of succeeding.
#[derive(Debug, Clone)]
pub(super) enum Turn {
    /// Says this, line by line, and ends.
    Say(Vec<Value>),
    /// Says this, and drops the connection.
    Drop(Vec<Value>),
    /// Says this, and then nothing any more.
    Hang(Vec<Value>),
    /// Answers with this status.
    Status(u16, &'static str),
    /// Fetches the secret over the session and writes it to the log.
    ShowSecret,
}

#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub(super) path: String,
    pub(super) query: BTreeMap<String, String>,
    pub(super) headers: hyper::HeaderMap,
    pub(super) body: Bytes,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) api: &'static str,
    pub(super) component: &'static str,
    pub(super) turns: VecDeque<Turn>,
    pub(super) seen: Vec<Seen>,
    images: BTreeMap<String, Value>,
}

#[derive(Debug, Clone)]
pub(super) struct FakeEngine {
    state: Arc<Mutex<State>>,
    registry: FakeRegistry,
    open: Arc<watch::Sender<usize>>,
    session: Arc<Mutex<Option<Upgraded>>>,
    has_session: Arc<Notify>,
}

impl FakeEngine {
    pub(super) fn new(registry: FakeRegistry) -> Self {
        let state = State {
            api: "1.41",
            component: "Engine",
            turns: VecDeque::new(),
            seen: Vec::new(),
            images: BTreeMap::new(),
        };
        Self {
            state: Arc::new(Mutex::new(state)),
            registry,
            open: Arc::new(watch::channel(0).0),
            session: Arc::default(),
            has_session: Arc::default(),
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub(super) fn then(&self, turns: impl IntoIterator<Item = Turn>) {
        self.state().turns.extend(turns);
    }

    /// Requests whose path ends so.
    pub(super) fn calls(&self, end: &str) -> Vec<Seen> {
        self.state().seen.iter().filter(|seen| seen.path.ends_with(end)).cloned().collect()
    }

    /// Waits until all connections are gone.
    pub(super) async fn quiet(&self) {
        self.open.subscribe().wait_for(|open| *open == 0).await.unwrap();
    }

    async fn answer(self, mut request: Request<Incoming>) -> io::Result<Response<Body>> {
        let upgrade = hyper::upgrade::on(&mut request);
        let (head, incoming) = request.into_parts();
        let path = head.uri.path().to_owned();
        let mut seen = Seen {
            path: path.clone(),
            query: form_urlencoded::parse(head.uri.query().unwrap_or_default().as_bytes())
                .into_owned()
                .collect(),
            headers: head.headers,
            body: Bytes::new(),
        };
        if path.ends_with("/version") {
            return Ok(answer(200, self.version().to_string()));
        }
        if path.ends_with("/session") {
            self.state().seen.push(seen);
            tokio::spawn(async move {
                if let Ok(upgraded) = upgrade.await {
                    *self.session.lock().unwrap() = Some(upgraded);
                    self.has_session.notify_one();
                }
            });
            let mut switched = answer(101, "");
            switched.headers_mut().insert("connection", "Upgrade".parse().unwrap());
            switched.headers_mut().insert("upgrade", "h2c".parse().unwrap());
            return Ok(switched);
        }
        seen.body = incoming.collect().await.map_err(io::Error::other)?.to_bytes();
        let turn = {
            let mut state = self.state();
            state.seen.push(seen.clone());
            state.turns.pop_front()
        };
        if let Some(turn) = turn {
            return self.take(turn).await;
        }
        let lines = if path.ends_with("/build") { self.build(&seen) } else { self.push(&seen) };
        Ok(Response::new(body(text(&lines))))
    }

    fn version(&self) -> Value {
        let state = self.state();
        json!({"ApiVersion": state.api, "Os": "linux", "Version": "1", "Components": [{"Name": state.component, "Version": "1"}]})
    }

    async fn take(&self, turn: Turn) -> io::Result<Response<Body>> {
        let said = |lines: Vec<Value>| stream::iter([Ok(Frame::data(text(&lines)))]);
        match turn {
            Turn::Status(status, message) => Ok(answer(status, json!({"message": message}).to_string())),
            Turn::Say(lines) => Ok(Response::new(body(text(&lines)))),
            Turn::Drop(lines) => {
                // What was said is on its way by then.
                let gone = stream::once(async {
                    let clock = TokioClock::starting_at(Timestamp::default());
                    clock.sleep(std::time::Duration::from_secs(1)).await;
                    Err(io::Error::other("gone"))
                });
                let frames = said(lines).chain(gone);
                Ok(Response::new(BodyExt::boxed_unsync(StreamBody::new(frames))))
            }
            Turn::Hang(lines) => {
                let frames = said(lines).chain(stream::pending());
                Ok(Response::new(BodyExt::boxed_unsync(StreamBody::new(frames))))
            }
            Turn::ShowSecret => {
                let secret = self.secret("npm").await;
                let line = json!({"stream": format!("it is {secret}\n")});
                let trace = |status: &str| json!({"id": "moby.buildkit.trace", "aux": status});
                // A step `RUN x` (digest `b`) that wrote the secret, in the words of the protocol: see `trace`.
                let lines = [
                    line,
                    trace(&trace_of("RUN x", &format!("it is {secret}\n"))),
                    json!({"aux": {"ID": "sha256:1"}}),
                ];
                Ok(Response::new(body(text(&lines))))
            }
        }
    }

    /// Asks the client for a secret, as BuildKit does it: gRPC over the connection that the client opened.
    async fn secret(&self, id: &str) -> String {
        while self.session.lock().unwrap().is_none() {
            self.has_session.notified().await;
        }
        let session = self.session.lock().unwrap().take().unwrap();
        let (mut sender, connection) = http2::handshake(TokioExecutor::new(), session).await.unwrap();
        tokio::spawn(connection);
        let message = field(1, id.as_bytes());
        let mut framed = vec![0];
        framed.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
        framed.extend(message);
        let request = Request::post("http://session/moby.buildkit.secrets.v1.Secrets/GetSecret")
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(Full::new(Bytes::from(framed)))
            .unwrap();
        let answer = sender.send_request(request).await.unwrap().collect().await.unwrap();
        let bytes = answer.to_bytes();
        // The frame, the field's tag and its length, which is below 128 here.
        String::from_utf8(bytes[7..].to_vec()).unwrap()
    }

    /// A build that succeeds: the image has the labels and the platform that were asked for.
    fn build(&self, seen: &Seen) -> Vec<Value> {
        let image = json!({"labels": seen.query["labels"], "platform": seen.query["platform"]});
        self.state().images.insert(seen.query["t"].clone(), image);
        vec![
            json!({"stream": "Step 1/1 : FROM scratch"}),
            json!({"aux": {"ID": "sha256:1"}}),
            json!({"stream": "Successfully built 1\n"}),
        ]
    }

    /// A push that succeeds, if the login is right.
    fn push(&self, seen: &Seen) -> Vec<Value> {
        let header = seen.headers.get("x-registry-auth").map_or("", |value| value.to_str().unwrap());
        let login: Value = URL_SAFE
            .decode(header)
            .ok()
            .and_then(|text| serde_json::from_slice(&text).ok())
            .unwrap_or_default();
        if login["password"] != PASSWORD {
            return vec![failure("unauthorized: authentication required")];
        }
        let name = seen.path.split_once("/images/").unwrap().1.strip_suffix("/push").unwrap();
        let tag = seen.query["tag"].as_str();
        let image = self.state().images[&format!("{name}:{tag}")].clone();
        let labels: BTreeMap<String, String> =
            serde_json::from_str(image["labels"].as_str().unwrap()).unwrap();
        let platform = image["platform"].as_str().filter(|text| !text.is_empty()).unwrap_or("linux/amd64");
        let revision = labels.get("org.opencontainers.image.revision").map(String::as_str);
        let digest =
            self.registry.image(tag, platform, revision, &labels["org.opencontainers.image.created"]);
        vec![
            json!({"status": "Pushing", "progressDetail": {"current": 5, "total": 9}, "id": "a1b2"}),
            json!({"status": format!("{tag}: digest: {digest} size: 528")}),
            json!({"progressDetail": {}, "aux": {"Tag": tag, "Digest": digest, "Size": 528}}),
        ]
    }
}

/// A failure, as the Engine says it in a stream.
pub(super) fn failure(text: &str) -> Value {
    json!({"errorDetail": {"message": text}, "error": text})
}

fn text(lines: &[Value]) -> Bytes {
    lines.iter().map(|line| format!("{line}\r\n")).collect::<String>().into()
}

fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    assert!(bytes.len() < 128);
    [&[number << 3 | 2, u8::try_from(bytes.len()).unwrap()], bytes].concat()
}

/// A message of BuildKit's trace: a step that runs, and a piece of its log.
pub(super) fn trace_of(step: &str, log: &str) -> String {
    let vertex = [field(1, b"b"), field(3, step.as_bytes()), field(5, &[])].concat();
    let log = [field(1, b"b"), field(4, log.as_bytes())].concat();
    base64::engine::general_purpose::STANDARD.encode([field(1, &vertex), field(3, &log)].concat())
}

/// Counts a connection for as long as it lasts.
struct Open(Arc<watch::Sender<usize>>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.send_modify(|open| *open -= 1);
    }
}

#[async_trait]
impl Dial for FakeEngine {
    async fn dial(&self, _to: &Uri) -> io::Result<Wire> {
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        let engine = self.clone();
        self.open.send_modify(|open| *open += 1);
        let open = Open(Arc::clone(&self.open));
        tokio::spawn(async move {
            let service = service_fn(move |request| engine.clone().answer(request));
            let _ =
                http1::Builder::new().serve_connection(TokioIo::new(theirs), service).with_upgrades().await;
            drop(open);
        });
        Ok(Wire::new(ours))
    }
}
