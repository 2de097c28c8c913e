//! How an image behaves, and how long everything takes.

use serde::{Deserialize, Serialize};

/// What a task of an image does. It is read from the word that the image's tag begins with: `ok-17`, `crash`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Behaviour {
    /// Starts and stays well. A one-off task runs until it is stopped, unless its overrides name a command: then it
    /// ends by itself, after five seconds with exit code 0. `exit N` in the command is another exit code, `sleep N`
    /// another time in seconds: `sh -c "sleep 2; exit 3"`.
    Ok,
    /// As `ok`, but starts late.
    Slow,
    /// Exits with 1 a few seconds after the start.
    Crash,
    /// Exits with 0 a few seconds after the start: for a service a failure too.
    Exit0,
    /// Is killed for its memory use: exit code 137.
    Oom,
    /// Dies of a segmentation fault: exit code 139.
    Segv,
    /// Its image cannot be pulled.
    NoPull,
    /// Its image cannot be pulled now: the registry's rate limit.
    PullLimit,
    /// Its image's manifest cannot be pulled: `CannotPullImageManifestError`.
    NoManifest,
    /// Its command does not exist in the image.
    BadCmd,
    /// Its container cannot be created: `CannotCreateContainerError`.
    NoCreate,
    /// Its container runtime fails: `ContainerRuntimeError`.
    NoRuntime,
    /// Its secret may not be read.
    NoSecret,
    /// Its secret does not exist.
    LostSecret,
    /// Its log driver cannot be set up.
    NoLogs,
    /// Its network has no way to the registry: fails after a long timeout.
    NoNet,
    /// Starts, and fails every health check that the service or the container has; with no check, nobody notices.
    Unhealthy,
    /// Is healthy at first, and crashes about a minute later.
    Flaky,
    /// About half of its tasks are well, and the others crash.
    Half,
    /// Cannot be placed.
    NoCapacity,
    /// Is healthy, and its Spot capacity is taken away about a minute later.
    Spot,
    /// Is healthy, and its host is retired about a minute later.
    Retired,
    /// Is healthy, and its infrastructure fails about a minute later.
    Infra,
}

impl Behaviour {
    /// Every behaviour.
    pub const ALL: [Self; 23] = [
        Self::Ok,
        Self::Slow,
        Self::Crash,
        Self::Exit0,
        Self::Oom,
        Self::Segv,
        Self::NoPull,
        Self::PullLimit,
        Self::NoManifest,
        Self::BadCmd,
        Self::NoCreate,
        Self::NoRuntime,
        Self::NoSecret,
        Self::LostSecret,
        Self::NoLogs,
        Self::NoNet,
        Self::Unhealthy,
        Self::Flaky,
        Self::Half,
        Self::NoCapacity,
        Self::Spot,
        Self::Retired,
        Self::Infra,
    ];

    /// The word that a tag begins with.
    pub fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Slow => "slow",
            Self::Crash => "crash",
            Self::Exit0 => "exit0",
            Self::Oom => "oom",
            Self::Segv => "segv",
            Self::NoPull => "nopull",
            Self::PullLimit => "pulllimit",
            Self::NoManifest => "nomanifest",
            Self::BadCmd => "badcmd",
            Self::NoCreate => "nocreate",
            Self::NoRuntime => "noruntime",
            Self::NoSecret => "nosecret",
            Self::LostSecret => "lostsecret",
            Self::NoLogs => "nologs",
            Self::NoNet => "nonet",
            Self::Unhealthy => "unhealthy",
            Self::Flaky => "flaky",
            Self::Half => "half",
            Self::NoCapacity => "nocapacity",
            Self::Spot => "spot",
            Self::Retired => "retired",
            Self::Infra => "infra",
        }
    }

    /// The behaviour that a tag names, if its first word is one of ours.
    pub fn of_tag(tag: &str) -> Option<Self> {
        let word = tag.split(|c: char| !c.is_ascii_alphanumeric()).next().unwrap_or(tag);
        Self::ALL.into_iter().find(|b| b.word() == word)
    }
}

