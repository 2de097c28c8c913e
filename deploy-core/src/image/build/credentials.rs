//! Which registries a build may pull from, and the logins to them: the classic builder wants all before it begins.

use std::collections::{BTreeSet, HashMap};

use bollard::auth::DockerCredentials;

use crate::{
    error::Result,
    image::{
        logins::{RegistryLogins, server_of},
        redact::Redactor,
    },
};

/// A Dockerfile that names more registries than this is asked for with the first ones.
const HOSTS_MAX: usize = 16;

/// What in a Dockerfile, its arguments and caches looks like a registry; Docker Hub, which needs no name, is always one.
/// Asking for a login to something else does no harm.
pub(super) fn hosts<'a>(
    dockerfile: &'a str,
    arguments: impl Iterator<Item = &'a String>,
    cache_from: &'a [String],
) -> BTreeSet<String> {
    let named = |line: &&str| {
        let word = line.split_whitespace().next().unwrap_or_default();
        ["FROM", "ARG", "COPY", "RUN"].iter().any(|instruction| word.eq_ignore_ascii_case(instruction))
    };
    let lines = dockerfile.lines().map(str::trim).filter(named);
    let texts = lines.chain(arguments.map(String::as_str)).chain(cache_from.iter().map(String::as_str));
    let words = texts.flat_map(|text| text.split(|c: char| c.is_whitespace() || "=\"',;()|&{}$".contains(c)));
    let hosts = words.filter_map(|word| {
        let (host, rest) = word.split_once('/')?;
        let plain = |c: char| c.is_ascii_alphanumeric() || ".-:".contains(c);
        let is_host =
            host == "localhost" || host.contains('.') && !host.starts_with('.') || host.contains(':');
        // `https://` is no host.
        (is_host && host.chars().all(plain) && !host.ends_with(':') && !rest.starts_with('/'))
            .then(|| host.to_owned())
    });
    hosts.take(HOSTS_MAX).chain(["docker.io".to_owned()]).collect()
}

pub(super) async fn of_hosts(
    hosts: BTreeSet<String>,
    logins: &dyn RegistryLogins,
    redactor: &Redactor,
) -> Result<HashMap<String, DockerCredentials>> {
    let mut credentials = HashMap::new();
    for host in hosts {
        if let Some(login) = logins.login(&host).await? {
            login.redact(redactor);
            let server = server_of(&host).to_owned();
            credentials.insert(server.clone(), login.for_engine(&server));
        }
    }
    Ok(credentials)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registries_are_found_where_images_are_named() {
        let dockerfile = "# FROM comment.example.com/x\nARG BASE=arg.example.com/a\nFROM --platform=linux/amd64 \
            one.example.com:5000/x AS y\n  from ${BASE}\nCOPY --from=two.example.com/z /a /b\nFROM localhost/w\n\
            RUN --mount=type=bind,from=three.example.com/q curl https://no.example.com/x ./bin/x ../y\nENV X=no.example.com/y\n";
        let argument = ["four.example.com/v:1".to_owned()];
        let found = hosts(dockerfile, argument.iter(), &["five.example.com/c:cache".to_owned()]);
        let expected = [
            "arg.example.com",
            "docker.io",
            "five.example.com",
            "four.example.com",
            "localhost",
            "one.example.com:5000",
            "three.example.com",
            "two.example.com",
        ];
        assert_eq!(found.iter().map(String::as_str).collect::<Vec<_>>(), expected);
    }
}
