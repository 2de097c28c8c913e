//! The connection to one account and region.

use std::{fmt, sync::Arc, time::Duration};

use aws_config::{BehaviorVersion, Region, SdkConfig, retry::RetryConfig, timeout::TimeoutConfig};
use aws_credential_types::{Credentials, provider::SharedCredentialsProvider};
use aws_smithy_runtime_api::client::{
    http::SharedHttpClient, stalled_stream_protection::StalledStreamProtectionConfig,
};
use deploy_core::{
    Error, ErrorKind, Result,
    clock::{Clock, SystemClock},
};
use serde::{Deserialize, Serialize};
use tokio::sync::OnceCell;

use crate::{
    sdk,
    shared::{Limit, Shared},
    time::SdkClock,
};

/// How long connecting may take.
const CONNECT: Duration = Duration::from_secs(3);
/// How long one attempt may take, from signing to the last byte: below a permit's window.
const ATTEMPT: Duration = Duration::from_secs(10);

/// Which account and region; everything else is found as the AWS CLI finds it. Holds no secrets.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AwsConfig {
    /// The region; else `AWS_REGION` or the profile's.
    pub region: Option<String>,
    /// The profile; else `AWS_PROFILE` or `default`.
    pub profile: Option<String>,
    /// The account that the credentials must belong to; checked at the first call.
    pub account: Option<String>,
}

/// Who the credentials belong to.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Caller {
    /// The account's twelve digits.
    pub account: String,
    /// The ARN of user or role.
    pub arn: String,
}

/// A connection to one account and region: credentials, time, identity. Cheap to clone.
#[derive(Clone)]
pub struct Aws(Arc<Inner>);

struct Inner {
    sdk: SdkConfig,
    region: String,
    expected_account: Option<String>,
    clock: Arc<dyn Clock>,
    loopback: bool,
    caller: OnceCell<Caller>,
    shared: Arc<Shared>,
}

impl fmt::Debug for Aws {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Aws({}{})", self.0.region, if self.0.loopback { ", loopback" } else { "" })
    }
}

impl Aws {
    /// Credentials, region and endpoint as the AWS CLI finds them: variables, profiles, SSO, container and instance
    /// roles, `AWS_ENDPOINT_URL`. Makes no API call of AWS's own; the first use does.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] if no region is configured.
    pub async fn from_env() -> Result<Self> {
        Self::load(&AwsConfig::default(), SystemClock::shared()).await
    }

    /// As [`from_env`](Self::from_env), with what the configuration says, on this clock. Connections with the same
    /// profile, region and endpoint on the same clock ([`SystemClock::shared`]) share one rate budget.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] if no region is configured.
    pub async fn load(config: &AwsConfig, clock: Arc<dyn Clock>) -> Result<Self> {
        let time = SdkClock(Arc::clone(&clock));
        let mut loader = aws_config::defaults(BehaviorVersion::latest())
            .retry_config(RetryConfig::disabled())
            .disable_clock_skew_correction(true)
            .timeout_config(timeouts())
            // Answers are small, and the attempt's own limit covers them.
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .time_source(time.clone())
            .sleep_impl(time);
        if let Some(region) = &config.region {
            loader = loader.region(Region::new(region.clone()));
        }
        if let Some(profile) = &config.profile {
            loader = loader.profile_name(profile.clone());
        }
        let sdk = Box::pin(loader.load()).await;
        let loopback = sdk.endpoint_url().is_some_and(is_loopback);
        let owner = config.profile.as_deref().or(config.account.as_deref()).unwrap_or_default();
        let region = sdk.region().map(ToString::to_string).unwrap_or_default();
        let shared = Shared::of(owner, &region, sdk.endpoint_url().unwrap_or_default(), &clock);
        Self::of(sdk, config.account.clone(), clock, loopback, shared)
    }

    /// A connection through this HTTP client, with fixed test credentials: for emulators in process.
    ///
    /// # Errors
    /// None today.
    #[doc(hidden)]
    pub fn in_process(
        http: SharedHttpClient,
        endpoint: &str,
        region: &str,
        clock: Arc<dyn Clock>,
    ) -> Result<Self> {
        let time = SdkClock(Arc::clone(&clock));
        let credentials = Credentials::new("AKIDEMULATOR", "emulator", None, None, "emulator");
        let sdk = SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .http_client(http)
            .endpoint_url(endpoint)
            .region(Region::new(region.to_owned()))
            .credentials_provider(SharedCredentialsProvider::new(credentials))
            .retry_config(RetryConfig::disabled())
            .disable_clock_skew_correction(true)
            .timeout_config(timeouts())
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .time_source(time.clone())
            .sleep_impl(aws_smithy_async::rt::sleep::SharedAsyncSleep::new(time))
            .build();
        // Such an emulator plays AWS itself, in virtual time: with AWS's bounds for what arrives late.
        let shared = Shared::alone(Arc::clone(&clock));
        Self::of(sdk, None, clock, false, shared)
    }

