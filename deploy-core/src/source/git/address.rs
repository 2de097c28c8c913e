//! Where a remote is, from its URL.

use std::path::Path;

use crate::report::scrub_line;

/// How a remote is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scheme {
    Http,
    Https,
    Ssh,
    /// A path on this machine.
    Local,
    /// `git://`, and what libgit2 may not know at all.
    Other,
}

/// A remote's URL in its parts, as far as they are needed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) scheme: Scheme,
    pub(super) user: Option<String>,
    /// Empty for a path.
    pub(super) host: String,
    pub(super) port: Option<String>,
    /// With its slash, if the URL has one.
    path: String,
    /// `user@host:path`, without a scheme.
    short_form: bool,
    /// For people: without user and password.
    pub(super) shown: String,
}

impl Address {
    /// The same rules as git's: a scheme, or a colon before the first slash, or a path.
    pub(super) fn of(url: &str) -> Self {
        if let Some((scheme, rest)) = url.split_once("://") {
            let scheme = match scheme.to_ascii_lowercase().as_str() {
                "http" => Scheme::Http,
                "https" => Scheme::Https,
                "ssh" | "git+ssh" | "ssh+git" => Scheme::Ssh,
                "file" => Scheme::Local,
                _ => Scheme::Other,
            };
            let end = rest.find('/').unwrap_or(rest.len());
            return Self::parts(url, scheme, &rest[..end], &rest[end..], false);
        }
        if let Some(rest) = url.strip_prefix('[')
            && let Some((authority, path)) = rest.split_once("]:")
        {
            return Self::parts(url, Scheme::Ssh, authority, path, true);
        }
        match url.split_once(':') {
            // One letter is a drive.
            Some((host, path)) if !host.contains('/') && host.len() > 1 => {
                Self::parts(url, Scheme::Ssh, host, path, true)
            }
            _ => Self::parts(url, Scheme::Local, "", url, false),
        }
    }

    fn parts(url: &str, scheme: Scheme, authority: &str, path: &str, short_form: bool) -> Self {
        let (user, host) = match authority.rsplit_once('@') {
            Some((user, host)) => (user.split(':').next().filter(|user| !user.is_empty()), host),
            None => (None, authority),
        };
        let (host, port) = match host.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) && !name.contains(':') => {
                (name, Some(port).filter(|port| !port.is_empty()))
            }
            _ => (host, None),
        };
        let shown = match scheme {
            Scheme::Local => url.to_owned(),
            _ if short_form => format!("{host}:{path}"),
            _ => match url.split_once("://") {
                Some((scheme, _)) => {
                    let port = port.map(|port| format!(":{port}")).unwrap_or_default();
                    format!("{scheme}://{host}{port}{path}")
                }
                None => url.to_owned(),
            },
        };
        Self {
            scheme,
            user: user.map(str::to_owned),
            host: host.to_ascii_lowercase(),
            port: port.map(str::to_owned),
            path: path.to_owned(),
            short_form,
            shown: scrub_line(&shown),
        }
    }

    /// Whether it is the same server, spoken to in the same way.
    pub(super) fn is_same_server(&self, other: &Self) -> bool {
        (self.scheme, &self.host, &self.port) == (other.scheme, &other.host, &other.port)
    }

    /// A machine that nobody else can listen on.
    pub(super) fn is_loopback(&self) -> bool {
        let host = self.host.trim_start_matches('[').trim_end_matches(']');
        host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
    }

    /// The path, if it is one from the top of the work tree.
    pub(super) fn relative_path(&self) -> Option<&Path> {
        let path = Path::new(&self.path);
        (self.scheme == Scheme::Local && path.is_relative()).then_some(path)
    }

    /// The same path on another host.
    pub(super) fn at(&self, user: Option<&str>, host: &str, port: &str) -> String {
        let user = user.map(|user| format!("{user}@")).unwrap_or_default();
        let path = &self.path;
        match self.short_form {
            true => format!("[{user}{host}:{port}]:{path}"),
            false => format!("ssh://{user}{host}:{port}{path}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart_as_git_does_it_and_shown_without_credentials() {
        let cases = [
            (
                "https://example.com/a.git",
                Scheme::Https,
                None,
                "example.com",
                None,
                "https://example.com/a.git",
            ),
            (
                "https://me:pa:ss@Example.com:8443/a",
                Scheme::Https,
                Some("me"),
                "example.com",
                Some("8443"),
                "https://Example.com:8443/a",
            ),
            (
                "http://token@127.0.0.1:80/",
                Scheme::Http,
                Some("token"),
                "127.0.0.1",
                Some("80"),
                "http://127.0.0.1:80/",
            ),
            (
                "ssh://git@host:2222/~/a",
                Scheme::Ssh,
                Some("git"),
                "host",
                Some("2222"),
                "ssh://host:2222/~/a",
            ),
            ("git@host:a/b.git", Scheme::Ssh, Some("git"), "host", None, "host:a/b.git"),
            ("host:a", Scheme::Ssh, None, "host", None, "host:a"),
            ("[git@host:22]:a", Scheme::Ssh, Some("git"), "host", Some("22"), "host:a"),
            ("git://host/a", Scheme::Other, None, "host", None, "git://host/a"),
            ("/srv/a.git", Scheme::Local, None, "", None, "/srv/a.git"),
            ("../a:b", Scheme::Local, None, "", None, "../a:b"),
            ("C:/a", Scheme::Local, None, "", None, "C:/a"),
            ("file:///srv/a", Scheme::Local, None, "", None, "file:///srv/a"),
            ("", Scheme::Local, None, "", None, ""),
            ("ssh://[::1]:22/a", Scheme::Ssh, None, "[::1]:22", None, "ssh://[::1]:22/a"),
        ];
        for (url, scheme, user, host, port, shown) in cases {
            let address = Address::of(url);
            let found = (address.scheme, address.user.as_deref(), &*address.host, address.port.as_deref());
            assert_eq!(found, (scheme, user, host, port), "{url}");
            assert_eq!(address.shown, shown, "{url}");
        }
    }

    #[test]
    fn another_server_is_told_apart_and_a_host_can_be_put_in_place_of_its_alias() {
        let here = Address::of("https://example.com/a");
        assert!(here.is_same_server(&Address::of("https://me@EXAMPLE.com/b/info/refs")));
        for other in ["http://example.com/a", "https://example.com:444/a", "https://example.com.evil.test/a"]
        {
            assert!(!here.is_same_server(&Address::of(other)), "{other}");
        }
        assert!(
            Address::of("http://localhost:1/").is_loopback()
                && Address::of("http://127.1.2.3/").is_loopback()
        );
        assert!(!here.is_loopback() && !Address::of("http://localhost.evil.test/").is_loopback());
        assert_eq!(Address::of("../a.git").relative_path(), Some(Path::new("../a.git")));
        for other in ["/srv/a.git", "file:///srv/a.git", "host:a.git"] {
            assert_eq!(Address::of(other).relative_path(), None, "{other}");
        }
        let short = Address::of("work:shop/api.git");
        assert_eq!(short.at(Some("git"), "example.com", "2222"), "[git@example.com:2222]:shop/api.git");
        let long = Address::of("ssh://work/shop/api.git");
        assert_eq!(long.at(None, "example.com", "22"), "ssh://example.com:22/shop/api.git");
    }
}
