//! The session of a BuildKit build: what the builder asks its client for while it runs. Over a connection that the client
//! opens and the Engine turns around, in gRPC. <https://github.com/moby/buildkit/tree/master/session>
//!
//! bollard 0.21 opens one as well, but with nothing in it but logins that have to be known before, and it never hangs up. So it
//! is built without its `buildkit` feature, and this is the session.

use std::{collections::BTreeMap, fmt, sync::Arc};

use bollard_buildkit_proto::{
    health::{
        HealthCheckRequest, HealthCheckResponse, HealthListRequest, HealthListResponse,
        health_check_response::ServingStatus,
        health_server::{Health, HealthServer},
    },
    moby::{
        buildkit::secrets::v1::{
            GetSecretRequest, GetSecretResponse,
            secrets_server::{Secrets as SecretsService, SecretsServer},
        },
        filesync::v1::{
            CredentialsRequest, CredentialsResponse, FetchTokenRequest, FetchTokenResponse,
            GetTokenAuthorityRequest, GetTokenAuthorityResponse, VerifyTokenAuthorityRequest,
            VerifyTokenAuthorityResponse,
            auth_server::{Auth, AuthServer},
        },
    },
};
use hyper::{Request, body::Incoming, server::conn::http2, service::service_fn};
use hyper_util::rt::TokioExecutor;
use tonic::{Response, Status, codegen::Service};

use crate::{
    context::Secrets,
    error::{Error, ErrorKind, Result},
    image::{
        engine::{Engine, Lifeline},
        logins::{Login, RegistryLogins},
        redact::Redactor,
    },
    model::{Secret, SecretRef},
    task,
};

/// The largest secret that BuildKit takes: 500 KiB.
const SECRET_BYTES_MAX: usize = 500 * 1024;
/// The calls that are answered, as the Engine wants them named beforehand.
const METHODS: [&str; 2] =
    ["/moby.buildkit.secrets.v1.Secrets/GetSecret", "/moby.filesync.v1.Auth/credentials"];

/// The values of a build's secrets, by id. In memory alone.
pub(super) struct SecretValues(BTreeMap<String, Secret>);

impl SecretValues {
    /// Resolves all secrets of a build before it begins: one that is missing is found out at once.
    pub(super) async fn resolve(
        wanted: &BTreeMap<String, SecretRef>,
        secrets: &dyn Secrets,
        redactor: &Redactor,
    ) -> Result<Self> {
        let mut values = BTreeMap::new();
        for (id, reference) in wanted {
            let shown = id.escape_debug();
            let secret = secrets.resolve(reference).await;
            let secret = secret.map_err(|error| error.context(format!("the build secret {shown}")))?;
            if secret.expose().len() > SECRET_BYTES_MAX {
                return Err(Error::new(
                    ErrorKind::Invalid,
                    format!("the build secret {shown} has more than 500 KiB"),
                ));
            }
            redactor.add(&secret);
            values.insert(id.clone(), secret);
        }
        Ok(Self(values))
    }
}

impl fmt::Debug for SecretValues {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretValues({:?})", self.0.keys().collect::<Vec<_>>())
    }
}

/// Opens the session of this name, and answers in it until the lifeline ends.
pub(super) async fn open(
    engine: &Engine,
    lifeline: &Lifeline,
    name: &str,
    values: SecretValues,
    logins: Arc<dyn RegistryLogins>,
    redactor: Redactor,
) -> Result<()> {
    let connection = engine.upgraded(lifeline, "/session", "h2c", |request| {
        let request = request
            .header("X-Docker-Expose-Session-Uuid", name)
            .header("X-Docker-Expose-Session-Name", "deploy-kit");
        METHODS
            .iter()
            .fold(request, |request, method| request.header("X-Docker-Expose-Session-Grpc-Method", *method))
    });
    let connection = connection.await?;
    let secrets = SecretsServer::new(values);
    let auth = AuthServer::new(Logins { logins, redactor });
    let health = HealthServer::new(Healthy);
    let service = service_fn(move |request: Request<Incoming>| {
        let (mut secrets, mut auth, mut health) = (secrets.clone(), auth.clone(), health.clone());
        async move {
            let path = request.uri().path();
            if path.starts_with("/moby.buildkit.secrets.v1.Secrets/") {
                secrets.call(request).await
            } else if path.starts_with("/moby.filesync.v1.Auth/") {
                auth.call(request).await
            } else {
                // It answers what it does not know with "not implemented", which is right for all others, too.
                health.call(request).await
            }
        }
    });
    task::spawn(async move {
        // The builder is the one to say that its session is gone.
        let _ = http2::Builder::new(TokioExecutor::new()).serve_connection(connection, service).await;
    });
    Ok(())
}

#[tonic::async_trait]
impl SecretsService for SecretValues {
    async fn get_secret(
        &self,
        request: tonic::Request<GetSecretRequest>,
    ) -> Result<Response<GetSecretResponse>, Status> {
        match self.0.get(&request.get_ref().id) {
            Some(secret) => {
                Ok(Response::new(GetSecretResponse { data: secret.expose().as_bytes().to_vec() }))
            }
            None => Err(Status::not_found("the build was given no secret of this id")),
        }
    }
}

/// Logins to the registries of base images, when they are needed.
struct Logins {
    logins: Arc<dyn RegistryLogins>,
    redactor: Redactor,
}

#[tonic::async_trait]
impl Auth for Logins {
    async fn credentials(
        &self,
        request: tonic::Request<CredentialsRequest>,
    ) -> Result<Response<CredentialsResponse>, Status> {
        let host = match request.get_ref().host.as_str() {
            "registry-1.docker.io" | "index.docker.io" => "docker.io",
            host => host,
        };
        let login = self.logins.login(host).await;
        let login = login.map_err(|error| Status::unauthenticated(self.redactor.line(error.message())))?;
        let mut credentials = CredentialsResponse::default();
        if let Some(login) = &login {
            login.redact(&self.redactor);
        }
        match login {
            Some(Login::Password { username, password }) => {
                credentials.username = username;
                credentials.secret = password.expose().to_owned();
            }
            Some(Login::IdentityToken(token)) => credentials.secret = token.expose().to_owned(),
            None => {}
        }
        Ok(Response::new(credentials))
    }

    // Without these the builder fetches its tokens itself, by the credentials above.

    async fn fetch_token(
        &self,
        _: tonic::Request<FetchTokenRequest>,
    ) -> Result<Response<FetchTokenResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn get_token_authority(
        &self,
        _: tonic::Request<GetTokenAuthorityRequest>,
    ) -> Result<Response<GetTokenAuthorityResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn verify_token_authority(
        &self,
        _: tonic::Request<VerifyTokenAuthorityRequest>,
    ) -> Result<Response<VerifyTokenAuthorityResponse>, Status> {
        Err(Status::unimplemented(""))
    }
}

/// The Engine asks again and again whether its client is there.
struct Healthy;

#[tonic::async_trait]
impl Health for Healthy {
    type WatchStream = futures_util::stream::Empty<Result<HealthCheckResponse, Status>>;

    async fn check(
        &self,
        _: tonic::Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        Ok(Response::new(HealthCheckResponse { status: ServingStatus::Serving.into() }))
    }

    async fn list(
        &self,
        _: tonic::Request<HealthListRequest>,
    ) -> Result<Response<HealthListResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn watch(
        &self,
        _: tonic::Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        Err(Status::unimplemented(""))
    }
}