    fn of(
        sdk: SdkConfig,
        account: Option<String>,
        clock: Arc<dyn Clock>,
        loopback: bool,
        shared: Arc<Shared>,
    ) -> Result<Self> {
        let Some(region) = sdk.region().map(ToString::to_string) else {
            return Err(Error::new(ErrorKind::Invalid, "no AWS region is configured")
                .next("set `region` in deploy.toml, AWS_REGION, or the profile's region"));
        };
        let caller = OnceCell::new();
        Ok(Self(Arc::new(Inner { sdk, region, expected_account: account, clock, loopback, caller, shared })))
    }

    /// The region.
    #[must_use]
    pub fn region(&self) -> &str {
        &self.0.region
    }

    /// The clock that everything here reads.
    #[must_use]
    pub fn clock(&self) -> Arc<dyn Clock> {
        Arc::clone(&self.0.clock)
    }

    /// Whether the endpoint is this machine: an emulator, where nothing arrives late.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        self.0.loopback
    }

    /// The endpoint, where it is not AWS's own: variables or the profile name it. What is reached there is another
    /// thing, even if it has the same name.
    #[must_use]
    pub fn endpoint(&self) -> Option<&str> {
        self.0.sdk.endpoint_url()
    }

    /// Who the credentials belong to. One STS call, the first time; cached for the life of the connection.
    ///
    /// # Errors
    /// What STS says; [`ErrorKind::Refused`] if the account is not the configured one.
    pub async fn caller(&self) -> Result<&Caller> {
        self.0.caller.get_or_try_init(|| self.ask_caller()).await
    }

    async fn ask_caller(&self) -> Result<Caller> {
        let client = aws_sdk_sts::Client::new(&self.0.sdk);
        let answer = sdk::read(&*self.0.clock, || async {
            let answer = Box::pin(client.get_caller_identity().send()).await;
            answer.map_err(|error| sdk::map("GetCallerIdentity", sdk::Sent::Read, error))
        })
        .await?;
        let (Some(account), Some(arn)) = (answer.account, answer.arn) else {
            return Err(Error::new(ErrorKind::Malformed, "GetCallerIdentity: the answer names no account"));
        };
        match &self.0.expected_account {
            Some(expected) if *expected != account => {
                let text = format!("the credentials are of account {account} ({arn}), not of {expected}");
                Err(Error::new(ErrorKind::Refused, text)
                    .next("use the right profile, or correct `account` in deploy.toml"))
            }
            _ => Ok(Caller { account, arn }),
        }
    }

    /// Takes a token of a published limit, and waits until there is one. To be called before each call that the limit
    /// is for; before a mutation's permit is asked for, because a permit does not wait.
    pub async fn pace(&self, limit: &Limit) {
        self.0.shared.pace(limit).await;
    }

    /// Tells the budget what a call ended with.
    #[must_use]
    pub fn noted(&self, limit: &Limit, error: Error) -> Error {
        self.0.shared.noted(limit, error)
    }

    /// The one value of this type that all connections which share a rate budget have.
    #[must_use]
    pub fn shared<T: std::any::Any + Send + Sync + Default>(&self) -> Arc<T> {
        self.0.shared.part()
    }

    /// What SDK clients are made from.
    #[doc(hidden)]
    #[must_use]
    pub fn sdk_config(&self) -> &SdkConfig {
        &self.0.sdk
    }
}

pub(crate) fn timeouts() -> TimeoutConfig {
    TimeoutConfig::builder().connect_timeout(CONNECT).operation_attempt_timeout(ATTEMPT).build()
}

fn is_loopback(endpoint: &str) -> bool {
    let Ok(uri) = endpoint.parse::<http::Uri>() else { return false };
    let Some(host) = uri.host() else { return false };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_is_loopback() {
        for yes in ["http://127.0.0.1:4566", "http://localhost:1", "http://[::1]:80", "https://127.9.9.9/x"] {
            assert!(is_loopback(yes), "{yes}");
        }
        for no in [
            "https://ecs.us-east-1.amazonaws.com",
            "http://10.0.0.1",
            "http://localhost.example.com",
            "nonsense",
        ] {
            assert!(!is_loopback(no), "{no}");
        }
    }
}