/// How long everything takes, in milliseconds of the emulator's time.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct Timings {
    /// From a change until the service scheduler acts on it.
    pub reconcile_ms: i64,
    /// PROVISIONING.
    pub provision_ms: i64,
    /// PENDING: the image is pulled.
    pub pull_ms: i64,
    /// ACTIVATING.
    pub activate_ms: i64,
    /// What a `slow` image takes in addition.
    pub slow_ms: i64,
    /// DEACTIVATING: how long a load balancer drains a target.
    pub drain_ms: i64,
    /// STOPPING.
    pub stop_ms: i64,
    /// DEPROVISIONING.
    pub deprovision_ms: i64,
    /// How long a container that crashes lives.
    pub crash_after_ms: i64,
    /// How long a `flaky` container lives.
    pub flaky_after_ms: i64,
    /// How long a task that cannot reach the registry tries.
    pub network_timeout_ms: i64,
    /// Running time after which a task without any health check counts as healthy: 40 s in ECS.
    pub settle_ms: i64,
    /// The interval of a target group's health check.
    pub elb_interval_ms: i64,
    /// Passed checks that make a target healthy.
    pub elb_healthy: i64,
    /// Failed checks that make a target unhealthy.
    pub elb_unhealthy: i64,
    /// The scheduler's back-off after the first failed task; doubles with each.
    pub backoff_first_ms: i64,
    /// How long the scheduler waits before it looks for capacity again: no back-off, because no task has failed.
    pub place_again_ms: i64,
    /// The longest back-off.
    pub backoff_max_ms: i64,
    /// How long a failed deployment stays in its service's list, if its tasks are gone earlier. ECS has it there until
    /// the last one is drained, which takes longer than the short waits of [`Timings::quick`].
    pub failed_listed_ms: i64,
    /// How long a one-off task with a command runs.
    pub job_ms: i64,
    /// How long a stopped task can be described.
    pub keep_stopped_ms: i64,
}

impl Timings {
    /// The platform's order of events with the waits for machines cut short: a task runs within 3 s.
    pub fn quick() -> Self {
        Self {
            reconcile_ms: 250,
            provision_ms: 500,
            pull_ms: 800,
            activate_ms: 500,
            slow_ms: 30_000,
            drain_ms: 5_000,
            stop_ms: 500,
            deprovision_ms: 500,
            crash_after_ms: 3_000,
            flaky_after_ms: 60_000,
            network_timeout_ms: 120_000,
            settle_ms: 40_000,
            elb_interval_ms: 10_000,
            elb_healthy: 2,
            elb_unhealthy: 2,
            backoff_first_ms: 1_000,
            place_again_ms: 1_000,
            backoff_max_ms: 60_000,
            failed_listed_ms: 0,
            job_ms: 5_000,
            keep_stopped_ms: 3_600_000,
        }
    }

    /// As quick, for clients that look every few seconds: what fails can be seen for a while.
    pub fn served() -> Self {
        Self { failed_listed_ms: 10_000, ..Self::quick() }
    }

    /// About what Fargate behind a load balancer with AWS's defaults takes.
    pub fn fargate() -> Self {
        Self {
            reconcile_ms: 2_000,
            provision_ms: 12_000,
            pull_ms: 14_000,
            activate_ms: 4_000,
            slow_ms: 90_000,
            drain_ms: 300_000,
            stop_ms: 5_000,
            deprovision_ms: 15_000,
            elb_interval_ms: 30_000,
            elb_healthy: 5,
            backoff_first_ms: 10_000,
            place_again_ms: 15_000,
            backoff_max_ms: 900_000,
            ..Self::quick()
        }
    }

    /// The scheduler's pause after `streak` failed tasks in a row.
    pub(super) fn backoff_ms(&self, streak: i64) -> i64 {
        let doublings = u32::try_from(streak.clamp(1, 20) - 1).unwrap_or(0);
        self.backoff_first_ms.saturating_mul(1 << doublings).min(self.backoff_max_ms)
    }
}

impl Default for Timings {
    fn default() -> Self {
        Self::quick()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_read_by_its_first_word() {
        assert_eq!(Behaviour::of_tag("ok-17"), Some(Behaviour::Ok));
        assert_eq!(Behaviour::of_tag("crash"), Some(Behaviour::Crash));
        assert_eq!(Behaviour::of_tag("exit0.2"), Some(Behaviour::Exit0));
        assert_eq!(Behaviour::of_tag("okay"), None);
        assert_eq!(Behaviour::of_tag("v1.2"), None);
        assert_eq!(Behaviour::of_tag(""), None);
    }

    #[test]
    fn back_off_doubles_and_ends() {
        let t = Timings::quick();
        assert_eq!(t.backoff_ms(1), 1_000);
        assert_eq!(t.backoff_ms(3), 4_000);
        assert_eq!(t.backoff_ms(50), 60_000);
        assert_eq!(t.backoff_ms(-4), 1_000);
    }
}
