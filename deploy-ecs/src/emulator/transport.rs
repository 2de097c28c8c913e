//! The seam at which the AWS SDK hands over its requests: in process, in the runtime's time.

use std::io;
use std::time::Duration;

use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_runtime_api::http::StatusCode;
use aws_smithy_types::body::SdkBody;

use super::handle::{Broken, Emulator};
use super::wire::{WireAnswer, WireRequest};

#[derive(Clone, Debug)]
pub(super) struct InProcess {
    emulator: Emulator,
    read_timeout: Option<Duration>,
}

impl InProcess {
    pub(super) fn new(emulator: Emulator) -> Self {
        Self { emulator, read_timeout: None }
    }
}

impl HttpClient for InProcess {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        _components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        let read_timeout = settings.read_timeout();
        SharedHttpConnector::new(Self { emulator: self.emulator.clone(), read_timeout })
    }
}

impl HttpConnector for InProcess {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let Self { emulator, read_timeout } = self.clone();
        HttpConnectorFuture::new(async move {
            let header = |name: &str| request.headers().get(name).map(str::to_owned);
            let wire = WireRequest {
                target: header("x-amz-target"),
                authorization: header("authorization"),
                agent: header("user-agent"),
                date: header("x-amz-date"),
                path: request.uri().parse::<http::Uri>().map(|uri| uri.path().to_owned()).unwrap_or_default(),
                host: request
                    .uri()
                    .parse::<http::Uri>()
                    .ok()
                    .and_then(|uri| Some(uri.authority()?.to_string())),
                query: request.uri().split_once('?').map(|(_, query)| query.to_owned()),
                // Every request of these protocols is in memory; a stream would be no request of theirs.
                body: request.body().bytes().unwrap_or_default().to_vec(),
            };
            let exchange = emulator.exchange(wire);
            let answer = match read_timeout {
                // The SDK leaves this limit to the connector.
                Some(limit) => match tokio::time::timeout(limit, exchange).await {
                    Ok(answer) => answer,
                    Err(late) => return Err(ConnectorError::timeout(late.into())),
                },
                None => exchange.await,
            };
            match answer {
                Ok(answer) => response(answer),
                Err(Broken::Refused) => {
                    let error = io::Error::new(io::ErrorKind::ConnectionRefused, "connection refused");
                    Err(ConnectorError::io(error.into()).never_connected())
                }
                Err(Broken::Reset) => {
                    let error = io::Error::new(io::ErrorKind::ConnectionReset, "connection reset by peer");
                    Err(ConnectorError::io(error.into()))
                }
            }
        })
    }
}

fn response(answer: WireAnswer) -> Result<HttpResponse, ConnectorError> {
    let status = StatusCode::try_from(answer.status).map_err(|e| ConnectorError::user(e.into()))?;
    let mut response = HttpResponse::new(status, SdkBody::from(answer.body));
    let headers = response.headers_mut();
    headers.insert("content-type", answer.content_type);
    headers.insert("x-amzn-requestid", "00000000-0000-4000-8000-000000000000");
    if let Some(code) = answer.error_code {
        headers.insert("x-amzn-errortype", code);
    }
    Ok(response)
}
