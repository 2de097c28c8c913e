//! What a world is like: its shape, its speeds, and how releases behave in it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    hash,
    model::{Capabilities, ConfigValue, Fingerprint, Lateness, WriteGuard},
};

/// Which real platform's awkwardness a world has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Shape {
    /// No compare-and-set: the last writer wins. Reverts by itself, serves stale reads, counts instances.
    Ecs,
    /// The object carries our fence and a version. A stuck instance has to be deleted; instances are counted.
    Kubernetes,
    /// Three pointers with a version each, and a hook that cannot be observed. Nothing is counted.
    Vapor,
    /// A branch with versions, and runs that exist only after a push and wait for a confirmation.
    Terraform,
}

impl Shape {
    /// All four.
    pub const ALL: [Self; 4] = [Self::Ecs, Self::Kubernetes, Self::Vapor, Self::Terraform];

    /// The stable word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Ecs => "ecs",
            Self::Kubernetes => "kubernetes",
            Self::Vapor => "vapor",
            Self::Terraform => "terraform",
        }
    }

    /// The components whose declared state is written, in the order in which a deploy writes them.
    #[must_use]
    pub fn components(self) -> &'static [&'static str] {
        match self {
            Self::Ecs | Self::Kubernetes => &["service"],
            Self::Vapor => &["http", "queue", "cli"],
            Self::Terraform => &["branch", "workspace"],
        }
    }

    /// What a write can be compared with.
    #[must_use]
    pub fn write_guard(self) -> WriteGuard {
        match self {
            Self::Ecs => WriteGuard::None,
            Self::Kubernetes => WriteGuard::Fence,
            Self::Vapor | Self::Terraform => WriteGuard::Version,
        }
    }

    /// What a place of this shape can do.
    #[must_use]
    pub fn capabilities(self, lateness: Lateness) -> Capabilities {
        let mut can = Capabilities::new(self.write_guard(), lateness);
        can.reverts_itself = self == Self::Ecs;
        can.remedies = self == Self::Kubernetes;
        can.groups = self == Self::Vapor;
        can.at_most_once = self == Self::Vapor;
        can.gates = self == Self::Terraform;
        can.envelope = self == Self::Terraform;
        can.counts = self.counts();
        can.logs = self != Self::Terraform;
        can
    }

    pub(crate) fn counts(self) -> bool {
        matches!(self, Self::Ecs | Self::Kubernetes)
    }

    /// Whether a revision's name is given by the platform when it is made, so that a plan cannot predict it.
    pub(crate) fn numbers_revisions(self) -> bool {
        matches!(self, Self::Ecs | Self::Vapor)
    }

    /// What a component declares when it is at a revision of this name and content.
    pub(crate) fn declared(self, component: &str, name: &str, spec: &Spec) -> Fingerprint {
        if self.numbers_revisions() { hash::fingerprint(&(component, name)) } else { spec.fingerprint() }
    }

    /// What a component declares at a numbered revision, whatever is in it.
    pub(crate) fn numbered(component: &str, name: &str) -> Fingerprint {
        hash::fingerprint(&(component, name))
    }
}

/// What is to run: images and environment. The commit goes along, but is not part of what is declared.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spec {
    /// The commit, where it is known.
    pub commit: Option<String>,
    /// Image by container.
    pub images: BTreeMap<String, String>,
    /// Variables by `container/KEY`.
    pub env: BTreeMap<String, ConfigValue>,
}

impl Spec {
    /// One container called `app`, with this tag of the repository `repo/app`.
    #[must_use]
    pub fn tag(tag: &str) -> Self {
        Self { images: [("app".to_owned(), format!("repo/app:{tag}"))].into(), ..Self::default() }
    }

    /// Whether both declare the same.
    #[must_use]
    pub fn same(&self, other: &Self) -> bool {
        self.images == other.images && self.env == other.env
    }

    pub(crate) fn fingerprint(&self) -> Fingerprint {
        hash::fingerprint(&(&self.images, &self.env))
    }
}

