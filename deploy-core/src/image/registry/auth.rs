//! Logging in: challenges, and tokens for them. <https://distribution.github.io/distribution/spec/auth/token/>

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::Uri;
use serde::Deserialize;

use super::http::Asked;
use crate::{
    error::{Error, ErrorKind, Result},
    image::{logins::Login, name::is_loopback},
};

/// The name that we give to token servers: they log it.
const CLIENT: &str = "deploy-kit";

/// What a registry wants before it answers.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Challenge {
    scheme: String,
    parameters: BTreeMap<String, String>,
}

/// What follows from a challenge and a login.
#[derive(Debug)]
pub(super) enum Next {
    /// Send the call with this header.
    Send(String),
    /// Fetch a token first, with this header if there is a login.
    Fetch(Box<Asked>, Option<String>),
}

impl Challenge {
    /// Reads `Bearer realm="https://auth.example.com/token",service="x",scope="y"`. What is not understood is left out.
    pub(super) fn parse(text: &str) -> Self {
        let (scheme, mut rest) = text.trim().split_once(' ').unwrap_or((text.trim(), ""));
        let mut parameters = BTreeMap::new();
        while let Some((key, after)) = rest.split_once('=') {
            let key = key.trim_matches([',', ' ']).to_ascii_lowercase();
            let (value, after) = match after.strip_prefix('"') {
                Some(quoted) => quoted.split_once('"').unwrap_or((quoted, "")),
                None => after.split_once(',').unwrap_or((after, "")),
            };
            parameters.insert(key, value.to_owned());
            rest = after;
        }
        Self { scheme: scheme.to_ascii_lowercase(), parameters }
    }

    /// What to do next.
    pub(super) fn ask(&self, asked: &Asked, login: Option<&Login>) -> Result<Next> {
        match (self.scheme.as_str(), login) {
            ("basic", Some(Login::Password { username, password })) => {
                Ok(Next::Send(basic(username, password.expose())))
            }
            ("basic", Some(Login::IdentityToken(_))) => {
                Err(unauthenticated(asked, "wants a name and a password, and the login is a token"))
            }
            ("basic", None) => Err(unauthenticated(asked, "wants a login, and there is none")),
            ("bearer", login) => self.fetch(asked, login),
            _ => {
                let text = format!("{}: the registry wants a login of a kind that is not known here", asked);
                Err(Error::new(ErrorKind::Unsupported, text))
            }
        }
    }

    fn fetch(&self, asked: &Asked, login: Option<&Login>) -> Result<Next> {
        let malformed = |why: &str| {
            let text = format!("{asked}: {} sends for a token to {why}", asked.registry());
            Error::new(ErrorKind::Malformed, text)
        };
        let realm = self.parameters.get("realm").ok_or_else(|| malformed("nowhere"))?;
        let uri: Uri = realm.parse().map_err(|_| malformed("no address"))?;
        let host = uri.host().ok_or_else(|| malformed("no address"))?;
        // The login goes there, so nobody on the way may read it.
        if uri.scheme_str() != Some("https") && !is_loopback(host) {
            return Err(malformed("an address without TLS"));
        }
        let service = self.parameters.get("service").map_or("", String::as_str);
        let scope = self.parameters.get("scope").unwrap_or(&asked.scope);
        let pairs = |more: &[(&str, &str)]| {
            let mut query = form_urlencoded::Serializer::new(String::new());
            query.extend_pairs([("service", service), ("scope", scope)].iter().chain(more));
            query.finish()
        };
        if let Some(Login::IdentityToken(token)) = login {
            let grant =
                [("grant_type", "refresh_token"), ("client_id", CLIENT), ("refresh_token", token.expose())];
            return Ok(Next::Fetch(Box::new(asked.token("POST", realm.clone(), Some(pairs(&grant)))), None));
        }
        let joint = if uri.query().is_some() { '&' } else { '?' };
        let call = asked.token("GET", format!("{realm}{joint}{}", pairs(&[])), None);
        let authorization = login.and_then(|login| match login {
            Login::Password { username, password } => Some(basic(username, password.expose())),
            Login::IdentityToken(_) => None,
        });
        Ok(Next::Fetch(Box::new(call), authorization))
    }
}

fn basic(username: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{username}:{password}")))
}

/// The header that a token is sent in.
pub(super) fn token_of(asked: &Asked, body: &[u8]) -> Result<String> {
    #[derive(Deserialize)]
    struct Token {
        #[serde(default)]
        token: String,
        #[serde(default)]
        access_token: String,
    }
    // The parser's words may quote the token.
    let answer: Option<Token> = serde_json::from_slice(body).ok();
    let token =
        answer.map(|Token { token, access_token }| if token.is_empty() { access_token } else { token });
    match token.filter(|token| !token.is_empty()) {
        Some(token) => Ok(format!("Bearer {token}")),
        None => {
            let text = format!("{asked}: the token that {} gave is not understood", asked.registry());
            Err(Error::new(ErrorKind::Malformed, text))
        }
    }
}

