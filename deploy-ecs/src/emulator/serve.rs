//! The emulator on a socket: one endpoint for all services, as clients expect with `AWS_ENDPOINT_URL`.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::handle::Emulator;
use super::wire::{WireAnswer, WireRequest};

/// The longest request body that is read: more than any request of these services may have.
const LONGEST_BODY: usize = 4 * 1024 * 1024;

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

/// An emulator on a socket. It is closed when this is dropped.
#[derive(Debug)]
pub struct Served {
    addr: SocketAddr,
    closing: watch::Sender<bool>,
    accepting: JoinHandle<()>,
}

impl Served {
    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The value for `AWS_ENDPOINT_URL`.
    pub fn endpoint_url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Closes the socket, and waits until it is closed. Connections end with it.
    pub async fn shutdown(self) {
        self.closing.send_replace(true);
        // An accept loop that failed is closed too.
        drop(self.accepting.await);
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
        Ok(Served { addr, closing, accepting })
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
    let serving = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    tokio::select! {
        _ = closed.wait_for(|closed| *closed) => {}
        // Clients go away whenever they like, and faults end connections on purpose.
        _ = serving => {}
    }
}

/// An error ends the connection without an answer: how a lost call looks from the other side.
async fn answer(emulator: Emulator, request: Request<Incoming>) -> io::Result<Response<Full<Bytes>>> {
    let header = |name: &str| request.headers().get(name).and_then(|v| v.to_str().ok()).map(str::to_owned);
    let (target, authorization) = (header("x-amz-target"), header("authorization"));
    let (agent, date) = (header("user-agent"), header("x-amz-date"));
    let query = request.uri().query().map(str::to_owned);
    let body = Limited::new(request.into_body(), LONGEST_BODY)
        .collect()
        .await
        .map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))?
        .to_bytes();
    let wire = WireRequest { target, authorization, agent, date, query, body: body.to_vec() };
    let answer = emulator
        .exchange(wire)
        .await
        .map_err(|_| io::Error::new(io::ErrorKind::ConnectionReset, "a fault ends this call"))?;
    Ok(response(answer).unwrap_or_else(|never| match never {}))
}

fn response(answer: WireAnswer) -> Result<Response<Full<Bytes>>, Infallible> {
    let mut response = Response::new(Full::new(Bytes::from(answer.body)));
    *response.status_mut() = http::StatusCode::from_u16(answer.status).unwrap_or_default();
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
    Ok(response)
}
