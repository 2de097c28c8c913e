//! The Docker Engine: where it is, what it can do.

mod address;
mod error;
mod transport;

pub(super) use error::{cannot, is_disk_full, of_text};
pub(super) use transport::Lifeline;

use std::{fmt, sync::Arc, time::Duration};

use bollard::{ClientVersion, Docker};
use bytes::Bytes;
use http::{Request, StatusCode, Uri, request::Builder};
use http_body_util::Empty;
use hyper::{client::conn::http1, upgrade::Upgraded};
use hyper_util::rt::TokioIo;
use tokio::sync::OnceCell;

use super::{event::BuilderKind, redact::Redactor, wire::Dial};
use crate::{
    clock::{Clock, SystemClock},
    error::{BoxError, Error, ErrorKind, Result, Retry},
    task,
};
use address::Address;

/// How long the Engine may take to say who it is.
const HELLO_TIMEOUT: Duration = Duration::from_secs(10);
/// What the client library's own clock is set to, in seconds: a day. Builds have the deadlines that their callers give them.
const NO_TIMEOUT: u64 = 24 * 60 * 60;
/// The newest version of the API that is spoken here, and the first with BuildKit (18.09).
/// <https://docs.docker.com/reference/api/engine/version-history/>
const NEWEST_API: (usize, usize) = (1, 47);
const FIRST_BUILDKIT_API: (usize, usize) = (1, 39);

/// A Docker Engine. Cheap to clone; connects when it is used.
#[derive(Clone)]
pub struct Engine(Arc<Inner>);

struct Inner {
    address: String,
    dial: Arc<dyn Dial>,
    clock: Arc<dyn Clock>,
    facts: OnceCell<Facts>,
}

/// What an Engine says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Facts {
    api: (usize, usize),
    pub(super) builder: BuilderKind,
}

impl Engine {
    /// The Engine that the `docker` command would use: `DOCKER_HOST`, else the context of `DOCKER_CONTEXT` or of Docker's
    /// configuration, else the socket of this machine. Reads some small files, at once; nothing is connected yet.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] if the address is none, [`ErrorKind::Unsupported`] for `ssh://` and `npipe://`,
    /// [`ErrorKind::NotFound`] for a context or a certificate that is not there.
    pub fn from_env() -> Result<Self> {
        Ok(Self::of(Address::from_env()?))
    }

    /// The Engine at an address: `unix:///var/run/docker.sock` or `tcp://127.0.0.1:2375`. With TLS if `DOCKER_TLS_VERIFY`
    /// is set, as for the `docker` command.
    ///
    /// # Errors
    /// As [`from_env`](Self::from_env).
    pub fn at(address: &str) -> Result<Self> {
        Ok(Self::of(Address::parse(address)?))
    }

    fn of(Address { shown, dial }: Address) -> Self {
        Self::over(shown, dial, SystemClock::shared())
    }

    pub(super) fn over(address: String, dial: Arc<dyn Dial>, clock: Arc<dyn Clock>) -> Self {
        Self(Arc::new(Inner { address, dial, clock, facts: OnceCell::new() }))
    }

    /// Another clock: virtual time in tests.
    #[must_use]
    pub fn clock(self, clock: Arc<dyn Clock>) -> Self {
        Self::over(self.0.address.clone(), Arc::clone(&self.0.dial), clock)
    }

    /// Which builder it has: BuildKit from Docker 18.09 on, for Linux images. Two calls, the first time.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] if it cannot be reached, [`ErrorKind::PermissionDenied`] if its socket may not be used,
    /// [`ErrorKind::Malformed`] if it is no Docker Engine.
    pub async fn builder(&self) -> Result<BuilderKind> {
        Ok(self.facts().await?.builder)
    }

    pub(super) fn time(&self) -> &Arc<dyn Clock> {
        &self.0.clock
    }

