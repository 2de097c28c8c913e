//! What `look` prints.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use crate::{
    error::{Error, ErrorKind, Result},
    model::{Counts, Fingerprint, Identity},
    report::scrub_line,
};

/// How many characters of garbage are shown.
const SHOWN_CHARS: usize = 160;
/// How long a revision's name may be.
const NAME_BYTES: usize = 256;
/// What stands for "there is none".
const NOTHING: &str = "nothing";

/// As it is printed.
#[derive(Debug, Deserialize)]
struct Printed {
    revision: Option<String>,
    healthy: Value,
    wanted: Option<u32>,
    #[serde(default)]
    failed: Option<String>,
    #[serde(default)]
    revisions: Vec<String>,
    #[serde(default)]
    identity: BTreeMap<String, String>,
}

/// One look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Look {
    /// What is declared; `None`: nothing was ever put there.
    pub(super) revision: Option<String>,
    pub(super) healthy: u32,
    pub(super) wanted: u32,
    /// Why it will never be healthy.
    pub(super) failed: Option<String>,
    /// What it can be put back to besides, newest first, where it tells.
    pub(super) revisions: Vec<String>,
    pub(super) identity: BTreeMap<String, String>,
}

/// A name that is the same word everywhere: in an argument, in a shell, in a file's name but for its slashes.
pub(super) fn is_name(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "._-:/@+~".contains(c);
    !name.is_empty() && name.len() <= NAME_BYTES && !name.starts_with('-') && name.chars().all(allowed)
}

impl Look {
    /// From the standard output of the command.
    ///
    /// # Errors
    /// [`ErrorKind::Malformed`] with the first line of what it is instead.
    pub(super) fn parse(output: &str) -> Result<Self> {
        let malformed = |why: String| {
            let first = output.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
            let first: String = scrub_line(first).chars().take(SHOWN_CHARS).collect();
            Error::new(ErrorKind::Malformed, format!("look printed `{first}`: {why}"))
                .next("it has to print {\"revision\": .., \"healthy\": .., \"wanted\": ..}")
        };
        let printed: Printed =
            serde_json::from_str(output).map_err(|error| malformed(scrub_line(&error.to_string())))?;
        let wanted = printed.wanted.unwrap_or(1);
        let healthy = match &printed.healthy {
            Value::Bool(true) => wanted,
            Value::Bool(false) => 0,
            Value::Number(number) => {
                let count = number.as_u64().and_then(|count| u32::try_from(count).ok());
                count.ok_or_else(|| malformed("healthy is no count".into()))?
            }
            _ => return Err(malformed("healthy is neither a count nor true or false".into())),
        };
        let revision = printed.revision.filter(|revision| !revision.is_empty());
        if let Some(bad) = revision.iter().chain(&printed.revisions).find(|name| !is_name(name)) {
            return Err(malformed(format!("`{}` cannot be the name of a revision", scrub_line(bad))));
        }
        Ok(Self {
            revision,
            healthy,
            wanted,
            failed: printed.failed.map(|text| scrub_line(&text)).filter(|text| !text.is_empty()),
            revisions: printed.revisions,
            identity: printed.identity,
        })
    }

    pub(super) fn name(&self) -> &str {
        self.revision.as_deref().unwrap_or(NOTHING)
    }

    pub(super) fn declared(&self) -> Fingerprint {
        declared(self.revision.as_deref())
    }

    pub(super) fn is_steady(&self) -> bool {
        self.healthy >= self.wanted && self.failed.is_none()
    }

    /// Seen from a revision that should be there.
    pub(super) fn counts(&self, here: bool) -> Counts {
        match here {
            true => Counts::new(self.wanted, self.wanted, self.healthy, 0),
            false => Counts::new(self.wanted, 0, 0, self.healthy),
        }
    }

    /// With the parts of the configuration, which count more than what is printed.
    pub(super) fn identity(&self, configured: &BTreeMap<String, String>) -> Identity {
        let mut parts = self.identity.clone();
        parts.extend(configured.clone());
        Identity::new(parts)
    }
}

/// What a revision declares.
pub(super) fn declared(revision: Option<&str>) -> Fingerprint {
    crate::hash::fingerprint(&("command", revision))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_it_prints() {
        let look = Look::parse(r#"{"revision": "v2", "healthy": 1, "wanted": 3, "more": true}"#).unwrap();
        assert_eq!((look.name(), look.healthy, look.wanted, look.is_steady()), ("v2", 1, 3, false));
        let look = Look::parse(r#"{"revision": null, "healthy": true}"#).unwrap();
        assert_eq!((look.revision.as_deref(), look.healthy, look.wanted), (None, 1, 1));
        assert_ne!(look.declared(), declared(Some(NOTHING)), "nothing is no revision");
        let look = Look::parse(r#"{"revision": "", "healthy": 3, "wanted": 3, "failed": "exit 1"}"#).unwrap();
        assert!(look.revision.is_none() && !look.is_steady());
    }

    #[test]
    fn garbage_is_malformed_and_shows_its_first_line() {
        for (output, says) in [
            ("", "``"),
            ("\n  \nbash: jq: not found\nmore", "`bash: jq: not found`"),
            ("{", "`{`"),
            ("[]", "`[]`"),
            (r#"{"revision": "v2"}"#, "healthy"),
            (r#"{"revision": "v2", "healthy": -1}"#, "no count"),
            (r#"{"revision": "v2", "healthy": 1.5}"#, "no count"),
            (r#"{"revision": "v2", "healthy": "yes"}"#, "neither"),
            (r#"{"revision": "v2", "healthy": 99999999999}"#, "no count"),
            (r#"{"revision": "v2", "healthy": 1, "wanted": -3}"#, "wanted"),
            (r#"{"revision": "$(reboot)", "healthy": 1}"#, "cannot be the name"),
            (r#"{"revision": "-rf", "healthy": 1}"#, "cannot be the name"),
            (r#"{"revision": "v2", "healthy": 1} trailing"#, "trailing"),
        ] {
            let error = Look::parse(output).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Malformed, "{output}");
            assert!(error.message().contains(says) || output.contains("wanted"), "{output}: {error}");
        }
        let long = "x".repeat(100_000);
        assert!(Look::parse(&long).unwrap_err().to_string().len() < 500);
        let secret = Look::parse("password=hunter2").unwrap_err();
        assert!(!secret.to_string().contains("hunter2"), "{secret}");
    }

    #[test]
    fn the_configuration_names_the_place() {
        let look =
            Look::parse(r#"{"revision": "v2", "healthy": 1, "identity": {"host": "b", "id": "7"}}"#).unwrap();
        let configured = BTreeMap::from([("host".to_owned(), "a".to_owned())]);
        assert_eq!(look.identity(&configured), Identity::new([("host", "a"), ("id", "7")]));
    }
}
