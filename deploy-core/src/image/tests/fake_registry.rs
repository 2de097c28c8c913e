//! A registry: the distribution protocol as far as it is used, with the faults that a test asks for.

use std::{
    collections::{BTreeMap, VecDeque},
    io,
    sync::{Arc, Mutex, MutexGuard},
};

use async_trait::async_trait;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http_body_util::{BodyExt, StreamBody};
use hyper::{Request, Response, Uri, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use serde_json::json;

use super::{Body, PASSWORD, answer};
use crate::{
    hash,
    image::wire::{Dial, Wire},
};

pub(super) const MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
pub(super) const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// What goes wrong with one call.
#[derive(Debug, Clone)]
pub(super) enum Fault {
    Status(u16, &'static str, &'static str),
    DropMidBody,
    Drop,
    Garbage,
    Hang,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Auth {
    None,
    Basic,
    Bearer,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) auth: Auth,
    pub(super) deletes: bool,
    /// Tells no digest, as some do.
    pub(super) silent: bool,
    /// Where blobs are, if they are elsewhere.
    pub(super) redirect: Option<String>,
    pub(super) faults: VecDeque<Fault>,
    pub(super) seen: Vec<String>,
    token: u32,
    manifests: BTreeMap<String, (String, Bytes)>,
    tags: BTreeMap<String, String>,
    blobs: BTreeMap<String, Bytes>,
}

#[derive(Debug, Clone)]
pub(super) struct FakeRegistry(Arc<Mutex<State>>);

impl FakeRegistry {
    pub(super) fn new() -> Self {
        Self(Arc::new(Mutex::new(State {
            auth: Auth::Bearer,
            deletes: true,
            silent: false,
            redirect: None,
            faults: VecDeque::new(),
            seen: Vec::new(),
            token: 1,
            manifests: BTreeMap::new(),
            tags: BTreeMap::new(),
            blobs: BTreeMap::new(),
        })))
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// All tokens that were given out are over.
    pub(super) fn expire_tokens(&self) {
        self.state().token += 1;
    }

    pub(super) fn fail(&self, faults: impl IntoIterator<Item = Fault>) {
        self.state().faults.extend(faults);
    }

    /// How many calls with this beginning were seen.
    pub(super) fn calls(&self, start: &str) -> usize {
        self.state().seen.iter().filter(|call| call.starts_with(start)).count()
    }

    /// Stores an image of one platform. Gives its digest.
    pub(super) fn image(&self, tag: &str, platform: &str, revision: Option<&str>, created: &str) -> String {
        let mut parts = platform.split('/');
        let mut config = json!({
            "os": parts.next(), "architecture": parts.next(), "created": created, "rootfs": {"type": "layers"},
            "config": {"Labels": {"other": "x"}}
        });
        if let Some(variant) = parts.next() {
            config["variant"] = variant.into();
        }
        if let Some(revision) = revision {
            config["config"]["Labels"]["org.opencontainers.image.revision"] = revision.into();
        }
        let config = config.to_string();
        let digest = format!("sha256:{}", hash::bytes(config.as_bytes()));
        let manifest = json!({
            "schemaVersion": 2, "mediaType": MANIFEST, "layers": [],
            "config": {"mediaType": "application/vnd.docker.container.image.v1+json", "size": config.len(), "digest": digest}
        });
        self.state().blobs.insert(digest, Bytes::from(config));
        self.put(tag, MANIFEST, manifest.to_string())
    }

    /// Stores an index of images, each with its platform.
    pub(super) fn index(&self, tag: &str, images: &[(&str, &str)]) -> String {
        let entries = images.iter().map(|(digest, platform)| {
            let (os, architecture) = platform.split_once('/').unwrap();
            json!({"mediaType": MANIFEST, "digest": digest, "size": 1, "platform": {"os": os, "architecture": architecture}})
        });
        let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries.collect::<Vec<_>>()});
        self.put(tag, INDEX, index.to_string())
    }

    pub(super) fn put(&self, tag: &str, media_type: &str, text: String) -> String {
        let digest = format!("sha256:{}", hash::bytes(text.as_bytes()));
        let mut state = self.state();
        state.manifests.insert(digest.clone(), (media_type.to_owned(), Bytes::from(text)));
        if !tag.is_empty() {
            state.tags.insert(tag.to_owned(), digest.clone());
        }
        digest
    }

    /// Puts other bytes in the place of a blob or a manifest.
    pub(super) fn corrupt(&self) {
        let mut state = self.state();
        state.blobs.values_mut().for_each(|bytes| *bytes = Bytes::from_static(b"{}"));
    }

    pub(super) fn tags(&self) -> Vec<String> {
        self.state().tags.keys().cloned().collect()
    }

    pub(super) fn manifest_text(&self, digest: &str) -> String {
        String::from_utf8(self.state().manifests[digest].1.to_vec()).unwrap()
    }

    async fn answer(self, request: Request<Incoming>) -> io::Result<Response<Body>> {
        let (head, body) = request.into_parts();
        let path = head.uri.path().to_owned();
        let authorization = head.headers.get("authorization").map(|value| value.to_str().unwrap().to_owned());
        let call = format!("{} {path}", head.method);
        self.state().seen.push(call.clone());
        let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
        if path == "/token" {
            return Ok(self.token(authorization.as_deref(), &body));
        }
        let fault = self.state().faults.pop_front();
        match fault {
            Some(Fault::Status(status, retry_after, text)) => {
                let mut answer = answer(status, text);
                if !retry_after.is_empty() {
                    answer.headers_mut().insert("retry-after", retry_after.parse().unwrap());
                }
                return Ok(answer);
            }
            Some(Fault::Drop) => return Err(io::Error::other("dropped")),
            Some(Fault::Hang) => std::future::pending().await,
            Some(Fault::Garbage) => return Ok(answer(200, "<html>it works</html>")),
            Some(Fault::DropMidBody) => {
                let frames = [
                    Ok(hyper::body::Frame::data(Bytes::from_static(b"{"))),
                    Err(io::Error::other("dropped")),
                ];
                let mut answer =
                    Response::new(BodyExt::boxed_unsync(StreamBody::new(futures_util::stream::iter(frames))));
                answer.headers_mut().insert("content-length", 1000.into());
                return Ok(answer);
            }
            None => {}
        }
        if let Some(refused) = self.refuse(authorization.as_deref()) {
            return Ok(refused);
        }
        Ok(self.serve(head.method.as_str(), &path, head.uri.query().unwrap_or_default(), &head.headers, body))
    }

    fn basic() -> String {
        format!("Basic {}", STANDARD.encode(format!("bob:{PASSWORD}")))
    }

    fn token(&self, authorization: Option<&str>, body: &[u8]) -> Response<Body> {
        let by_token = String::from_utf8_lossy(body).contains("refresh_token=canary-identity");
        if authorization != Some(&Self::basic()) && !by_token {
            return answer(401, r#"{"details":"incorrect username or password"}"#);
        }
        answer(200, json!({"token": format!("canary-token-{}", self.state().token)}).to_string())
    }

    fn refuse(&self, authorization: Option<&str>) -> Option<Response<Body>> {
        let state = self.state();
        let (expected, challenge) = match state.auth {
            Auth::None => return None,
            Auth::Basic => (Self::basic(), "Basic realm=\"fake\"".to_owned()),
            Auth::Bearer => (
                format!("Bearer canary-token-{}", state.token),
                "Bearer realm=\"http://127.0.0.1:5001/token\",service=\"fake\"".to_owned(),
            ),
        };
        if authorization == Some(&expected) {
            return None;
        }
        let mut refused =
            answer(401, r#"{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}"#);
        refused.headers_mut().insert("www-authenticate", challenge.parse().unwrap());
        Some(refused)
    }

    fn serve(
        &self,
        method: &str,
        path: &str,
        query: &str,
        headers: &hyper::HeaderMap,
        body: Bytes,
    ) -> Response<Body> {
        let unknown =
            || answer(404, r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}"#);
        let Some(rest) = path.strip_prefix("/v2/shop/api/") else { return unknown() };
        let mut state = self.state();
        let (kind, which) = rest.split_once('/').unwrap();
        match (method, kind) {
            (_, "tags") => {
                // Two a page.
                let last = query
                    .split('&')
                    .find_map(|pair| pair.strip_prefix("last="))
                    .unwrap_or_default()
                    .to_owned();
                let tags: Vec<String> =
                    state.tags.keys().filter(|tag| **tag > last).take(2).cloned().collect();
                let mut page = answer(200, json!({"name": "shop/api", "tags": tags}).to_string());
                if let Some(last) = tags.get(1) {
                    let link = format!("<{path}?n=2&last={last}>; rel=\"next\"");
                    page.headers_mut().insert("link", link.parse().unwrap());
                }
                page
            }
            (_, "blobs") => match (&state.redirect, state.blobs.get(which)) {
                (Some(to), Some(_)) if !query.contains("signed") => {
                    let mut moved = answer(307, "");
                    moved
                        .headers_mut()
                        .insert("location", format!("{to}{path}?signed=canary").parse().unwrap());
                    moved
                }
                (_, Some(bytes)) => answer(200, bytes.clone()),
                _ => unknown(),
            },
            ("PUT", "manifests") => {
                let media_type = headers["content-type"].to_str().unwrap().to_owned();
                drop(state);
                let digest = self.put(which, &media_type, String::from_utf8(body.to_vec()).unwrap());
                let mut stored = answer(201, "");
                stored.headers_mut().insert("docker-content-digest", digest.parse().unwrap());
                stored
            }
            ("DELETE", "manifests") if !state.deletes => answer(
                405,
                r#"{"errors":[{"code":"UNSUPPORTED","message":"The operation is unsupported."}]}"#,
            ),
            ("DELETE", "manifests") => {
                state.tags.retain(|_, digest| digest != which);
                if state.manifests.remove(which).is_some() { answer(202, "") } else { unknown() }
            }
            ("GET" | "HEAD", "manifests") => {
                let digest = state.tags.get(which).cloned().unwrap_or_else(|| which.to_owned());
                let Some((media_type, bytes)) = state.manifests.get(&digest) else { return unknown() };
                let mut found = answer(200, if method == "HEAD" { Bytes::new() } else { bytes.clone() });
                found.headers_mut().insert("content-type", media_type.parse().unwrap());
                if !state.silent {
                    found.headers_mut().insert("docker-content-digest", digest.parse().unwrap());
                }
                found
            }
            _ => answer(405, ""),
        }
    }
}

#[async_trait]
impl Dial for FakeRegistry {
    async fn dial(&self, _to: &Uri) -> io::Result<Wire> {
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        let registry = self.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request| registry.clone().answer(request));
            let _ = http1::Builder::new().serve_connection(TokioIo::new(theirs), service).await;
        });
        Ok(Wire::new(ours))
    }
}
