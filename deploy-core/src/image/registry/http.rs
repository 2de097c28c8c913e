//! Calls on the wire: one request, its redirections, and an answer of bounded size.

use std::{
    fmt, io,
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Uri, header};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, Error as ClientError},
    rt::{TokioExecutor, TokioIo},
};
use tower_service::Service;

use crate::{
    error::{Error, ErrorKind, Result},
    image::{
        name::{Repository, is_loopback},
        wire::{Dial, Wire},
    },
};

/// The largest answer that is read: manifests and configurations have some kilobytes.
const ANSWER_BYTES_MAX: usize = 8 << 20;
/// How many redirections are followed: registries send whoever asks for a blob to their storage.
const REDIRECTIONS_MAX: usize = 3;

/// One call to a registry, or to the server that gives out its tokens.
#[derive(Debug, Clone)]
pub(in crate::image) struct Asked {
    method: &'static str,
    registry: String,
    uri: String,
    /// What the token has to allow.
    pub(super) scope: String,
    accept: Option<String>,
    body: Option<(String, Bytes)>,
    shown: String,
}

impl Asked {
    pub(super) fn new(method: &'static str, repository: &Repository, what: String, actions: &str) -> Self {
        let host = repository.host();
        let scheme = if is_loopback(host) { "http" } else { "https" };
        let path = repository.path();
        Self {
            method,
            registry: repository.registry().to_owned(),
            uri: format!("{scheme}://{host}/v2/{path}/{what}"),
            scope: format!("repository:{path}:{actions}"),
            accept: None,
            body: None,
            shown: format!("{method} {what} of {repository}"),
        }
    }

    /// A call for a token of this one.
    pub(super) fn token(&self, method: &'static str, uri: String, body: Option<String>) -> Self {
        Self {
            method,
            registry: self.registry.clone(),
            uri,
            scope: String::new(),
            accept: None,
            body: body.map(|body| ("application/x-www-form-urlencoded".to_owned(), Bytes::from(body))),
            shown: format!("the token for {}", self.registry),
        }
    }

    pub(super) fn accepting(mut self, media_types: String) -> Self {
        self.accept = Some(media_types);
        self
    }

    pub(super) fn with_body(mut self, media_type: &str, bytes: Bytes) -> Self {
        self.body = Some((media_type.to_owned(), bytes));
        self
    }

    /// The same call at another address of the same server.
    pub(super) fn at(mut self, address: &str) -> Option<Self> {
        let here: Uri = self.uri.parse().ok()?;
        let there = resolve(&here, address)?;
        (there.authority() == here.authority() && there.scheme() == here.scheme()).then_some(())?;
        self.uri = there.to_string();
        Some(self)
    }

    pub(super) fn registry(&self) -> &str {
        &self.registry
    }

    fn request(&self, to: &Uri, authorization: Option<&HeaderValue>) -> Result<Request<Full<Bytes>>> {
        let mut request = Request::builder().method(self.method).uri(to.clone());
        request = request.header(header::USER_AGENT, concat!("deploy-kit/", env!("CARGO_PKG_VERSION")));
        if let Some(accept) = &self.accept {
            request = request.header(header::ACCEPT, accept);
        }
        if let Some(authorization) = authorization {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        let body = match &self.body {
            Some((media_type, bytes)) => {
                request = request.header(header::CONTENT_TYPE, media_type);
                bytes.clone()
            }
            None => Bytes::new(),
        };
        request.body(Full::new(body)).map_err(|error| {
            Error::new(ErrorKind::Unexpected, format!("{self} cannot be written as a request")).because(error)
        })
    }
}

impl fmt::Display for Asked {
    /// Without the address, which may carry a signature.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

/// What was answered.
#[derive(Debug)]
pub(in crate::image) struct Answer {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Answer {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// What has to be done first, if the call was not authorized.
    pub(super) fn challenge(&self) -> Option<&str> {
        (self.status == 401).then(|| self.header("www-authenticate").unwrap_or_default())
    }
}

/// The address of the next page, as a `Link` header tells it.
pub(super) fn next_page(link: &str) -> Option<&str> {
    let (address, relation) = link.split_once('>')?;
    relation.contains("next").then_some(address.trim_start().strip_prefix('<')?)
}

type Secure = Client<HttpsConnector<Dialer>, Full<Bytes>>;

pub(super) struct Http {
    dial: Arc<dyn Dial>,
    plain: Client<Dialer, Full<Bytes>>,
    // Reading the system's certificates takes some milliseconds, and a registry on this machine needs none.
    secure: OnceLock<Result<Secure, io::ErrorKind>>,
}

impl Http {
    pub(super) fn new(dial: Arc<dyn Dial>) -> Self {
        let plain = Client::builder(TokioExecutor::new()).build(Dialer(Arc::clone(&dial)));
        Self { dial, plain, secure: OnceLock::new() }
    }

    pub(super) fn dial(&self) -> Arc<dyn Dial> {
        Arc::clone(&self.dial)
    }

