//! What an emulator is told at its start.

use serde::{Deserialize, Serialize};

use super::behaviour::Timings;

/// What a World is made with. Everything has a default.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct Config {
    /// The account that everything lives in.
    pub account: String,
    /// The region in every ARN.
    pub region: String,
    /// The time at which the emulator's clock starts, in milliseconds since the unix epoch.
    pub start_ms: i64,
    /// How many milliseconds of the emulator's time pass in one of the runtime's.
    pub speed: u32,
    /// From request to answer, in milliseconds of the emulator's time.
    pub latency_ms: i64,
    /// The seed of all its randomness.
    pub seed: u64,
    /// Whether the published throttling buckets apply.
    pub throttling: bool,
    /// How old a signature may be when a call arrives.
    pub signature_ms: i64,
    /// How long reads may return the state before an update.
    pub stale_ms: i64,
    /// How long everything takes.
    pub timings: Timings,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            account: "123456789012".to_owned(),
            region: "us-east-1".to_owned(),
            start_ms: 1_767_225_600_000,
            speed: 1,
            latency_ms: 4,
            seed: 1,
            throttling: true,
            signature_ms: 300_000,
            stale_ms: 0,
            timings: Timings::quick(),
        }
    }
}

impl Config {
    /// The identity that every caller has here.
    pub fn caller_arn(&self) -> String {
        format!("arn:aws:iam::{}:user/deployer", self.account)
    }

    pub(super) fn arn(&self, what: &str) -> String {
        format!("arn:aws:ecs:{}:{}:{what}", self.region, self.account)
    }

    /// The host of the account's image registry.
    pub fn registry(&self) -> String {
        format!("{}.dkr.ecr.{}.amazonaws.com", self.account, self.region)
    }
}
