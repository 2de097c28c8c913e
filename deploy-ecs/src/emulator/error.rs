//! The errors that AWS answers with.

use serde::{Deserialize, Serialize};

/// An error answer of AWS: what goes on the wire, before a protocol has given it a shape.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiError {
    /// The HTTP status.
    pub status: u16,
    /// The error code, such as `ServiceNotFoundException`.
    pub code: String,
    /// The text for people.
    pub message: String,
    /// What a `ConflictException` names: the resources that are there already.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resource_ids: Vec<String>,
}

impl ApiError {
    /// A client error: HTTP 400, which is what ECS uses for everything that is the caller's fault.
    pub fn client(code: &str, message: impl Into<String>) -> Self {
        Self { status: 400, code: code.to_owned(), message: message.into(), resource_ids: Vec::new() }
    }

    /// A client token that was used for something else.
    pub(super) fn conflict(message: &str, resource_ids: Vec<String>) -> Self {
        Self { resource_ids, ..Self::client("ConflictException", message) }
    }

    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self::client("InvalidParameterException", message)
    }

    pub(super) fn client_exception(message: impl Into<String>) -> Self {
        Self::client("ClientException", message)
    }

    pub(super) fn cluster_not_found() -> Self {
        Self::client("ClusterNotFoundException", "Cluster not found.")
    }

    pub(super) fn service_not_found() -> Self {
        Self::client("ServiceNotFoundException", "Service not found.")
    }

    pub(super) fn service_not_active() -> Self {
        Self::client("ServiceNotActiveException", "Service was not ACTIVE.")
    }

    pub(super) fn throttled() -> Self {
        Self::client("ThrottlingException", "Rate exceeded")
    }

    pub(super) fn expired_token() -> Self {
        Self::client("ExpiredTokenException", "The security token included in the request is expired")
    }

    pub(super) fn server() -> Self {
        Self {
            status: 500,
            ..Self::client("ServerException", "Service Unavailable. Please try again later.")
        }
    }

    pub(super) fn denied(user: &str, action: &str) -> Self {
        // ECS answers a refused call with 400; the fault asks for the 403 of the other services, and the SDKs
        // read the code, not the number.
        let message = format!("User: {user} is not authorized to perform: {action}");
        Self { status: 403, ..Self::client("AccessDeniedException", message) }
    }

    pub(super) fn unknown_operation(action: &str) -> Self {
        Self::client("UnknownOperationException", format!("Operation {action} is not known here."))
    }

    pub(super) fn serialization(message: impl Into<String>) -> Self {
        Self::client("SerializationException", message)
    }
}

impl std::fmt::Display for ApiError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({}): {}", self.code, self.status, self.message)
    }
}

impl std::error::Error for ApiError {}
