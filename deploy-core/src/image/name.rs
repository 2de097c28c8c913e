//! Names: repositories, tags, digests, and the platforms that images are for.

use std::{fmt, net::IpAddr};

use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Result};

/// The registry of names that name none.
const DOCKER_HUB: &str = "docker.io";
/// The most characters of a repository's name, registry included.
const NAME_CHARS_MAX: usize = 255;
/// The most characters of a tag.
const TAG_CHARS_MAX: usize = 128;

/// A repository of images in a registry: `registry.example.com/shop/api`. Without tag and digest.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Repository {
    registry: String,
    path: String,
}

impl Repository {
    /// Takes a name apart as Docker does: without a registry it is Docker Hub's, where a single word is in `library/`.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] if it is no name of a repository, or has a tag or a digest.
    pub fn parse(text: &str) -> Result<Self> {
        let invalid = |why: &str| {
            Error::new(ErrorKind::Invalid, format!("`{}` is not a repository: {why}", text.escape_debug()))
                .next("write it as registry.example.com/shop/api")
        };
        if text.len() > NAME_CHARS_MAX {
            return Err(invalid("it is too long"));
        }
        let (registry, path) = match text.split_once('/') {
            Some((first, rest)) if first == "localhost" || first.contains(['.', ':']) => (first, rest),
            _ => (DOCKER_HUB, text),
        };
        if path.contains('@') || path.contains(':') {
            return Err(invalid("it names a tag or a digest"));
        }
        let host = |c: char| c.is_ascii_alphanumeric() || ".-:[]".contains(c);
        if !registry.chars().all(host)
            || !registry.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '[')
        {
            return Err(invalid("the registry is not a host"));
        }
        if !path.split('/').all(is_component) {
            return Err(invalid("it may have lower case letters, digits and `.`, `_`, `-` between them"));
        }
        let hub = registry == "index.docker.io" || registry == DOCKER_HUB;
        let path = if hub && !path.contains('/') { format!("library/{path}") } else { path.to_owned() };
        let registry = if hub { DOCKER_HUB } else { registry };
        Ok(Self { registry: registry.to_owned(), path })
    }

    /// The registry: a host, and a port if it is an unusual one.
    #[must_use]
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// The name within the registry.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The host that answers for the registry.
    pub(crate) fn host(&self) -> &str {
        if self.registry == DOCKER_HUB { "registry-1.docker.io" } else { &self.registry }
    }
}

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.path)
    }
}

fn is_component(text: &str) -> bool {
    let edge = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    text.starts_with(edge) && text.ends_with(edge) && text.chars().all(|c| edge(c) || "._-".contains(c))
}

/// Whether Docker takes a host for one that may be asked without TLS: this machine.
pub(crate) fn is_loopback(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    name == "localhost" || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Checks that a text can be a tag.
///
/// # Errors
/// [`ErrorKind::Invalid`] if it cannot.
pub(crate) fn check_tag(tag: &str) -> Result<()> {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if tag.len() <= TAG_CHARS_MAX && tag.starts_with(word) && tag.chars().all(|c| word(c) || ".-".contains(c))
    {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Invalid, format!("`{}` cannot be a tag", tag.escape_debug()))
        .next("letters, digits, `_`, `.` and `-`, at most 128"))
}

/// Whether a text is a digest that we can check.
pub(crate) fn is_digest(text: &str) -> bool {
    text.strip_prefix("sha256:").is_some_and(|hex| {
        hex.len() == 64 && hex.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
    })
}

/// Checks that a text is the full id of a commit: a tag that is one names one commit for ever.
///
/// # Errors
/// [`ErrorKind::Invalid`] if it is not.
pub(crate) fn check_commit(commit: &str) -> Result<()> {
    let hex = commit.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
    if matches!(commit.len(), 40 | 64) && hex {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Invalid, format!("`{}` is not the full id of a commit", commit.escape_debug()))
        .next("resolve the revision first"))
}

/// The first seven characters of a commit: what screens show. What is no commit is shown as far as it is harmless.
pub(crate) fn short(commit: &str) -> String {
    let text: String = commit.chars().filter(|c| !c.is_control()).take(40).collect();
    if check_commit(commit).is_ok() { text.chars().take(7).collect() } else { text }
}

/// What an image runs on: `linux/amd64`, `linux/arm/v7`. Two names of the same are equal: `linux/arm64/v8` is
/// `linux/arm64`, and `x86_64` is `amd64`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ImagePlatform {
    /// `linux`, `windows`.
    pub os: String,
    /// `amd64`, `arm64`.
    pub architecture: String,
    /// `v7`, where there are several that are not told by the architecture.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

