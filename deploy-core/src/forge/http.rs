//! One HTTP request: over a socket, or to an emulator in process.

use std::{error::Error as _, fmt};

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, Method, Uri};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::{Client, connect::HttpConnector};

use crate::{
    error::{Error, ErrorKind, Result},
    task,
};

/// How many idle connections are kept for reads.
const IDLE: usize = 2;
/// The most that is read of an answer of which only the end is kept.
const LONGEST: usize = 64 * 1024 * 1024;

/// How much of an answer's body is kept, in bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Keep {
    /// All of it; a longer one is refused.
    All(usize),
    /// The last of it.
    End(usize),
}

/// What is sent.
pub(crate) struct Request {
    pub(crate) method: Method,
    pub(crate) url: Uri,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) keep: Keep,
}

/// What was answered.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    /// A header as text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// A header as a number.
    pub(crate) fn number(&self, name: &str) -> Option<u64> {
        self.header(name)?.trim().parse().ok()
    }
}

/// A request without an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Broken {
    /// There was no connection: it was certainly never sent.
    Refused(String),
    /// The connection broke.
    Reset(String),
    /// The answer is longer than it may be.
    TooLong,
}

/// Sends a request once.
#[async_trait]
pub(crate) trait Transport: fmt::Debug + Send + Sync + 'static {
    /// One attempt. Dropping it gives the request up, which may have arrived all the same.
    async fn exchange(&self, request: Request) -> Result<Answer, Broken>;
}

type Http = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// Over a socket.
pub(crate) struct Socket {
    /// Connections are used again.
    reads: Http,
    /// Each request has its own connection: on a used one it could not be told whether a request had been sent, and the client
    /// would send it again by itself.
    mutations: Http,
}

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Socket")
    }
}

impl Socket {
    /// With the certificates that the system trusts.
    pub(crate) fn new() -> Result<Self> {
        let tls = HttpsConnectorBuilder::new()
            .with_provider_and_native_roots(rustls::crypto::aws_lc_rs::default_provider())
            .map_err(|error| {
                Error::new(ErrorKind::Invalid, "the certificates that this system trusts cannot be read")
                    .because(error)
                    .next("install the package ca-certificates")
            })?;
        let connector = tls.https_or_http().enable_http1().build();
        let client = |idle| {
            let mut builder = Client::builder(Tasks);
            builder.pool_max_idle_per_host(idle).retry_canceled_requests(idle > 0);
            builder.build(connector.clone())
        };
        Ok(Self { reads: client(IDLE), mutations: client(0) })
    }
}

/// Connections are tasks like all others.
#[derive(Clone, Copy)]
struct Tasks;

impl<F: Future<Output = ()> + Send + 'static> hyper::rt::Executor<F> for Tasks {
    fn execute(&self, future: F) {
        drop(task::spawn(future));
    }
}

#[async_trait]
impl Transport for Socket {
    async fn exchange(&self, request: Request) -> Result<Answer, Broken> {
        let Request { method, url, headers, body, keep } = request;
        let client = if method == Method::GET { &self.reads } else { &self.mutations };
        let mut sent = http::Request::new(Full::new(body));
        (*sent.method_mut(), *sent.uri_mut(), *sent.headers_mut()) = (method, url, headers);
        let answer = client.request(sent).await.map_err(|error| {
            let text = cause(&error);
            if error.is_connect() { Broken::Refused(text) } else { Broken::Reset(text) }
        })?;
        let (head, body) = answer.into_parts();
        let body = kept(body, keep).await?;
        Ok(Answer { status: head.status.as_u16(), headers: head.headers, body })
    }
}

/// The innermost reason: the others say "client error" only.
fn cause(error: &hyper_util::client::legacy::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text = inner.to_string();
        source = inner.source();
    }
    text
}

async fn kept(mut body: Incoming, keep: Keep) -> Result<Bytes, Broken> {
    let mut whole: Vec<u8> = Vec::new();
    let mut read = 0_usize;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Broken::Reset(error.to_string()))?;
        let Ok(data) = frame.into_data() else { continue };
        read = read.saturating_add(data.len());
        whole.extend_from_slice(&data);
        match keep {
            Keep::All(most) if read > most => return Err(Broken::TooLong),
            Keep::End(_) if read > LONGEST => return Err(Broken::TooLong),
            Keep::End(most) if whole.len() > most.saturating_mul(2) => {
                whole.drain(..whole.len() - most);
            }
            Keep::All(_) | Keep::End(_) => {}
        }
    }
    Ok(end_of(whole, keep))
}

/// What is kept of a whole body.
pub(crate) fn end_of(mut whole: Vec<u8>, keep: Keep) -> Bytes {
    if let Keep::End(most) = keep
        && whole.len() > most
    {
        whole.drain(..whole.len() - most);
    }
    whole.into()
}
