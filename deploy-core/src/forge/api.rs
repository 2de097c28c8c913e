//! What GitHub and Bitbucket have in common: a base address, a clock, a rate budget, and two kinds of calls.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header};
use serde::de::DeserializeOwned;

use super::{
    answer::{self, Sent},
    budget::Budget,
    http::{Answer, Keep, Request, Transport},
};
use crate::{
    clock::Clock,
    context::Permit,
    error::{Error, ErrorKind, Result},
};

/// How long one read may take.
const READ: Duration = Duration::from_secs(10);
/// How long the end of a log may take: it can be long, and only its end is kept.
const DOWNLOAD: Duration = Duration::from_secs(30);
/// How often a read is made, and how long the first pause between two is.
const READ_TRIES: u32 = 3;
const READ_PAUSE: Duration = Duration::from_millis(500);
/// The longest answer of an API: a page of a hundred jobs with their steps has less.
const LONGEST: usize = 8 * 1024 * 1024;
/// How much of a log is kept.
const LOG: usize = 64 * 1024;

/// One API, with what its users share.
#[derive(Debug)]
pub(crate) struct Api {
    pub(crate) server: &'static str,
    /// Without a slash at the end.
    base: String,
    /// Scheme, host and port of it.
    origin: (String, String),
    headers: HeaderMap,
    transport: Arc<dyn Transport>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) budget: Budget,
}

/// One reading of an API: who asks.
#[derive(Debug, Clone)]
pub(crate) struct Reader<'a> {
    pub(crate) api: &'a Api,
    /// The value of `authorization`.
    pub(crate) auth: HeaderValue,
}

/// A page that is asked for again and again. One that has not changed is not sent again, and costs nothing of GitHub's primary
/// rate limit (<https://docs.github.com/en/rest/using-the-rest-api/best-practices-for-using-the-rest-api>).
#[derive(Debug, Default, Clone)]
pub(crate) struct Page {
    etag: Option<HeaderValue>,
    body: Bytes,
}

impl Page {
    /// What it says.
    pub(crate) fn read<T: DeserializeOwned>(&self, doing: &str) -> Result<T> {
        serde_json::from_slice(&self.body)
            .map_err(|error| answer::malformed(doing, Sent::Read, &error.to_string()))
    }
}

/// The `authorization` of a token.
pub(crate) fn bearer(scheme: &str, token: &str) -> Result<HeaderValue> {
    let unusable = |_| Error::new(ErrorKind::Unauthenticated, "the token has characters that no token has");
    let mut value = HeaderValue::from_str(&format!("{scheme} {token}")).map_err(unusable)?;
    value.set_sensitive(true);
    Ok(value)
}

impl Api {
    /// # Errors
    /// [`ErrorKind::Invalid`] if the address is none, or would send a token in the clear.
    pub(crate) fn new(
        server: &'static str,
        base: &str,
        headers: &[(&'static str, &'static str)],
        transport: Arc<dyn Transport>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self> {
        let base = base.trim_end_matches('/').to_owned();
        let origin = origin(&base)?;
        let pair = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        let headers = headers.iter().map(pair).collect();
        Ok(Self { server, base, origin, headers, transport, clock, budget: Budget::default() })
    }

    fn url(&self, path: &str) -> Result<Uri> {
        parsed(&format!("{}{path}", self.base))
    }

    /// Whether anything may be sent: asked before a permit is, because a permit does not wait.
    pub(crate) fn ready(&self) -> Result<()> {
        self.budget.ready(self.server, self.clock.elapsed())
    }

    fn headers(&self, auth: &HeaderValue, agent: &str) -> HeaderMap {
        let mut headers = self.headers.clone();
        headers.insert(header::AUTHORIZATION, auth.clone());
        headers.insert(
            header::USER_AGENT,
            HeaderValue::from_str(agent).unwrap_or_else(|_| HeaderValue::from_static("deploy-kit")),
        );
        headers
    }

    /// Takes in what an answer says about the rate limit; an error if it is not a success.
    fn checked(&self, doing: &str, sent: Sent, answer: Answer) -> Result<Answer> {
        let throttled = self.budget.note(self.clock.elapsed(), self.clock.now(), &answer);
        match answer.status {
            200..=299 | 302 | 304 if throttled.is_none() => Ok(answer),
            _ => Err(answer::refused(doing, sent, &answer, throttled)),
        }
    }

    /// One mutation, sent once under its permit.
    pub(crate) async fn mutate(
        &self,
        doing: &str,
        path: &str,
        body: Bytes,
        auth: &HeaderValue,
        permit: &Permit,
    ) -> Result<Answer> {
        self.ready()?;
        // Kept in the organisation's audit log: which deploy made a call, and by which of its intents.
        let agent = format!("deploy-kit/{}#{}", permit.token(), permit.fence());
        let mut headers = self.headers(auth, &agent);
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let url = self.url(path)?;
        let request = Request { method: Method::POST, url, headers, body, keep: Keep::All(LONGEST) };
        permit.check()?;
        let answer = self.transport.exchange(request).await;
        let answer = answer.map_err(|error| answer::broken(doing, Sent::Mutation, error))?;
        match self.checked(doing, Sent::Mutation, answer)? {
            answer if answer.status < 300 => Ok(answer),
            answer => Err(answer::refused(doing, Sent::Mutation, &answer, None)),
        }
    }

    async fn exchange(&self, doing: &str, request: Request, limit: Duration) -> Result<Answer> {
        tokio::select! {
            biased;
            answer = self.transport.exchange(request) => {
                answer.map_err(|error| answer::broken(doing, Sent::Read, error))
            }
            () = self.clock.sleep(limit) => Err(answer::late(doing, limit)),
        }
    }
}

impl Reader<'_> {
    /// Reads a page by its path, or by the address that the server gave for it. `true`: it has changed. One call, up to three
    /// if the server cannot answer.
    pub(crate) async fn page(&self, doing: &str, path: &str, page: &mut Page) -> Result<bool> {
        let url = match path.strip_prefix('/') {
            Some(_) => self.api.url(path)?,
            None => self.within(doing, path)?,
        };
        let mut pause = READ_PAUSE;
        let mut tries = 1;
        let answer = loop {
            match self.once(doing, &url, page.etag.as_ref()).await {
                Err(error) if passes(&error) && tries < READ_TRIES => {
                    self.api.clock.sleep(pause).await;
                    (pause, tries) = (pause * 2, tries + 1);
                }
                ended => break ended?,
            }
        };
        match answer.status {
            304 if page.etag.is_some() => Ok(false),
            200 => {
                let etag = answer.headers.get(header::ETAG).cloned();
                *page = Page { etag, body: answer.body };
                Ok(true)
            }
            _ => Err(answer::refused(doing, Sent::Read, &answer, None)),
        }
    }

