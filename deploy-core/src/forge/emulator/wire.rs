//! Requests and answers as they are on the wire, and which call a request is.

use std::collections::BTreeMap;

use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value, json};

/// A request.
#[derive(Debug, Clone, Default)]
pub(super) struct WireRequest {
    pub(super) method: String,
    /// `https://api.github.test`: what addresses in answers begin with.
    pub(super) base: String,
    pub(super) path: String,
    pub(super) query: BTreeMap<String, String>,
    pub(super) authorization: Option<String>,
    pub(super) if_none_match: Option<String>,
    pub(super) agent: Option<String>,
    pub(super) body: Vec<u8>,
}

/// An answer.
#[derive(Debug, Clone)]
pub(super) struct WireAnswer {
    pub(super) status: u16,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Vec<u8>,
}

impl WireAnswer {
    pub(super) fn json(status: u16, body: &Value) -> Self {
        let kind = ("content-type", "application/json; charset=utf-8".to_owned());
        Self { status, headers: vec![kind], body: body.to_string().into_bytes() }
    }

    pub(super) fn empty(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Vec::new() }
    }

    pub(super) fn error(status: u16, message: &str) -> Self {
        let docs = "https://docs.github.com/rest";
        Self::json(
            status,
            &json!({ "message": message, "documentation_url": docs, "status": status.to_string() }),
        )
    }

    pub(super) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub(super) fn header_map(&self) -> HeaderMap {
        let pair = |(name, value): &(&'static str, String)| {
            Some((HeaderName::from_static(name), HeaderValue::from_str(value).ok()?))
        };
        self.headers.iter().filter_map(pair).collect()
    }
}

/// The query of an address, decoded.
pub(super) fn query(text: Option<&str>) -> BTreeMap<String, String> {
    let pairs = text.unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decoded(name), decoded(value))
        })
        .collect()
}

/// A part of an address without its escapes.
pub(super) fn decoded(text: &str) -> String {
    let (mut out, mut rest) = (Vec::new(), text.as_bytes());
    while let Some((&first, after)) = rest.split_first() {
        let digits = after.get(..2).and_then(|two| std::str::from_utf8(two).ok());
        match digits.and_then(|two| u8::from_str_radix(two, 16).ok()) {
            Some(byte) if first == b'%' => {
                out.push(byte);
                rest = after.get(2..).unwrap_or_default();
            }
            _ => {
                out.push(first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// A call: which, and of what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Call {
    /// Its name: for counting, and for faults.
    pub(super) name: &'static str,
    pub(super) repository: String,
    /// What it is about: a file, a number, a commit.
    pub(super) about: String,
}

/// Every call by its name. Those in the second list change something.
pub(super) const READS: [&str; 9] = [
    "list-runs",
    "get-run",
    "list-jobs",
    "annotations",
    "job-log",
    "download",
    "check-runs",
    "status",
    "build-statuses",
];
pub(super) const MUTATIONS: [&str; 4] = ["dispatch", "cancel", "force-cancel", "rerun"];

impl Call {
    pub(super) fn of(request: &WireRequest) -> Option<Self> {
        let path = request.path.strip_prefix("/api/v3").unwrap_or(&request.path);
        let parts: Vec<String> = path.trim_start_matches('/').split('/').map(decoded).collect();
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        let (name, owner, repository, about) = match (&*request.method, &*parts) {
            ("GET", ["_logs", id]) => ("download", "", "", *id),
            ("POST", ["repos", o, r, "actions", "workflows", file, "dispatches"]) => {
                ("dispatch", *o, *r, *file)
            }
            ("GET", ["repos", o, r, "actions", "workflows", file, "runs"]) => ("list-runs", *o, *r, *file),
            ("GET", ["repos", o, r, "actions", "runs", id]) => ("get-run", *o, *r, *id),
            ("GET", ["repos", o, r, "actions", "runs", id, "jobs"]) => ("list-jobs", *o, *r, *id),
            ("POST", ["repos", o, r, "actions", "runs", id, "cancel"]) => ("cancel", *o, *r, *id),
            ("POST", ["repos", o, r, "actions", "runs", id, "force-cancel"]) => ("force-cancel", *o, *r, *id),
            ("POST", ["repos", o, r, "actions", "runs", id, "rerun-failed-jobs"]) => ("rerun", *o, *r, *id),
            ("GET", ["repos", o, r, "actions", "jobs", id, "logs"]) => ("job-log", *o, *r, *id),
            ("GET", ["repos", o, r, "check-runs", id, "annotations"]) => ("annotations", *o, *r, *id),
            ("GET", ["repos", o, r, "commits", sha, "check-runs"]) => ("check-runs", *o, *r, *sha),
            ("GET", ["repos", o, r, "commits", sha, "status"]) => ("status", *o, *r, *sha),
            ("GET", ["2.0", "repositories", o, r, "commit", sha, "statuses"]) => {
                ("build-statuses", *o, *r, *sha)
            }
            _ => return None,
        };
        Some(Self { name, repository: format!("{owner}/{repository}"), about: about.to_owned() })
    }

    /// The number that it is about; 0 is nobody's.
    pub(super) fn number(&self) -> u64 {
        self.about.parse().unwrap_or(0)
    }
}
