//! Names: newtypes, so that one cannot stand where another is meant.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind};

macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// Takes the name as it is.
            pub fn new(name: impl Into<String>) -> Self {
                Self(name.into())
            }

            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl From<&str> for $name {
            fn from(name: &str) -> Self {
                Self(name.to_owned())
            }
        }
    };
}

name! {
    /// A step of a plan; unique within the plan and stable when the same plan is made again.
    StepId
}
name! {
    /// One part of a place whose declared state is written on its own (a service, an alias, a workspace).
    Component
}
name! {
    /// The canonical name of a resource that is written (a service ARN, a branch ref). Claims are locked.
    Claim
}
name! {
    /// A gate at which a rollout waits (approval, traffic weight, the platform's own confirm).
    GateId
}
name! {
    /// The group of steps that is all-or-nothing at rest.
    GroupId
}
name! {
    /// A keyed or plain hash of declared state. Equal fingerprints mean equal declarations.
    Fingerprint
}
name! {
    /// One deploy: ten characters that sort by time; the last four are enough for a person.
    RolloutId
}

impl RolloutId {
    const ALPHABET: &'static [u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

    /// Makes an id from the time and 20 random bits.
    #[must_use]
    pub fn make(now: super::Timestamp, random: u64) -> Self {
        // 30 bits of seconds since 2020 last until 2054.
        let seconds = u64::try_from(now.as_millis() / 1000 - 1_577_836_800).unwrap_or(0) & 0x3fff_ffff;
        let bits = (seconds << 20) | (random & 0xf_ffff);
        let text = (0..10).rev().map(|at| {
            let index = usize::try_from((bits >> (at * 5)) & 31).unwrap_or(0);
            char::from(Self::ALPHABET[index])
        });
        Self(text.collect())
    }

    /// The last four characters: what screens show.
    #[must_use]
    pub fn short(&self) -> &str {
        let mut start = self.0.len().saturating_sub(4);
        while !self.0.is_char_boundary(start) {
            start += 1;
        }
        &self.0[start..]
    }
}

/// The name of a target: `app/env`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TargetName {
    app: String,
    env: String,
}

impl TargetName {
    /// Makes a name of its two parts.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] if a part is empty or has characters other than letters, digits, `-`, `_`, `.`.
    pub fn new(app: impl Into<String>, env: impl Into<String>) -> Result<Self, Error> {
        let (app, env) = (app.into(), env.into());
        for (part, name) in [("app", &app), ("env", &env)] {
            let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
            if name.is_empty() || name.starts_with('.') || !name.chars().all(allowed) {
                return Err(Error::new(
                    ErrorKind::Invalid,
                    format!("`{name}` cannot be the {part} of a target"),
                )
                .next("use letters, digits, `-`, `_` and `.`"));
            }
        }
        Ok(Self { app, env })
    }

    /// The application.
    #[must_use]
    pub fn app(&self) -> &str {
        &self.app
    }

    /// The environment.
    #[must_use]
    pub fn env(&self) -> &str {
        &self.env
    }
}

impl fmt::Display for TargetName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}/{}", self.app, self.env))
    }
}

impl FromStr for TargetName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        match text.split_once('/') {
            Some((app, env)) => Self::new(app, env),
            None => Err(Error::new(ErrorKind::Invalid, format!("`{text}` is not a target"))
                .next("a target is app/env")),
        }
    }
}

impl Serialize for TargetName {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for TargetName {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
    }
}

/// The fencing token: grows with every change of holder, and never starts again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Fence(pub u64);

impl fmt::Display for Fence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Timestamp;

    #[test]
    fn rollout_ids_sort_by_time() {
        let early = RolloutId::make(Timestamp::from_millis(1_800_000_000_000), 0xf_ffff);
        let late = RolloutId::make(Timestamp::from_millis(1_800_000_001_000), 0);
        assert!(early < late);
        assert_eq!(early.as_str().len(), 10);
        assert_eq!(early.short(), "ZZZZ");
    }

    #[test]
    fn target_names_are_checked() {
        assert_eq!("prod-api/production".parse::<TargetName>().unwrap().env(), "production");
        for bad in ["prod-api", "a/b/c", "/x", "x/", "a b/c", "../x", "./x"] {
            assert!(bad.parse::<TargetName>().is_err(), "{bad}");
        }
    }
}
