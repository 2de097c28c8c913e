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
                let refused =
                    ErrorMetadata::builder().message(format!("status {}", response.status().as_u16()));
                Err(OrchestratorError::operation(refused.build()))
            })
            .build();
        Box::pin(operation.invoke(path)).await.map_err(|error| sdk::map(doing, sdk::Sent::Read, error))
    }
}