impl ImagePlatform {
    /// The platform of these parts, in its usual name.
    #[must_use]
    pub fn new(os: &str, architecture: &str, variant: Option<&str>) -> Self {
        // Defaults as containerd has them: https://github.com/containerd/platforms
        let architecture = match architecture {
            "x86_64" | "x86-64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        let variant = match (architecture, variant.unwrap_or_default()) {
            ("arm64", "8" | "v8") | ("amd64", "v1") => "",
            ("arm", "" | "7") => "v7",
            (_, other) => other,
        };
        let variant = (!variant.is_empty()).then(|| variant.to_owned());
        Self { os: os.to_owned(), architecture: architecture.to_owned(), variant }
    }

    /// From `os/architecture` or `os/architecture/variant`.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] if it is neither.
    pub fn parse(text: &str) -> Result<Self> {
        let word = |part: &&str| {
            !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c))
        };
        let parts: Vec<&str> = text.split('/').collect();
        match *parts.as_slice() {
            [os, architecture] if parts.iter().all(word) => Ok(Self::new(os, architecture, None)),
            [os, architecture, variant] if parts.iter().all(word) => {
                Ok(Self::new(os, architecture, Some(variant)))
            }
            _ => Err(Error::new(ErrorKind::Invalid, format!("`{}` is not a platform", text.escape_debug()))
                .next("write it as linux/amd64")),
        }
    }

    /// As a part of a tag.
    pub(crate) fn in_tag(&self) -> String {
        self.to_string().replace('/', "-")
    }
}

impl fmt::Display for ImagePlatform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        match &self.variant {
            Some(variant) => write!(f, "/{variant}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_apart_as_docker_does() {
        for (text, shown, host) in [
            ("nginx", "docker.io/library/nginx", "registry-1.docker.io"),
            ("acme/api", "docker.io/acme/api", "registry-1.docker.io"),
            ("index.docker.io/acme/api", "docker.io/acme/api", "registry-1.docker.io"),
            ("localhost/api", "localhost/api", "localhost"),
            ("127.0.0.1:5000/a/b", "127.0.0.1:5000/a/b", "127.0.0.1:5000"),
            ("[::1]:5000/a", "[::1]:5000/a", "[::1]:5000"),
            ("r.example.com/a_b/c--d.e", "r.example.com/a_b/c--d.e", "r.example.com"),
        ] {
            let name = Repository::parse(text).unwrap();
            assert_eq!((name.to_string().as_str(), name.host()), (shown, host), "{text}");
        }
        for bad in [
            "",
            "api:v1",
            "r.example.com/a@sha256:ff",
            "r.example.com/",
            "r.example.com/A",
            "-x/a",
            "a//b",
            "r.example.com/a?b",
            "r.example.com/../b",
            "r.example.com/a b",
            "r.example.com@x/a",
            &"a".repeat(256),
        ] {
            assert_eq!(Repository::parse(bad).unwrap_err().kind(), ErrorKind::Invalid, "{bad}");
        }
    }

    #[test]
    fn only_this_machine_is_asked_without_tls() {
        for host in ["localhost", "localhost:5000", "127.0.0.1:5000", "127.8.8.8", "[::1]:5000"] {
            assert!(is_loopback(host), "{host}");
        }
        for host in ["localhost.example.com", "10.0.0.1:5000", "registry.example.com", "[fe80::1]:1", ""] {
            assert!(!is_loopback(host), "{host}");
        }
    }

    #[test]
    fn tags_digests_and_commits_have_their_forms() {
        assert!(check_tag("v1.2-3_x").is_ok() && check_tag("_").is_ok());
        for bad in ["", ".x", "-x", "a/b", "a:b", &"a".repeat(129)] {
            assert!(check_tag(bad).is_err(), "{bad}");
        }
        let hex = "9f2c1ab0".repeat(8);
        assert!(is_digest(&format!("sha256:{hex}")) && !is_digest(&hex) && !is_digest("sha256:9F"));
        assert!(check_commit(&hex).is_ok() && check_commit(&hex[..40]).is_ok());
        assert!(check_commit("9f2c1ab").is_err() && check_commit(&"G".repeat(40)).is_err());
        assert_eq!((short(&hex).as_str(), short("v1\n").as_str()), ("9f2c1ab", "v1"));
    }

    #[test]
    fn platforms_have_one_name_each() {
        for (text, name) in [
            ("linux/arm64/v8", "linux/arm64"),
            ("linux/aarch64", "linux/arm64"),
            ("linux/x86_64", "linux/amd64"),
            ("linux/arm", "linux/arm/v7"),
            ("linux/arm/v6", "linux/arm/v6"),
        ] {
            assert_eq!(ImagePlatform::parse(text).unwrap().to_string(), name);
        }
        for bad in ["linux", "linux/", "/amd64", "linux/a/b/c", "linux/a b", ""] {
            assert!(ImagePlatform::parse(bad).is_err(), "{bad}");
        }
    }
}
