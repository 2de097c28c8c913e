//! The whole way, against an Engine and a registry that are played in process and in virtual time.

mod builds;
mod fake_engine;
mod fake_registry;
#[cfg(feature = "memory")]
mod needed;
mod pushes;
mod registries;
mod verification;

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use http_body_util::{BodyExt, StreamBody, combinators::UnsyncBoxBody};
use hyper::{Response, body::Frame};

use fake_engine::FakeEngine;
use fake_registry::FakeRegistry;

use super::{
    Build, BuildContext, Engine, ImageEventStream, ImageEvents, ImagePlatform, Login, Registry,
    RegistryLogins, Repository,
};
use crate::{
    clock::{Clock, TokioClock},
    context::Secrets,
    error::{Error, ErrorKind, Result},
    model::{Secret, SecretRef, Timestamp},
};

/// What must be seen nowhere. Its base64 has both characters that base64 for URLs writes otherwise.
const PASSWORD: &str = "canary-password-~~~???>>>";
const BUILD_SECRET: &str = "canary-build-secret";

type Body = UnsyncBoxBody<Bytes, std::io::Error>;

fn body(text: impl Into<Bytes>) -> Body {
    let frame = Ok(Frame::data(text.into()));
    BodyExt::boxed_unsync(StreamBody::new(futures_util::stream::iter([frame])))
}

fn answer(status: u16, text: impl Into<Bytes>) -> Response<Body> {
    let mut answer = Response::new(body(text));
    *answer.status_mut() = status.try_into().unwrap();
    answer
}

/// Logins that are counted and can be wrong.
#[derive(Debug, Clone)]
struct Logins(Arc<Mutex<Vec<Option<Login>>>>);

impl Logins {
    /// The last one is given for ever; the others until they are forgotten.
    fn new(logins: impl IntoIterator<Item = Option<Login>>) -> Self {
        Self(Arc::new(Mutex::new(logins.into_iter().collect())))
    }

    fn right() -> Self {
        Self::new([Some(Login::password("bob", PASSWORD))])
    }

    fn left(&self) -> usize {
        self.0.lock().unwrap().len()
    }
}

#[async_trait]
impl RegistryLogins for Logins {
    async fn login(&self, registry: &str) -> Result<Option<Login>> {
        Ok(if registry == "docker.io" { None } else { self.0.lock().unwrap()[0].clone() })
    }

    fn forget(&self, _registry: &str) {
        let mut logins = self.0.lock().unwrap();
        if logins.len() > 1 {
            logins.remove(0);
        }
    }
}

#[derive(Debug)]
struct Canary;

#[async_trait]
impl Secrets for Canary {
    async fn resolve(&self, which: &SecretRef) -> Result<Secret> {
        match which {
            SecretRef::Resolver(_) => Ok(Secret::new(BUILD_SECRET)),
            _ => Err(Error::new(ErrorKind::NotFound, "no such secret")),
        }
    }
}

/// All that a test needs, with a folder to build.
struct Bench {
    fake_engine: FakeEngine,
    fake_registry: FakeRegistry,
    engine: Engine,
    registry: Registry,
    logins: Logins,
    clock: TokioClock,
    events: Option<ImageEvents>,
    stream: ImageEventStream,
    folder: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        Self::with(Logins::right())
    }

    fn with(logins: Logins) -> Self {
        let clock = TokioClock::starting_at(Timestamp::from_millis(1_795_227_187_402));
        let shared: Arc<dyn Clock> = Arc::new(clock.clone());
        let fake_registry = FakeRegistry::new();
        let fake_engine = FakeEngine::new(fake_registry.clone());
        let engine = Engine::over("fake".into(), Arc::new(fake_engine.clone()), Arc::clone(&shared));
        let registry = Registry::over(Arc::new(fake_registry.clone()), Arc::new(logins.clone()), shared);
        let (events, stream) = ImageEvents::channel();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("Dockerfile"), "FROM 127.0.0.1:5000/base\nCOPY a /a\n").unwrap();
        std::fs::write(folder.path().join("a"), "some text").unwrap();
        Self {
            fake_engine,
            fake_registry,
            engine,
            registry,
            logins,
            clock,
            events: Some(events),
            stream,
            folder,
        }
    }

    fn build(&self) -> Build {
        Build::new(repository(), self.folder.path(), commit())
    }

    fn cx(&self) -> BuildContext {
        let events = self.events.clone().unwrap();
        BuildContext { logins: Arc::new(self.logins.clone()), secrets: Arc::new(Canary), events }
    }

    /// Everything that was said to whoever listens.
    async fn heard(mut self) -> String {
        self.events = None;
        let mut text = String::new();
        while let Some(event) = self.stream.next().await {
            text.push_str(&format!("{event:?}\n"));
        }
        text
    }
}

fn repository() -> Repository {
    Repository::parse("127.0.0.1:5000/shop/api").unwrap()
}

fn commit() -> String {
    "9f2c1ab0".repeat(5)
}

fn platform(text: &str) -> ImagePlatform {
    ImagePlatform::parse(text).unwrap()
}

/// No secret is in a text that somebody may see.
fn assert_clean(text: &str) {
    assert!(!text.contains("canary"), "a secret is shown: {text}");
}