/// How instances of a release behave. Read from the word that the image's tag begins with: `ok`, `crash`, `nopull`,
/// `unhealthy`, `slow`, `flaky`, `platform-revert`; anything else is `ok`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Behaviour {
    /// Starts and stays healthy.
    Ok,
    /// Starts, then ends by itself, again and again. (Terraform: the apply fails.)
    Crash,
    /// The image cannot be pulled. (Vapor: publishing is refused. Terraform: the plan fails.)
    NoPull,
    /// Runs, and fails its health checks. (Terraform: the apply fails.)
    Unhealthy,
    /// As ok, eight times slower.
    Slow,
    /// Healthy at first, then crashes: meant to fail during the bake.
    Flaky,
    /// Crashes, and where the platform can, it goes back by itself after a while.
    PlatformRevert,
}

impl Behaviour {
    /// Of an image reference.
    #[must_use]
    pub fn of_image(image: &str) -> Self {
        let named = image.split('@').next().unwrap_or(image);
        let tag = named.rsplit_once(':').map_or("", |(_, tag)| tag);
        let words = [
            ("crash", Self::Crash),
            ("nopull", Self::NoPull),
            ("unhealthy", Self::Unhealthy),
            ("slow", Self::Slow),
            ("flaky", Self::Flaky),
            ("platform-revert", Self::PlatformRevert),
        ];
        words.iter().find(|(word, _)| tag.starts_with(word)).map_or(Self::Ok, |(_, behaviour)| *behaviour)
    }

    /// Of a whole release: the first container that does not simply work decides.
    #[must_use]
    pub fn of(spec: &Spec) -> Self {
        spec.images.values().map(|image| Self::of_image(image)).find(|b| *b != Self::Ok).unwrap_or(Self::Ok)
    }

    /// Whether its instances become healthy at first.
    pub(crate) fn comes_up(self) -> bool {
        matches!(self, Self::Ok | Self::Slow | Self::Flaky)
    }
}

/// The hook of a Vapor world, between publishing and moving the pointers.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Migration {
    /// There is none.
    No,
    /// It runs, and old code survives it.
    Harmless,
    /// It runs, and code from before it may not survive it.
    Barrier(String),
}

/// What a world is like. Times are in milliseconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct WorldOptions {
    /// What runs at the start, steadily.
    pub initial: Spec,
    /// Wanted instances.
    pub desired: u32,
    /// From an instance's start until it is healthy, or fails.
    pub start_ms: u64,
    /// From all being healthy until the old ones are gone.
    pub drain_ms: u64,
    /// From being healthy until a flaky release fails.
    pub flaky_after_ms: u64,
    /// From a move until the platform goes back by itself.
    pub revert_after_ms: u64,
    /// How long a Terraform run plans.
    pub plan_ms: u64,
    /// How long a Terraform run applies.
    pub apply_ms: u64,
    /// How long the hook runs.
    pub hook_ms: u64,
    /// The hook.
    pub migration: Migration,
    /// How late a call may still land. With a signature time of 0 it may land at any time.
    pub lateness: Lateness,
    /// After which time observers are asked to look again.
    pub look_again_ms: u64,
}

impl WorldOptions {
    /// Two instances of `repo/app:ok-0`, healthy after 10 s; as late as AWS where requests are signed.
    #[must_use]
    pub fn new(shape: Shape) -> Self {
        let lateness = match shape {
            Shape::Ecs | Shape::Vapor => Lateness::AWS,
            // Nothing is signed there; what bounds a request is how long a server works on one.
            Shape::Kubernetes | Shape::Terraform => Lateness::new(60_000, 5_000, 10_000, 20_000),
        };
        Self {
            initial: Spec::tag("ok-0"),
            desired: 2,
            start_ms: 10_000,
            drain_ms: 2_000,
            flaky_after_ms: 20_000,
            revert_after_ms: 35_000,
            plan_ms: 5_000,
            apply_ms: 10_000,
            hook_ms: 2_000,
            migration: Migration::No,
            lateness,
            look_again_ms: 2_000,
        }
    }
}