    /// What a page says.
    pub(crate) async fn get<T: DeserializeOwned>(&self, doing: &str, path: &str) -> Result<T> {
        let mut page = Page::default();
        self.page(doing, path, &mut page).await?;
        page.read(doing)
    }

    /// The end of a text that the API redirects to. The token is not sent along: the address that it is at carries a
    /// permission of its own, and is somebody else's server.
    pub(crate) async fn download(&self, doing: &str, path: &str) -> Result<String> {
        let answer = self.once(doing, &self.api.url(path)?, None).await?;
        let answer = if answer.status == 302 {
            let to = answer.header("location").unwrap_or_default();
            let url = parsed(to).and_then(|url| origin(to).map(|_| url));
            let url = url.map_err(|_| answer::malformed(doing, Sent::Read, "it redirects to no address"))?;
            let request = Request {
                method: Method::GET,
                url,
                headers: HeaderMap::new(),
                body: Bytes::new(),
                keep: Keep::End(LOG),
            };
            self.api.exchange(doing, request, DOWNLOAD).await?
        } else {
            answer
        };
        match answer.status {
            200 => Ok(String::from_utf8_lossy(&answer.body).into_owned()),
            _ => Err(answer::refused(doing, Sent::Read, &answer, None)),
        }
    }

    async fn once(&self, doing: &str, url: &Uri, etag: Option<&HeaderValue>) -> Result<Answer> {
        self.api.ready()?;
        let mut headers = self.api.headers(&self.auth, "deploy-kit");
        if let Some(etag) = etag {
            headers.insert(header::IF_NONE_MATCH, etag.clone());
        }
        let keep = Keep::All(LONGEST);
        let request = Request { method: Method::GET, url: url.clone(), headers, body: Bytes::new(), keep };
        let answer = self.api.exchange(doing, request, READ).await?;
        self.api.checked(doing, Sent::Read, answer)
    }

    /// An address that the server gave: only one of its own gets the token.
    fn within(&self, doing: &str, url: &str) -> Result<Uri> {
        match origin(url) {
            Ok(origin) if origin == self.api.origin => parsed(url),
            _ => Err(answer::malformed(doing, Sent::Read, "it goes on at another server")),
        }
    }
}

fn passes(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::TimedOut)
}

fn parsed(url: &str) -> Result<Uri> {
    let invalid = |_| Error::new(ErrorKind::Invalid, "that is not the address of an API");
    url.parse().map_err(invalid)
}

/// Scheme and authority of an address that a token may be sent to: encrypted, or to this machine.
fn origin(url: &str) -> Result<(String, String)> {
    let url = parsed(url)?;
    let host = url.host().unwrap_or_default();
    let here = matches!(host, "localhost" | "127.0.0.1" | "[::1]");
    match (url.scheme_str(), url.authority()) {
        (Some(scheme @ "https"), Some(authority)) => Ok((scheme.to_owned(), authority.to_string())),
        (Some(scheme @ "http"), Some(authority)) if here => Ok((scheme.to_owned(), authority.to_string())),
        _ => Err(Error::new(ErrorKind::Invalid, "the address of an API begins with https://")),
    }
}

/// One part of a path.
pub(crate) fn part(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_sent_over_tls_or_to_this_machine() {
        for good in [
            "https://api.github.com",
            "https://git.example.com/api/v3",
            "http://127.0.0.1:4000",
            "http://[::1]:1",
        ] {
            assert!(origin(good).is_ok(), "{good}");
        }
        for bad in [
            "http://git.example.com",
            "ftp://127.0.0.1",
            "git.example.com",
            "",
            "http://127.0.0.1.example.com",
            "/repos",
        ] {
            assert_eq!(origin(bad).unwrap_err().kind(), ErrorKind::Invalid, "{bad}");
        }
    }

    #[test]
    fn a_part_of_a_path_stays_one() {
        assert_eq!(part("a b/../ü?.yml"), "a%20b%2F..%2F%C3%BC%3F.yml");
    }

    #[test]
    fn a_token_does_not_show_itself() {
        let value = bearer("Bearer", "hunter2").unwrap();
        assert!(!format!("{value:?}").contains("hunter2"));
        let error = bearer("Bearer", "hunter2\n").unwrap_err();
        assert!(!format!("{error:?}").contains("hunter2"));
    }
}
