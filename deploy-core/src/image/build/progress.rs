//! What a builder says while it builds, as events; and which step failed.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
};

use bollard::models::{BuildInfo, BuildInfoAux};
use bollard_buildkit_proto::moby::buildkit::v1::{StatusResponse, Vertex};

use crate::{
    error::{Error, ErrorKind, Retry},
    image::{
        engine::{is_disk_full, of_text},
        event::{BuilderKind, ImageEvent, ImageEvents, StepState},
        redact::Redactor,
    },
    report::scrub_line,
};

/// How many lines of a step are kept for its failure.
const LINES_KEPT: usize = 100;
/// A line without an end is ended here, in bytes.
const LINE_BYTES_MAX: usize = 16 * 1024;
/// How many steps are kept track of.
const STEPS_MAX: usize = 10_000;

/// The step that a build failed at, with the last lines that it wrote: the source of the build's error. Scrubbed, and free
/// of the build's secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct FailedStep {
    /// The step, as the builder names it.
    pub step: String,
    /// Its last lines, a hundred at most.
    pub log: Vec<String>,
}

impl FailedStep {
    /// A step and what it wrote: scrubbed, and only the last hundred lines.
    pub fn new(step: &str, log: impl IntoIterator<Item = impl AsRef<str>>) -> Self {
        let mut kept = VecDeque::with_capacity(LINES_KEPT);
        for line in log {
            if kept.len() == LINES_KEPT {
                kept.pop_front();
            }
            kept.push_back(scrub_line(line.as_ref()));
        }
        Self { step: scrub_line(step), log: kept.into() }
    }
}

impl fmt::Display for FailedStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.step)?;
        for line in &self.log {
            write!(f, "\n    {line}")?;
        }
        Ok(())
    }
}

impl std::error::Error for FailedStep {}

/// Follows one build.
#[derive(Debug)]
pub(super) struct Progress {
    builder: BuilderKind,
    redactor: Redactor,
    events: ImageEvents,
    /// BuildKit's steps by digest; the classic builder's only one is under the empty name.
    steps: BTreeMap<String, Step>,
    /// The step that failed, or the one that was heard of last.
    current: String,
    image_id: Option<String>,
}

#[derive(Debug, Default)]
struct Step {
    name: String,
    state: Option<StepState>,
    log: Log,
}

/// Lines, put together from pieces of any size.
#[derive(Debug, Default)]
struct Log {
    partial: Vec<u8>,
    kept: VecDeque<String>,
}

impl Log {
    fn add(&mut self, bytes: &[u8], redactor: &Redactor) -> Vec<String> {
        let mut lines = Vec::new();
        for byte in bytes {
            if *byte != b'\n' && self.partial.len() < LINE_BYTES_MAX {
                self.partial.push(*byte);
                continue;
            }
            lines.extend(self.end(redactor));
            if *byte != b'\n' {
                self.partial.push(*byte);
            }
        }
        lines
    }

    fn end(&mut self, redactor: &Redactor) -> Option<String> {
        let bytes = std::mem::take(&mut self.partial);
        // What was overwritten by a carriage return nobody would have seen.
        let bytes = bytes.trim_ascii_end();
        let shown = bytes.rsplit(|byte| *byte == b'\r').next().unwrap_or(bytes);
        let line = redactor.line(&String::from_utf8_lossy(shown));
        if line.is_empty() {
            return None;
        }
        if self.kept.len() == LINES_KEPT {
            self.kept.pop_front();
        }
        self.kept.push_back(line.clone());
        Some(line)
    }
}

impl Progress {
    pub(super) fn new(builder: BuilderKind, redactor: Redactor, events: ImageEvents) -> Self {
        Self { builder, redactor, events, steps: BTreeMap::new(), current: String::new(), image_id: None }
    }

    pub(super) fn image_id(&self) -> Option<String> {
        self.image_id.clone()
    }

    /// Takes in one message of the Engine's.
    pub(super) fn heard(&mut self, info: BuildInfo) {
        match info.aux {
            Some(BuildInfoAux::BuildKit(status)) => self.buildkit(status),
            Some(BuildInfoAux::Default(image)) => self.image_id = image.id.or(self.image_id.take()),
            None => {}
        }
        if let Some(text) = info.stream {
            self.classic(&text);
        }
    }

    fn buildkit(&mut self, status: StatusResponse) {
        for vertex in status.vertexes {
            self.vertex(&vertex);
        }
        for log in status.logs {
            if self.known(&log.vertex) {
                self.log(&log.vertex, &log.msg);
            }
        }
        for warning in status.warnings {
            let line = self.redactor.line(&String::from_utf8_lossy(&warning.short));
            self.events.send(ImageEvent::Log { step: String::new(), line });
        }
    }

    fn known(&mut self, digest: &str) -> bool {
        if self.steps.len() >= STEPS_MAX && !self.steps.contains_key(digest) {
            return false;
        }
        self.steps.entry(digest.to_owned()).or_default();
        true
    }

