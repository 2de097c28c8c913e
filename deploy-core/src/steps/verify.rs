//! Looking afterwards whether a step did what it was to do: an exit code alone proves nothing.

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    command::{Command, Words},
    hosts::Machine,
    run::{self, Job},
};
use crate::{
    context::StepContext,
    error::{Error, ErrorKind, Result},
    model::{Secret, millis},
    report::scrub_line,
};

/// How long it may take until a step can be seen to have worked, unless the verification says otherwise.
const WITHIN: Duration = Duration::from_secs(60);
/// The pause between two looks.
const AGAIN: Duration = Duration::from_secs(2);
/// How long one request may take.
const REQUEST: Duration = Duration::from_secs(15);
/// How many characters of an unexpected answer are shown.
const SHOWN_CHARS: usize = 160;

/// What came back from a URL.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Fetched {
    /// The status code, after redirections.
    pub status: u16,
    /// The body, or its first mebibyte.
    pub body: Vec<u8>,
}

impl Fetched {
    /// A status and a body.
    #[must_use]
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self { status, body: body.into() }
    }
}

/// An HTTP client of the caller's.
#[async_trait]
pub trait Fetch: fmt::Debug + Send + Sync + 'static {
    /// Gets a URL once, without retries of its own. Dropped after 15 s.
    ///
    /// # Errors
    /// If there was no answer. An answer of any status is none.
    async fn get(&self, url: &str) -> Result<Fetched>;
}

/// What an answer has to be like.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Expect {
    /// That there is one: exit code 0, a status from 200 to 299.
    Success,
    /// As `Success`, and it contains this text.
    Contains(String),
    /// As `Success`, and without white space around it it is this text.
    Equals(String),
    /// As `Success`, and it is JSON with this text, number or truth value at this place
    /// ([RFC 6901](https://www.rfc-editor.org/rfc/rfc6901)): a dist-tag of npm is `/latest` in what its registry has at
    /// `/-/package/NAME/dist-tags`.
    Json {
        /// Where.
        pointer: String,
        /// What.
        equals: String,
    },
}

/// How it is seen that a step has worked. Read-only; `{app}`, `{env}` and `{commit}` are replaced in it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Verify {
    /// A command whose standard output is as expected. It is run here.
    Command {
        /// The command.
        command: Command,
        /// What is expected.
        expect: Expect,
        /// How long it may take until it is, in milliseconds.
        within_ms: u64,
    },
    /// A URL that answers as expected. Needs a [`Fetch`].
    Url {
        /// The URL.
        url: String,
        /// What is expected.
        expect: Expect,
        /// How long it may take until it does, in milliseconds.
        within_ms: u64,
    },
}

/// What a look tells.
#[derive(Debug)]
pub(super) enum Told {
    Yes,
    No(String),
    CannotTell(Error),
}

impl Verify {
    /// A command with this standard output, within a minute.
    #[must_use]
    pub fn command(command: Command, expect: Expect) -> Self {
        Self::Command { command: command.timeout_at_most(REQUEST), expect, within_ms: millis(WITHIN) }
    }

    /// A URL with this answer, within a minute.
    pub fn url(url: impl Into<String>, expect: Expect) -> Self {
        Self::Url { url: url.into(), expect, within_ms: millis(WITHIN) }
    }

    /// How long it may take until it is so.
    #[must_use]
    pub fn within(mut self, time: Duration) -> Self {
        match &mut self {
            Self::Command { within_ms, .. } | Self::Url { within_ms, .. } => *within_ms = millis(time),
        }
        self
    }

    pub(super) fn time(&self) -> Duration {
        match self {
            Self::Command { within_ms, .. } | Self::Url { within_ms, .. } => {
                Duration::from_millis(*within_ms)
            }
        }
    }

    pub(super) fn needs_fetch(&self) -> bool {
        matches!(self, Self::Url { .. })
    }

    pub(super) fn fill(&self, words: &Words) -> Result<Self> {
        let mut filled = self.clone();
        let expect = match &mut filled {
            Self::Command { command, expect, .. } => {
                *command = command.fill(words)?;
                expect
            }
            Self::Url { url, expect, .. } => {
                *url = words.fill(url)?;
                expect
            }
        };
        match expect {
            Expect::Success => {}
            Expect::Contains(text) | Expect::Equals(text) => *text = words.fill(text)?,
            Expect::Json { pointer, equals } => {
                *equals = words.fill(equals)?;
                if !pointer.is_empty() && !pointer.starts_with('/') {
                    let text = format!("`{pointer}` is no place in JSON: it begins with `/`");
                    return Err(Error::new(ErrorKind::Invalid, text));
                }
            }
        }
        Ok(filled)
    }

    /// What is looked at, for people.
    fn words(&self) -> String {
        match self {
            Self::Command { command, .. } => format!("`{}`", command.words()),
            Self::Url { url, .. } => scrub_line(url),
        }
    }

    /// One look.
    pub(super) async fn look(&self, fetch: Option<&dyn Fetch>, cx: &StepContext) -> Told {
        match self.look_once(fetch, cx).await {
            Ok(None) => Told::Yes,
            Ok(Some(instead)) => Told::No(format!("{} {instead}", self.words())),
            Err(error) => Told::CannotTell(error.context(self.words())),
        }
    }