    /// Sends a call once, and follows where the answer points to. Elsewhere it goes without the authorization.
    pub(super) async fn send(&self, asked: &Asked, authorization: Option<&str>) -> Result<Answer> {
        let malformed = |why: &str| Error::new(ErrorKind::Malformed, format!("{asked}: {why}"));
        let mut to: Uri = asked.uri.parse().map_err(|_| malformed("it has no address"))?;
        let mut authorization = match authorization {
            Some(text) => {
                let value = HeaderValue::from_str(text);
                let mut value = value.map_err(|_| malformed("the login cannot be sent in a header"))?;
                value.set_sensitive(true);
                Some(value)
            }
            None => None,
        };
        for _ in 0..=REDIRECTIONS_MAX {
            let answer = self.single(asked, &to, authorization.as_ref()).await?;
            let moved = matches!(answer.status, 301 | 302 | 303 | 307 | 308) && asked.body.is_none();
            let Some(location) = answer.header("location").filter(|_| moved) else { return Ok(answer) };
            let next = resolve(&to, location).ok_or_else(|| malformed("it is sent nowhere"))?;
            if next.scheme_str() != Some("https") && !is_loopback(next.host().unwrap_or_default()) {
                return Err(malformed("it is sent to an address without TLS"));
            }
            if next.authority() != to.authority() {
                authorization = None;
            }
            to = next;
        }
        Err(malformed("it is sent from one place to the next, without an end"))
    }

    async fn single(&self, asked: &Asked, to: &Uri, authorization: Option<&HeaderValue>) -> Result<Answer> {
        let request = asked.request(to, authorization)?;
        let response = if to.scheme_str() == Some("http") {
            self.plain.request(request).await
        } else {
            self.secure()?.request(request).await
        };
        let response = response.map_err(|error| broken(asked, &error))?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await.map_err(|error| {
            if error.is::<LengthLimitError>() {
                return Error::new(
                    ErrorKind::Malformed,
                    format!("{asked}: the answer is longer than any manifest"),
                );
            }
            let text = format!("{asked}: the connection broke in the middle of the answer");
            Error::new(ErrorKind::Unavailable, text).because(error)
        })?;
        Ok(Answer { status: head.status.as_u16(), headers: head.headers, body: body.to_bytes() })
    }

    fn secure(&self) -> Result<&Client<HttpsConnector<Dialer>, Full<Bytes>>> {
        let made = self.secure.get_or_init(|| {
            let provider = rustls::crypto::aws_lc_rs::default_provider();
            let connector = HttpsConnectorBuilder::new()
                .with_provider_and_native_roots(provider)
                .map_err(|error| error.kind())?
                .https_only()
                .enable_http1()
                .wrap_connector(Dialer(Arc::clone(&self.dial)));
            Ok(Client::builder(TokioExecutor::new()).build(connector))
        });
        made.as_ref().map_err(|kind| {
            let text = format!("the system's certificates cannot be read: {kind}");
            Error::new(ErrorKind::Unexpected, text).next("install ca-certificates")
        })
    }
}

fn broken(asked: &Asked, error: &ClientError) -> Error {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(this) = cause {
        text = this.to_string();
        cause = this.source();
    }
    let what = if error.is_connect() { "cannot be reached" } else { "broke the connection" };
    let text = crate::report::scrub_line(&text);
    Error::new(ErrorKind::Unavailable, format!("{asked}: {} {what}: {text}", asked.registry))
}

fn resolve(here: &Uri, address: &str) -> Option<Uri> {
    let there: Uri = address.parse().ok()?;
    if there.authority().is_some() {
        return there.scheme().is_some().then_some(there);
    }
    if !address.starts_with('/') {
        return None;
    }
    let mut parts = there.into_parts();
    (parts.scheme, parts.authority) = (here.scheme().cloned(), here.authority().cloned());
    Uri::from_parts(parts).ok()
}

/// How connections are made, as hyper asks for it.
#[derive(Clone)]
struct Dialer(Arc<dyn Dial>);

impl Service<Uri> for Dialer {
    type Response = TokioIo<Wire>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<TokioIo<Wire>>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        let dial = Arc::clone(&self.0);
        Box::pin(async move { Ok(TokioIo::new(dial.dial(&to).await?)) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_and_addresses_are_resolved() {
        assert_eq!(
            next_page("</v2/a/tags/list?last=x&n=5>; rel=\"next\""),
            Some("/v2/a/tags/list?last=x&n=5")
        );
        assert_eq!(next_page("</v2/a>; rel=\"prev\""), None);
        assert_eq!(next_page("nonsense"), None);
        let repository = Repository::parse("r.example.com/a").unwrap();
        let asked = Asked::new("GET", &repository, "tags/list".into(), "pull");
        assert_eq!(asked.clone().at("/v2/x?y").unwrap().uri, "https://r.example.com/v2/x?y");
        for elsewhere in ["https://other.example.com/", "http://r.example.com/", "relative", ""] {
            assert!(asked.clone().at(elsewhere).is_none(), "{elsewhere}");
        }
    }
}
