//! The emulator on a socket: one endpoint for all services, as clients expect with `AWS_ENDPOINT_URL`.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use deploy_core::clock::{Clock as _, SystemClock};
use http::StatusCode;
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::behaviour::Timings;
use super::config::Config;
use super::handle::Emulator;
use super::wire::{WireAnswer, WireRequest};

/// The longest request body that is read: more than any request of these services may have.
const LONGEST_BODY: usize = 4 * 1024 * 1024;
/// How long a call that is being answered may still take when the socket is closed.
const GRACE: Duration = Duration::from_secs(2);

/// How to serve.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct ServeOptions {
    /// How many milliseconds of the emulator's time pass in one of the real one.
    pub speed: u32,
}

impl ServeOptions {
    /// Serves at this speed.
    pub fn speed(speed: u32) -> Self {
        Self { speed }
    }
}

impl Default for ServeOptions {
    fn default() -> Self {
        Self { speed: 1 }
    }
}

/// What an emulator of its own is told: an empty account on a socket, whose clock starts at the present.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ListenOptions {
    /// Where to listen; port 0 for any that is free.
    pub addr: SocketAddr,
    /// How many seconds of the emulator's time pass in a real one: scales every timeline, the timestamps too.
    pub speed: u32,
    /// The account: twelve digits.
    pub account: String,
    /// The region in every ARN. Clients may call from another one.
    pub region: String,
}

impl ListenOptions {
    /// In real time, in the account and region of [`Config::default`].
    pub fn new(addr: SocketAddr) -> Self {
        let Config { account, region, speed, .. } = Config::default();
        Self { addr, speed, account, region }
    }
}

/// Makes an empty account and serves it.
///
/// # Errors
/// If the account is not twelve digits, the region is empty, or the address cannot be listened on.
pub async fn listen(options: ListenOptions) -> io::Result<Served> {
    let ListenOptions { addr, speed, account, region } = options;
    let invalid = |what: &str| Err(io::Error::new(io::ErrorKind::InvalidInput, what.to_owned()));
    if account.len() != 12 || !account.bytes().all(|b| b.is_ascii_digit()) {
        return invalid("an account has twelve digits");
    }
    if region.is_empty() || !region.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
        return invalid("a region has letters, digits and hyphens");
    }
    let start_ms = SystemClock.now().as_millis();
    let timings = Timings::served();
    let emulator = Emulator::new(Config { account, region, start_ms, timings, ..Config::default() });
    emulator.serve(addr, ServeOptions { speed }).await
}

/// An emulator on a socket. It is closed when this is dropped.
#[derive(Debug)]
pub struct Served {
    emulator: Emulator,
    addr: SocketAddr,
    closing: watch::Sender<bool>,
    accepting: JoinHandle<()>,
}

impl Served {
    /// What is served.
    pub fn emulator(&self) -> &Emulator {
        &self.emulator
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The value for `AWS_ENDPOINT_URL`.
    pub fn endpoint_url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// The one line that a program prints when clients may call: `listening on http://127.0.0.1:4566`.
    pub fn ready_line(&self) -> String {
        format!("listening on {}", self.endpoint_url())
    }

    /// Closes the socket, and waits until it is closed. Calls that are being answered have two seconds.
    pub async fn shutdown(self) {
        self.closing.send_replace(true);
        // An accept loop that failed is closed too.
        drop(self.accepting.await);
        // Each connection holds a receiver until it has ended.
        drop(tokio::time::timeout(GRACE * 2, self.closing.closed()).await);
    }
}

impl Emulator {
    /// Serves on a socket, in the time of the runtime.
    ///
    /// # Errors
    /// If the address cannot be listened on.
    pub async fn serve(&self, addr: SocketAddr, options: ServeOptions) -> io::Result<Served> {
        let listener = TcpListener::bind(addr).await?;
        let addr = listener.local_addr()?;
        self.set_speed(options.speed);
        let (closing, closed) = watch::channel(false);
        let accepting = tokio::spawn(accept(self.clone(), listener, closed));
        Ok(Served { emulator: self.clone(), addr, closing, accepting })
    }
}

async fn accept(emulator: Emulator, listener: TcpListener, mut closed: watch::Receiver<bool>) {
    let connections = closed.clone();
    loop {
        tokio::select! {
            // A dropped sender ends the wait with an error, which means the same.
            _ = closed.wait_for(|closed| *closed) => return,
            accepted = listener.accept() => {
                if let Ok((stream, _)) = accepted {
                    tokio::spawn(connection(emulator.clone(), stream, connections.clone()));
                }
            }
        }
    }
}

async fn connection(emulator: Emulator, stream: TcpStream, mut closed: watch::Receiver<bool>) {
    let service = service_fn(move |request| answer(emulator.clone(), request));
    let http = hyper::server::conn::http1::Builder::new();
    let mut serving = pin!(http.serve_connection(TokioIo::new(stream), service));
    tokio::select! {
        // Clients go away whenever they like, and faults end connections on purpose.
        _ = serving.as_mut() => return,
        _ = closed.wait_for(|closed| *closed) => {}
    }
    serving.as_mut().graceful_shutdown();
    drop(tokio::time::timeout(GRACE, serving).await);
}

/// An error ends the connection without an answer: how a lost call looks from the other side.
async fn answer(emulator: Emulator, request: Request<Incoming>) -> io::Result<Response<Full<Bytes>>> {
    let header = |name: &str| request.headers().get(name).and_then(|v| v.to_str().ok()).map(str::to_owned);
    let mut wire = WireRequest {
        target: header("x-amz-target"),
        authorization: header("authorization"),
        agent: header("user-agent"),
        date: header("x-amz-date"),
        path: request.uri().path().to_owned(),
        query: request.uri().query().map(str::to_owned),
        host: header("host"),
        body: Vec::new(),
    };
    match Limited::new(request.into_body(), LONGEST_BODY).collect().await {
        Ok(body) => wire.body = body.to_bytes().to_vec(),
        Err(error) if error.is::<LengthLimitError>() => {
            let mut refused = Response::new(Full::new(Bytes::new()));
            *refused.status_mut() = StatusCode::PAYLOAD_TOO_LARGE;
            return Ok(refused);
        }
        Err(error) => return Err(io::Error::new(io::ErrorKind::InvalidData, error)),
    }
    let answer = emulator
        .exchange(wire)
        .await
        .map_err(|_| io::Error::new(io::ErrorKind::ConnectionReset, "a fault ends this call"))?;
    Ok(response(answer))
}

fn response(answer: WireAnswer) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(answer.body)));
    *response.status_mut() = StatusCode::from_u16(answer.status).unwrap_or_default();
    let headers = response.headers_mut();
    let mut set = |name: &'static str, value: &str| {
        if let Ok(value) = http::HeaderValue::from_str(value) {
            headers.insert(name, value);
        }
    };
    set("content-type", answer.content_type);
    set("x-amzn-requestid", "00000000-0000-4000-8000-000000000000");
    if let Some(code) = answer.error_code {
        set("x-amzn-errortype", &code);
    }
    response
}
