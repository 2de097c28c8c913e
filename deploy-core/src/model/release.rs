//! What is wanted: a release, a goal, and configuration values that do not show themselves.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

use super::Revision;

/// Where a secret's value comes from. The value itself is fetched at the moment of use and stored nowhere.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum SecretRef {
    /// An environment variable of the deploying process.
    FromEnv(String),
    /// A file of the deploying machine; one trailing newline is cut.
    File(String),
    /// Anything else: resolved by the embedding program, by this name.
    Resolver(String),
}

/// A secret's value: redacts itself in `Debug`, has no `Display`, is never serialised.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a value.
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// The value. Its only way out: keep the use narrow.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// The value of an environment variable in a release.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ConfigValue {
    /// A plain value; kept in the plan record alone, hidden everywhere else.
    Plain(String),
    /// A reference to a secret.
    Secret(SecretRef),
}

impl fmt::Debug for ConfigValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plain(_) => f.write_str("Plain(..)"),
            Self::Secret(reference) => write!(f, "Secret({reference:?})"),
        }
    }
}

/// Sets (`Some`) or removes (`None`) one environment variable of one container.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ConfigChange {
    /// The container.
    pub container: String,
    /// The variable.
    pub key: String,
    /// Its new value; `None` removes it.
    pub value: Option<ConfigValue>,
}

/// What is to run: a commit or image references, and configuration changes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Release {
    /// The revision as given (`HEAD`, a branch, a hash); the full commit once it is resolved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// The first line of the commit's message, where a source told it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// Image reference by container: `repository:tag` or `repository@sha256:...`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub images: BTreeMap<String, String>,
    /// Changes of the configuration.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<ConfigChange>,
}

impl Release {
    /// A commit; its images are the target's repositories at the tag that is the full commit.
    pub fn commit(revision: impl Into<String>) -> Self {
        Self { commit: Some(revision.into()), ..Self::default() }
    }

    /// What runs now, for a release that changes only configuration.
    #[must_use]
    pub fn of_what_runs() -> Self {
        Self::default()
    }

    /// An existing image for a container, by tag or digest. The order guard does not apply to it.
    #[must_use]
    pub fn image(mut self, container: impl Into<String>, reference: impl Into<String>) -> Self {
        self.images.insert(container.into(), reference.into());
        self
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(self, container: impl Into<String>, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.change(container, key, Some(ConfigValue::Plain(value.into())))
    }

    /// Sets an environment variable from a secret.
    #[must_use]
    pub fn secret(self, container: impl Into<String>, key: impl Into<String>, value: SecretRef) -> Self {
        self.change(container, key, Some(ConfigValue::Secret(value)))
    }

    /// Removes an environment variable.
    #[must_use]
    pub fn unset(self, container: impl Into<String>, key: impl Into<String>) -> Self {
        self.change(container, key, None)
    }

    fn change(
        mut self,
        container: impl Into<String>,
        key: impl Into<String>,
        value: Option<ConfigValue>,
    ) -> Self {
        self.changes.push(ConfigChange { container: container.into(), key: key.into(), value });
        self
    }

    /// The first plain value under a key that names a secret, if there is one: such a release is refused.
    #[must_use]
    pub fn plain_secret(&self) -> Option<&ConfigChange> {
        self.changes
            .iter()
            .find(|change| matches!(change.value, Some(ConfigValue::Plain(_))) && names_a_secret(&change.key))
    }
}

/// Whether a variable of this name holds a secret: its value has to be given by reference.
pub(crate) fn names_a_secret(key: &str) -> bool {
    let key = key.to_ascii_uppercase();
    let ends_in = |word: &&str| key.strip_suffix(*word).is_some_and(|before| before.ends_with('_'));
    ["SECRET", "TOKEN", "PASSWORD"].iter().any(|word| key == *word || ends_in(word))
}

/// What a plan is made for.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Goal {
    /// Put this release in place.
    Deploy(Release),
    /// Put the place back to this revision. Rolling back is planning a Restore.
    Restore(Revision),
    /// Take over what runs: it becomes known good after a baked observation.
    Adopt,
}

impl Goal {
    /// Whether this goal is a rollback.
    #[must_use]
    pub fn is_rollback(&self) -> bool {
        matches!(self, Self::Restore(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_do_not_show_themselves() {
        let release = Release::of_what_runs().env("api", "LOG_LEVEL", "hunter2").secret(
            "api",
            "DB_PASSWORD",
            SecretRef::FromEnv("PW".into()),
        );
        let shown = format!("{release:?} {:?}", Secret::new("hunter2"));
        assert!(!shown.contains("hunter2"), "{shown}");
        assert!(shown.contains("FromEnv(\"PW\")"), "{shown}");
    }

    #[test]
    fn plain_values_under_secret_names_are_found() {
        for key in ["DB_PASSWORD", "api_token", "SECRET"] {
            assert!(Release::of_what_runs().env("api", key, "x").plain_secret().is_some(), "{key}");
        }
        for key in ["LOG_LEVEL", "PASSWORD_RULES", "TOKENS", "SECRETARY"] {
            assert!(Release::of_what_runs().env("api", key, "x").plain_secret().is_none(), "{key}");
        }
        let by_reference = Release::of_what_runs().secret("api", "DB_PASSWORD", SecretRef::File("pw".into()));
        assert!(by_reference.plain_secret().is_none());
    }
}
