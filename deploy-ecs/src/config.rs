//! The `ecs` keys of deploy.toml.

use deploy_aws::AwsConfig;
use serde::{Deserialize, Serialize};

/// The table `ecs` of an application and environment. Holds no secrets.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EcsConfig {
    /// The account that everything must be in.
    pub account: Option<String>,
    /// The region; else as the AWS CLI finds it.
    pub region: Option<String>,
    /// The profile; else as the AWS CLI finds it.
    pub profile: Option<String>,
    /// The cluster's name or ARN.
    pub cluster: Option<String>,
    /// The service's name.
    pub service: Option<String>,
    /// The task definition family that the service runs.
    pub family: Option<String>,
    /// Two tasks of the service must never run at the same time.
    pub singleton: bool,
}

impl EcsConfig {
    /// The part that says which account and region.
    #[must_use]
    pub fn aws(&self) -> AwsConfig {
        AwsConfig {
            region: self.region.clone(),
            profile: self.profile.clone(),
            account: self.account.clone(),
        }
    }
}