pub(super) fn unauthenticated(asked: &Asked, why: &str) -> Error {
    let registry = asked.registry();
    Error::new(ErrorKind::Unauthenticated, format!("{asked}: {registry} {why}"))
        .next(format!("docker login {registry}, or check the credentials that are configured for it"))
}

/// Tokens by registry and what they allow. Kept until they are refused.
#[derive(Default)]
pub(super) struct Authorizations(Mutex<BTreeMap<(String, String), String>>);

impl Authorizations {
    fn with<T>(
        &self,
        asked: &Asked,
        with: impl FnOnce(&mut BTreeMap<(String, String), String>, (String, String)) -> T,
    ) -> T {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        with(&mut known, (asked.registry().to_owned(), asked.scope.clone()))
    }

    pub(super) fn of(&self, asked: &Asked) -> Option<String> {
        self.with(asked, |known, key| known.get(&key).cloned())
    }

    pub(super) fn keep(&self, asked: &Asked, authorization: &str) {
        self.with(asked, |known, key| known.insert(key, authorization.to_owned()));
    }

    pub(super) fn drop_of(&self, asked: &Asked) {
        self.with(asked, |known, key| known.remove(&key));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{image::name::Repository, model::Secret};

    fn asked() -> Asked {
        Asked::new("GET", &Repository::parse("r.example.com/shop/api").unwrap(), "tags/list".into(), "pull")
    }

    #[test]
    fn challenges_are_read() {
        let text = r#"Bearer realm="https://a.example.com/token",service="r.example.com",scope="repository:x:pull,push""#;
        let challenge = Challenge::parse(text);
        assert_eq!(challenge.scheme, "bearer");
        assert_eq!(challenge.parameters["scope"], "repository:x:pull,push");
        assert_eq!(challenge.parameters["service"], "r.example.com");
        assert_eq!(Challenge::parse("Basic realm=x, charset=\"UTF-8\"").parameters["charset"], "UTF-8");
        for odd in ["", "Basic", "Bearer =", "Bearer realm=\"", "x=\"=,=\"\"", "Bearer realm"] {
            let _ = Challenge::parse(odd).ask(&asked(), None);
        }
    }

    #[test]
    fn a_login_is_never_sent_without_tls() {
        for realm in ["http://a.example.com/token", "ftp://a", "/token", "a.example.com"] {
            let challenge = Challenge::parse(&format!("Bearer realm=\"{realm}\""));
            let error = challenge.ask(&asked(), Some(&Login::password("a", "b"))).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Malformed, "{realm}");
        }
        let here = Challenge::parse("Bearer realm=\"http://127.0.0.1:5001/token\"");
        assert!(here.ask(&asked(), None).is_ok());
    }

    #[test]
    fn each_kind_of_login_has_its_way() {
        let bearer = Challenge::parse("Bearer realm=\"https://a.example.com/t?x=1\",service=\"s s\"");
        let Next::Fetch(call, header) = bearer.ask(&asked(), Some(&Login::password("bob", "pw"))).unwrap()
        else {
            panic!("a token is fetched")
        };
        assert_eq!(header.as_deref(), Some("Basic Ym9iOnB3"));
        let shown = format!("{call:?}");
        assert!(shown.contains("t?x=1&service=s+s&scope=repository%3Ashop%2Fapi%3Apull"), "{shown}");
        let token = Login::IdentityToken(Secret::new("abc"));
        let Next::Fetch(_, None) = bearer.ask(&asked(), Some(&token)).unwrap() else { panic!("by its body") };
        let basic = Challenge::parse("Basic realm=\"x\"");
        let Next::Send(header) = basic.ask(&asked(), Some(&Login::password("bob", "pw"))).unwrap() else {
            panic!("sent at once")
        };
        assert_eq!(header, "Basic Ym9iOnB3");
        for login in [None, Some(&token)] {
            assert_eq!(basic.ask(&asked(), login).unwrap_err().kind(), ErrorKind::Unauthenticated);
        }
        let digest = Challenge::parse("Digest realm=\"x\"");
        assert_eq!(digest.ask(&asked(), None).unwrap_err().kind(), ErrorKind::Unsupported);
    }

    #[test]
    fn a_token_that_is_none_is_not_quoted() {
        assert_eq!(token_of(&asked(), br#"{"token":"a","access_token":"b"}"#).unwrap(), "Bearer a");
        assert_eq!(token_of(&asked(), br#"{"access_token":"b"}"#).unwrap(), "Bearer b");
        for bad in ["canary", "{}", r#"{"token":7,"x":"canary"}"#] {
            let error = token_of(&asked(), bad.as_bytes()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Malformed);
            assert!(!format!("{error:?}").contains("canary"));
        }
    }
}