    fn vertex(&mut self, vertex: &Vertex) {
        if !self.known(&vertex.digest) {
            return;
        }
        let state = match vertex {
            Vertex { error, .. } if !error.is_empty() => Some(StepState::Failed),
            Vertex { cached: true, .. } => Some(StepState::Cached),
            Vertex { completed: Some(_), .. } => Some(StepState::Done),
            Vertex { started: Some(_), .. } => Some(StepState::Running),
            _ => None,
        };
        let name = self.redactor.line(&vertex.name);
        let Some(step) = self.steps.get_mut(&vertex.digest) else { return };
        step.name = name;
        // A step that was cancelled because another one failed has an error, too.
        let cancelled = vertex.error.contains("context canceled");
        let failed_before =
            self.steps.get(&self.current).is_some_and(|step| step.state == Some(StepState::Failed));
        if state.is_some() && !failed_before && !cancelled {
            self.current.clone_from(&vertex.digest);
        }
        if let Some(state) = state {
            self.to(&vertex.digest.clone(), state);
        }
    }

    fn to(&mut self, digest: &str, state: StepState) {
        let Some(step) = self.steps.get_mut(digest) else { return };
        if step.state.replace(state) != Some(state) {
            self.events.send(ImageEvent::Step { step: step.name.clone(), state });
        }
    }

    fn log(&mut self, digest: &str, bytes: &[u8]) {
        let Some(step) = self.steps.get_mut(digest) else { return };
        for line in step.log.add(bytes, &self.redactor) {
            self.events.send(ImageEvent::Log { step: step.name.clone(), line });
        }
    }

    /// The classic builder writes all on one stream: `Step 2/3 : RUN make`, then what it wrote.
    fn classic(&mut self, text: &str) {
        if self.builder != BuilderKind::Classic {
            return;
        }
        if text.starts_with("Step ") && text.contains(" : ") {
            self.done();
            let name = self.redactor.line(text);
            self.steps.insert(String::new(), Step { name, ..Step::default() });
            return self.to("", StepState::Running);
        }
        if text.trim() == "---> Using cache" {
            return self.to("", StepState::Cached);
        }
        let own = text.starts_with(" ---> ") || text.starts_with("Removing intermediate container ");
        let end = text.starts_with("Successfully built ") || text.starts_with("Successfully tagged ");
        if end {
            self.done();
        } else if !own && self.known("") {
            self.log("", text.as_bytes());
        }
    }

    fn done(&mut self) {
        if self.steps.get("").is_some_and(|step| step.state == Some(StepState::Running)) {
            self.to("", StepState::Done);
        }
    }

    /// The build failed with this error of the Engine's; `other` says what it means if it is not about a step.
    pub(super) fn failed(
        &mut self,
        error: bollard::errors::Error,
        other: impl FnOnce(bollard::errors::Error) -> Error,
    ) -> Error {
        let said = match &error {
            bollard::errors::Error::DockerStreamError { error } => error.clone(),
            _ => return self.with_step(other(error)),
        };
        let Some(code) = exit_code(&said) else { return self.with_step(other(error)) };
        let step = self.end_step();
        let full =
            step.as_ref().is_some_and(|step| step.log.iter().rev().take(10).any(|line| is_disk_full(line)));
        let name = step.as_ref().map_or("a step", |step| step.step.as_str());
        let last = step
            .as_ref()
            .and_then(|step| step.log.last())
            .map_or_else(String::new, |line| format!(": {line}"));
        let error = if full {
            of_text("build the image", &format!("no space left on device, in {name}"), &self.redactor)
        } else if code == "137" {
            Error::new(ErrorKind::Unavailable, format!("the build was killed at {name}{last}"))
                .retry_as(Retry::Always)
                .next("the machine of the Docker Engine may be short of memory")
        } else {
            Error::new(ErrorKind::Invalid, format!("the build failed at {name}, with exit code {code}{last}"))
                .next("correct it in a new commit")
        };
        match step {
            Some(step) => error.with_last_lines(step.log.clone()).because(step),
            None => error,
        }
    }

    /// The Engine stopped to talk before the end.
    pub(super) fn broken_off(&mut self) -> Error {
        let error =
            Error::new(ErrorKind::Unavailable, "the Docker Engine broke the build off, without a word")
                .retry_as(Retry::Always)
                .next("did it stop? Trying again does no harm");
        self.with_step(error)
    }

    fn with_step(&mut self, error: Error) -> Error {
        match self.end_step() {
            Some(step) => {
                let text = format!("at {}", step.step);
                error.with_last_lines(step.log.clone()).because(step).context(text)
            }
            None => error,
        }
    }

    fn end_step(&mut self) -> Option<FailedStep> {
        let current = self.current.clone();
        let line = self.steps.get_mut(&current).and_then(|step| step.log.end(&self.redactor));
        let name = self.steps.get(&current)?.name.clone();
        if let Some(line) = line {
            self.events.send(ImageEvent::Log { step: name.clone(), line });
        }
        self.to(&current, StepState::Failed);
        let log = self.steps.get(&current)?.log.kept.iter().cloned().collect();
        Some(FailedStep { step: name, log })
    }
}

/// The code that a command ended with, in the words of the builders of all ages.
fn exit_code(said: &str) -> Option<&str> {
    let after =
        ["returned a non-zero code: ", "exit code: "].iter().find_map(|words| said.rsplit_once(words))?.1;
    let end = after.find(|c: char| !c.is_ascii_digit()).unwrap_or(after.len());
    (end > 0).then(|| &after[..end])
}

#[cfg(test)]
#[path = "progress_tests.rs"]
mod tests;
