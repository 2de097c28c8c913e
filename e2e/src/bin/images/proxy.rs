//! Between the Engine and the registry: hands everything on, and fails as it is told.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use deploy_core::BoxError;
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use hyper::{Method, Request, Response, Uri, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo},
};
use tokio::net::TcpListener;

type Body = UnsyncBoxBody<Bytes, BoxError>;

/// What goes wrong, and how often.
#[derive(Debug, Clone)]
pub(crate) struct Fault {
    /// The method that it happens to; empty for all.
    method: &'static str,
    /// The status that is answered; 0 for a connection that is dropped in the middle of a layer.
    status: u16,
    times: usize,
}

impl Fault {
    pub(crate) fn times(method: &'static str, status: u16, times: usize) -> Self {
        Self { method, status, times }
    }

    pub(crate) fn always(method: &'static str, status: u16) -> Self {
        Self::times(method, status, usize::MAX)
    }

    pub(crate) fn drops(times: usize) -> Self {
        Self::times("PATCH", 0, times)
    }
}

pub(crate) struct Proxy {
    host: String,
    state: Arc<State>,
    serving: tokio::task::JoinHandle<()>,
}

struct State {
    to: String,
    fault: Fault,
    left: AtomicUsize,
    faults: AtomicUsize,
    client: Client<HttpConnector, Incoming>,
}

impl Proxy {
    pub(crate) async fn start(to: &str, fault: Fault) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let host = listener.local_addr()?.to_string();
        let state = Arc::new(State {
            to: to.to_owned(),
            left: AtomicUsize::new(fault.times),
            fault,
            faults: AtomicUsize::new(0),
            client: Client::builder(TokioExecutor::new()).build_http(),
        });
        let shared = Arc::clone(&state);
        let serving = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let state = Arc::clone(&shared);
                tokio::spawn(async move {
                    let service = service_fn(move |request| Arc::clone(&state).answer(request));
                    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Ok(Self { host, state, serving })
    }

    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    /// How often something went wrong.
    pub(crate) fn faults(&self) -> usize {
        self.state.faults.load(Ordering::Relaxed)
    }

    /// From now on everything goes well.
    pub(crate) fn heal(&self) {
        self.state.left.store(0, Ordering::Relaxed);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl State {
    async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Result<Response<Body>, BoxError> {
        if self.fails(request.method()) {
            self.faults.fetch_add(1, Ordering::Relaxed);
            if self.fault.status == 0 {
                // A part of the layer is read first, so that it is the middle.
                let _ = request.into_body().frame().await;
                return Err("dropped".into());
            }
            // The login is asked for, or it would never be sent: and then it is refused.
            let code = match self.fault.status {
                401 => "UNAUTHORIZED",
                429 => "TOOMANYREQUESTS",
                _ => "UNKNOWN",
            };
            let text = format!(r#"{{"errors":[{{"code":"{code}","message":"as the test wants it"}}]}}"#);
            let mut answer = Response::new(body(text));
            *answer.status_mut() = self.fault.status.try_into()?;
            let challenge = "Basic realm=\"e2e\"".parse()?;
            answer.headers_mut().insert("www-authenticate", challenge);
            return Ok(answer);
        }
        let (mut head, incoming) = request.into_parts();
        let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
        // The `Host` stays the proxy's, so the registry sends uploads back through it.
        head.uri = format!("http://{}{path}", self.to).parse::<Uri>()?;
        let answer = self.client.request(Request::from_parts(head, incoming)).await?;
        Ok(answer.map(|body| body.map_err(Into::into).boxed_unsync()))
    }

    fn fails(&self, method: &Method) -> bool {
        let concerned = self.fault.method.is_empty() || self.fault.method == method.as_str();
        concerned
            && self
                .left
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1))
                .is_ok()
    }
}

fn body(text: impl Into<Bytes>) -> Body {
    Full::new(text.into()).map_err(|never| match never {}).boxed_unsync()
}