    /// A client whose connections live as long as the lifeline, those that the client library keeps for itself included.
    pub(super) async fn client(&self) -> Result<(Docker, Lifeline)> {
        let facts = self.facts().await?;
        self.client_of(facts.api)
    }

    fn client_of(&self, (major_version, minor_version): (usize, usize)) -> Result<(Docker, Lifeline)> {
        let lifeline = Lifeline::new();
        let transport = transport::transport(Arc::clone(&self.0.dial), &lifeline);
        let version = ClientVersion { major_version, minor_version };
        let client =
            Docker::connect_with_custom_transport(transport, Some("http://docker"), NO_TIMEOUT, &version);
        let client = client.map_err(|error| {
            Error::new(ErrorKind::Unexpected, "no client for the Docker Engine can be made").because(error)
        })?;
        Ok((client, lifeline))
    }

    /// A connection that the Engine turns around: after a POST to this path it is the Engine's to ask.
    pub(super) async fn upgraded(
        &self,
        lifeline: &Lifeline,
        path: &str,
        protocol: &str,
        headers: impl FnOnce(Builder) -> Builder,
    ) -> Result<Upgraded> {
        let broken = |error: BoxError| {
            let text = format!("the Docker Engine at {} broke the connection", self.0.address);
            Error::new(ErrorKind::Unavailable, text).retry_as(Retry::Always).because(error)
        };
        let wire = self
            .0
            .dial
            .dial(&Uri::from_static("http://docker/"))
            .await
            .map_err(|error| broken(error.into()))?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(wire.until(lifeline.end())))
            .await
            .map_err(|error| broken(error.into()))?;
        task::spawn(async move {
            // How it ends is seen by whoever waits for the answer.
            let _ = connection.with_upgrades().await;
        });
        let request = Request::post(path).header("Host", "docker");
        let request = request.header("Connection", "Upgrade").header("Upgrade", protocol);
        let request = headers(request).body(Empty::<Bytes>::new()).map_err(|error| {
            Error::new(ErrorKind::Unexpected, format!("the request for {path} cannot be written"))
                .because(error)
        })?;
        let answer = sender.send_request(request).await.map_err(|error| broken(error.into()))?;
        if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
            let text =
                format!("the Docker Engine at {} answers {} to {path}", self.0.address, answer.status());
            return Err(Error::new(ErrorKind::Unsupported, text)
                .next("is it behind a proxy that cannot switch protocols?"));
        }
        hyper::upgrade::on(answer).await.map_err(|error| broken(error.into()))
    }

    async fn facts(&self) -> Result<Facts> {
        self.0.facts.get_or_try_init(|| self.ask()).await.copied()
    }

    async fn ask(&self) -> Result<Facts> {
        let (client, _lifeline) = self.client_of(NEWEST_API)?;
        let asking = async {
            let client = client.negotiate_version().await?;
            let version = client.version().await?;
            let api = client.client_version();
            Ok::<_, bollard::errors::Error>((version, (api.major_version, api.minor_version)))
        };
        let (version, api) = tokio::select! {
            answer = asking => answer.map_err(|error| self.unreachable(error))?,
            () = self.0.clock.sleep(HELLO_TIMEOUT) => {
                let text = format!("the Docker Engine at {} does not answer", self.0.address);
                return Err(Error::new(ErrorKind::TimedOut, text).next("docker version tells more"));
            }
        };
        let named = |component: &bollard::models::SystemVersionComponents| component.name.contains("Podman");
        let podman = version.components.iter().flatten().any(named);
        let linux = version.os.as_deref() == Some("linux");
        let buildkit = linux && !podman && api >= FIRST_BUILDKIT_API;
        Ok(Facts { api, builder: if buildkit { BuilderKind::BuildKit } else { BuilderKind::Classic } })
    }

    fn unreachable(&self, error: bollard::errors::Error) -> Error {
        cannot(&format!("ask the Docker Engine at {}", self.0.address), error, &Redactor::default())
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Engine({})", self.0.address)
    }
}