    /// What it is like instead of what was expected, if it is not.
    async fn look_once(&self, fetch: Option<&dyn Fetch>, cx: &StepContext) -> Result<Option<String>> {
        match self {
            Self::Command { command, expect, .. } => {
                let job = Job {
                    name: format!("{} (verify)", cx.step()),
                    command,
                    machine: Machine::Here,
                    secrets: secrets(command, cx).await?,
                    keep: true,
                };
                let (clock, stop) = (&**cx.clock(), Box::pin(cx.until_interrupted()));
                let ended = run::run(job, clock, stop, || Ok(()), &|line| cx.log(line)).await?;
                if ended.exit != 0 {
                    return Ok(Some(ended.failure("says")));
                }
                Ok(expect.instead(&ended.output))
            }
            Self::Url { url, expect, .. } => {
                let Some(fetch) = fetch else {
                    return Err(Error::new(ErrorKind::Unsupported, "this process has no HTTP client for it"));
                };
                let got = tokio::select! {
                    biased;
                    got = fetch.get(url) => got?,
                    () = cx.clock().sleep(REQUEST) => {
                        return Err(Error::new(ErrorKind::TimedOut, format!("no answer within {} s", REQUEST.as_secs())));
                    }
                };
                match got.status {
                    200..=299 => Ok(expect.instead(&String::from_utf8_lossy(&got.body))),
                    // Who cannot answer now tells nothing.
                    429 | 500..=599 => {
                        Err(Error::new(ErrorKind::Unavailable, format!("status {}", got.status)))
                    }
                    status => Ok(Some(format!("answers with status {status}"))),
                }
            }
        }
    }
}

impl Expect {
    fn instead(&self, answer: &str) -> Option<String> {
        let shown = || {
            let line = scrub_line(answer);
            let short: String = line.chars().take(SHOWN_CHARS).collect();
            if short.is_empty() { "nothing".to_owned() } else { format!("`{short}`") }
        };
        match self {
            Self::Success => None,
            Self::Contains(text) => {
                (!answer.contains(text.as_str())).then(|| format!("says {}, without `{text}`", shown()))
            }
            Self::Equals(text) => (answer.trim() != text).then(|| format!("says {}, not `{text}`", shown())),
            Self::Json { pointer, equals } => {
                let Ok(json) = serde_json::from_str::<Value>(answer) else {
                    return Some(format!("says {}, which is not JSON", shown()));
                };
                let found = match json.pointer(pointer) {
                    Some(Value::String(text)) => text.clone(),
                    Some(other) => other.to_string(),
                    None => return Some(format!("has no {pointer}")),
                };
                (found != *equals).then(|| {
                    let found: String = scrub_line(&found).chars().take(SHOWN_CHARS).collect();
                    format!("has `{found}` at {pointer}, not `{equals}`")
                })
            }
        }
    }
}

/// Looks until all are so, each as long as it may take.
///
/// # Errors
/// [`ErrorKind::Unexpected`] if one certainly is not, a kind to try again by if it cannot be told.
pub(super) async fn all(verify: &[Verify], fetch: Option<&Arc<dyn Fetch>>, cx: &StepContext) -> Result<()> {
    let clock = cx.clock();
    for one in verify {
        let until = clock.elapsed() + one.time();
        loop {
            let told = one.look(fetch.map(|fetch| &**fetch), cx).await;
            if cx.interrupted() {
                return Err(Error::new(ErrorKind::Interrupted, format!("step {} was stopped", cx.step())));
            }
            let over = clock.elapsed() >= until;
            match told {
                Told::Yes => break,
                Told::No(text) if over => {
                    let text = format!("it ended well, and that cannot be seen: {text}");
                    return Err(Error::new(ErrorKind::Unexpected, text));
                }
                Told::CannotTell(error) if over => {
                    let text = format!("it ended well, and whether it did is not known: {}", error.message());
                    return Err(Error::new(ErrorKind::Unavailable, text));
                }
                Told::No(_) | Told::CannotTell(_) => {}
            }
            tokio::select! {
                biased;
                () = cx.until_interrupted() => {}
                () = clock.sleep(AGAIN) => {}
            }
        }
    }
    Ok(())
}

/// The values of a command's secrets, now.
pub(super) async fn secrets(command: &Command, cx: &StepContext) -> Result<Vec<(String, Secret)>> {
    let mut values = Vec::new();
    for (name, reference) in command.secrets() {
        values.push((name.clone(), cx.secret(reference).await?));
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_compared() {
        let json = Expect::Json { pointer: "/latest".into(), equals: "1.2.3".into() };
        assert_eq!(json.instead(r#"{"latest": "1.2.3"}"#), None);
        let port = Expect::Json { pointer: "/port".into(), equals: "80".into() };
        assert_eq!(port.instead(r#"{"port": 80}"#), None);
        for (expect, answer, says) in [
            (&json, r#"{"latest": "1.2.2"}"#, "has `1.2.2` at /latest, not `1.2.3`"),
            (&json, r#"{"next": "1.2.3"}"#, "has no /latest"),
            (&json, "<html>", "says `<html>`, which is not JSON"),
            (&Expect::Equals("v2".into()), "v1\n", "says `v1`, not `v2`"),
            (&Expect::Contains("v2".into()), "", "says nothing, without `v2`"),
        ] {
            assert_eq!(expect.instead(answer).as_deref(), Some(says));
        }
        assert_eq!(Expect::Equals("v2".into()).instead(" v2\n"), None);
        assert_eq!(Expect::Contains("v2".into()).instead("at v2 now"), None);
        assert_eq!(Expect::Success.instead("anything"), None);
    }
}
