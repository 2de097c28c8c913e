//! A GET of an address that AWS itself handed out, through the connection's own HTTP client.

use aws_config::BehaviorVersion;
use aws_smithy_runtime::client::orchestrator::operation::Operation;
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, OrchestratorError};
use aws_smithy_types::error::ErrorMetadata;
use deploy_core::{Error, ErrorKind, Result};
use http::Uri;

use crate::{Aws, connection::timeouts, sdk};

impl Aws {
    /// Gets it once, unsigned. The address carries its own signature, so no error names it.
    ///
    /// # Errors
    /// [`ErrorKind::Malformed`] if it is no address; else what the server and the way to it say.
    pub(crate) async fn get(&self, doing: &str, address: &str) -> Result<Vec<u8>> {
        let no_address = || Error::new(ErrorKind::Malformed, format!("{doing}: AWS named no address of it"));
        let uri: Uri = address.parse().map_err(|_| no_address())?;
        let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return Err(no_address());
        };
        let path = uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
        let mut operation = Operation::builder()
            .service_name("download")
            .operation_name("Get")
            .behavior_version(BehaviorVersion::latest())
            .endpoint_url(&format!("{scheme}://{authority}"))
            .no_auth()
            .no_retry()
            .timeout_config(timeouts());
        if let Some(http) = self.sdk_config().http_client() {
            operation = operation.http_client(http);
        }
        if let Some(time) = self.sdk_config().time_source() {
            operation = operation.time_source(time);
        }
        if let Some(sleep) = self.sdk_config().sleep_impl() {
            operation = operation.sleep_impl(sleep);
        }
        let operation = operation
            .serializer(|path: String| Ok(HttpRequest::get(path)?))
            .deserializer(|response| {
                if response.status().is_success() {
                    return Ok(response.body().bytes().unwrap_or_default().to_vec());
                }
                // Its status tells; the page with it is for people.
                let refused = match response.status().as_u16() {
                    401 | 403 => ErrorMetadata::builder().code("AccessDenied"),
                    404 | 410 => ErrorMetadata::builder().code("NotFound"),
                    _ => ErrorMetadata::builder(),
                };
                Err(OrchestratorError::operation(refused.build()))
            })
            .build();
        Box::pin(operation.invoke(path)).await.map_err(|error| sdk::map(doing, sdk::Sent::Read, error))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use aws_smithy_runtime_api::{
        client::{
            http::{
                HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient,
                SharedHttpConnector,
            },
            orchestrator::HttpResponse,
            result::ConnectorError,
            runtime_components::RuntimeComponents,
        },
        http::StatusCode,
    };
    use aws_smithy_types::body::SdkBody;
    use deploy_core::{clock::TokioClock, model::Timestamp};

    use super::*;

    /// Answers with a status, or not at all; and keeps what it was asked.
    #[derive(Debug, Clone, Default)]
    struct Server {
        status: Option<u16>,
        asked: Arc<Mutex<Vec<String>>>,
    }

    impl HttpClient for Server {
        fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
            SharedHttpConnector::new(self.clone())
        }
    }

    impl HttpConnector for Server {
        fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
            let headers: Vec<_> = request.headers().iter().map(|(name, _)| name.to_owned()).collect();
            self.asked.lock().unwrap().push(format!("{} {} {headers:?}", request.method(), request.uri()));
            HttpConnectorFuture::ready(match self.status {
                Some(status) => {
                    let status = StatusCode::try_from(status).unwrap();
                    Ok(HttpResponse::new(status, SdkBody::from("content")))
                }
                None => Err(ConnectorError::io("broken pipe".into())),
            })
        }
    }

    fn aws(server: &Server) -> Aws {
        let clock = Arc::new(TokioClock::starting_at(Timestamp::from_millis(1_800_000_000_000)));
        let http = SharedHttpClient::new(server.clone());
        Aws::in_process(http, "http://emulator", "us-east-1", clock).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn the_address_is_asked_as_it_is_and_never_shown() {
        let address = "https://bucket.example.com/layers/a%2Fb?X-Amz-Signature=hidden&b=%20";
        for (status, kind) in [
            (Some(200), None),
            (Some(403), Some(ErrorKind::PermissionDenied)),
            (Some(404), Some(ErrorKind::NotFound)),
            (Some(503), Some(ErrorKind::Unavailable)),
            (None, Some(ErrorKind::Unavailable)),
        ] {
            let server = Server { status, ..Server::default() };
            let got = aws(&server).get("the configuration", address).await;
            let asked = server.asked.lock().unwrap().clone();
            assert_eq!(asked.len(), 1, "once: {asked:?}");
            assert!(asked[0].starts_with(&format!("GET {address} ")), "{asked:?}");
            assert!(!asked[0].contains("authorization"), "{asked:?}");
            match (got, kind) {
                (Ok(bytes), None) => assert_eq!(bytes, b"content"),
                (Err(error), Some(kind)) => {
                    assert_eq!(error.kind(), kind, "{status:?}: {error}");
                    assert!(!format!("{error} {error:?}").contains("hidden"), "{error:?}");
                }
                (got, _) => panic!("{status:?}: {got:?}"),
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_no_address_is_not_asked() {
        let server = Server { status: Some(200), ..Server::default() };
        for odd in ["", "/layers/a", "nonsense", "http://"] {
            let error = aws(&server).get("the configuration", odd).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Malformed, "{odd}");
        }
        assert!(server.asked.lock().unwrap().is_empty());
    }
}
