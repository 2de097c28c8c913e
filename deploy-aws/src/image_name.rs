//! Image references, taken apart.

use std::fmt;

/// An image reference in its parts: `repository[:tag][@digest]`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ImageName {
    /// The repository, registry included.
    pub repository: String,
    /// The tag, if it has one.
    pub tag: Option<String>,
    /// The digest (`sha256:...`), if it has one.
    pub digest: Option<String>,
}

impl ImageName {
    /// Takes a reference apart. Every text is one: what cannot be taken apart is all repository.
    #[must_use]
    pub fn parse(reference: &str) -> Self {
        let (name, digest) = match reference.split_once('@') {
            Some((name, digest)) => (name, Some(digest.to_owned())),
            None => (reference, None),
        };
        // A colon before the last slash is a port.
        let (repository, tag) = match name.rsplit_once(':') {
            Some((repository, tag)) if !tag.contains('/') => (repository.to_owned(), Some(tag.to_owned())),
            _ => (name.to_owned(), None),
        };
        Self { repository, tag, digest }
    }

    /// The tag, if it is a full commit hash.
    #[must_use]
    pub fn commit(&self) -> Option<&str> {
        self.tag.as_deref().filter(|tag| tag.len() == 40 && tag.bytes().all(|b| b.is_ascii_hexdigit()))
    }

    /// The reference by digest, without tag.
    #[must_use]
    pub fn at(&self, digest: &str) -> Self {
        Self { repository: self.repository.clone(), tag: None, digest: Some(digest.to_owned()) }
    }

    /// Account, region and repository name, if it is in a private registry of ECR.
    #[must_use]
    pub fn in_ecr(&self) -> Option<(&str, &str, &str)> {
        let (host, name) = self.repository.split_once('/')?;
        let (account, region) = ecr_registry(host)?;
        Some((account, region, name))
    }
}

/// The domains of AWS's partitions that ECR's registries are in.
const DOMAINS: [&str; 3] = ["amazonaws.com", "amazonaws.com.cn", "amazonaws.eu"];

/// Account and region of a private registry of ECR. Logins go there, so nothing that only looks like one is taken for one.
pub(crate) fn ecr_registry(host: &str) -> Option<(&str, &str)> {
    let mut parts = host.splitn(5, '.');
    let (account, dkr, ecr, region, domain) =
        (parts.next()?, parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let digits = account.len() == 12 && account.bytes().all(|b| b.is_ascii_digit());
    let word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let is_ecr = dkr == "dkr" && matches!(ecr, "ecr" | "ecr-fips") && DOMAINS.contains(&domain);
    (is_ecr && digits && !region.is_empty() && region.bytes().all(word)).then_some((account, region))
}

impl fmt::Display for ImageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        match &self.digest {
            Some(digest) => write!(f, "@{digest}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_taken_apart() {
        for (text, repository, tag, digest) in [
            ("nginx", "nginx", None, None),
            ("localhost:5000/api", "localhost:5000/api", None, None),
            ("localhost:5000/api:v1", "localhost:5000/api", Some("v1"), None),
            ("a/b@sha256:ff", "a/b", None, Some("sha256:ff")),
            ("a/b:v1@sha256:ff", "a/b", Some("v1"), Some("sha256:ff")),
        ] {
            let name = ImageName::parse(text);
            assert_eq!(
                (name.repository.as_str(), name.tag.as_deref(), name.digest.as_deref()),
                (repository, tag, digest)
            );
            assert_eq!(name.to_string(), text);
        }
    }

    #[test]
    fn ecr_is_recognised() {
        let name = ImageName::parse("123456789012.dkr.ecr.us-east-1.amazonaws.com/shop/api:v1");
        assert_eq!(name.in_ecr(), Some(("123456789012", "us-east-1", "shop/api")));
        let fips = ImageName::parse("123456789012.dkr.ecr-fips.us-east-1.amazonaws.com/api");
        assert!(fips.in_ecr().is_some());
        assert!(ImageName::parse("public.ecr.aws/nginx/nginx").in_ecr().is_none());
        assert!(ImageName::parse("api").in_ecr().is_none());
    }

    #[test]
    fn what_only_looks_like_ecr_gets_no_login() {
        for host in [
            "123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn",
            "123456789012.dkr.ecr.eusc-de-east-1.amazonaws.eu",
            "123456789012.dkr.ecr-fips.us-gov-west-1.amazonaws.com",
        ] {
            assert_eq!(ecr_registry(host).map(|(account, _)| account), Some("123456789012"), "{host}");
        }
        for host in [
            "123456789012.dkr.ecr.us-east-1.amazonaws.com.evil.example.com",
            "123456789012.dkr.ecr.us-east-1.amazonaws.example.com",
            "123456789012.dkr.ecr.evil.example.com/.amazonaws.com",
            "123456789012.dkr.ecrx.us-east-1.amazonaws.com",
            "123456789012.dkr.ecr..amazonaws.com",
            "123456789012.dkr.ecr.us_east.amazonaws.com",
            "12345678901.dkr.ecr.us-east-1.amazonaws.com",
            "12345678901x.dkr.ecr.us-east-1.amazonaws.com",
            "123456789012.dkr.ecr.us-east-1.amazonaws.com:443",
            "x.123456789012.dkr.ecr.us-east-1.amazonaws.com",
            "public.ecr.aws",
            "docker.io",
            "",
        ] {
            assert_eq!(ecr_registry(host), None, "{host}");
        }
    }

    #[test]
    fn a_commit_is_forty_hex_digits() {
        let commit = "9f2c1ab0".repeat(5);
        assert_eq!(ImageName::parse(&format!("api:{commit}")).commit(), Some(commit.as_str()));
        assert_eq!(ImageName::parse("api:9f2c1ab").commit(), None);
    }
}
