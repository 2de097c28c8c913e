//! How bollard reaches the Engine: one connection a request, and none that outlives what it was made for.

use std::{io, pin::Pin, sync::Arc};

use bollard::{BollardRequest, errors::Error};
use http::{HeaderValue, Response, Uri, header};
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::{image::wire::Dial, task};

/// Dropped, it ends all connections of its client. The Engine then stops what they asked for.
#[derive(Debug)]
pub(in crate::image) struct Lifeline {
    end: CancellationToken,
    _cut: DropGuard,
}

impl Lifeline {
    pub(super) fn new() -> Self {
        let end = CancellationToken::new();
        Self { _cut: end.clone().drop_guard(), end }
    }

    pub(super) fn end(&self) -> CancellationToken {
        self.end.clone()
    }
}

type Answering = Pin<Box<dyn Future<Output = Result<Response<Incoming>, Error>> + Send>>;

/// What bollard sends requests with, for as long as the lifeline lasts.
pub(super) fn transport(
    dial: Arc<dyn Dial>,
    lifeline: &Lifeline,
) -> impl Fn(BollardRequest) -> Answering + Send + Sync + 'static {
    let end = lifeline.end();
    move |request| -> Answering { Box::pin(send(Arc::clone(&dial), end.clone(), request)) }
}

async fn send(
    dial: Arc<dyn Dial>,
    end: CancellationToken,
    mut request: BollardRequest,
) -> Result<Response<Incoming>, Error> {
    let to = request.uri().clone();
    if to.path().ends_with("/session") || to.path().ends_with("/grpc") {
        // A session of bollard's own, where somebody else in this program has switched its feature `buildkit` on. There may
        // be one of a name only, and it is ours.
        return Err(io::Error::new(io::ErrorKind::Unsupported, "the build has its session").into());
    }
    url_safe(&mut request);
    request.headers_mut().insert(header::HOST, HeaderValue::from_static("docker"));
    *request.uri_mut() = path_of(&to)?;
    let wire = dial.dial(&to).await?.until(end);
    let (mut sender, connection) = http1::handshake(TokioIo::new(wire)).await?;
    task::spawn(async move {
        // How it ends is seen by whoever waits for the answer.
        let _ = connection.with_upgrades().await;
    });
    Ok(sender.send_request(request).await?)
}

fn path_of(uri: &Uri) -> Result<Uri, Error> {
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    Ok(path.parse()?)
}

/// The Engine reads credentials as base64 for URLs and takes others for none, without a word: it would push as nobody.
/// <https://docs.docker.com/reference/api/engine/#section/Authentication>
fn url_safe(request: &mut BollardRequest) {
    for name in ["x-registry-auth", "x-registry-config"] {
        let Some(value) = request.headers_mut().get_mut(name) else { continue };
        let Ok(text) = value.to_str() else { continue };
        if let Ok(mut safe) = HeaderValue::from_str(&text.replace('+', "-").replace('/', "_")) {
            safe.set_sensitive(true);
            *value = safe;
        }
    }
}
