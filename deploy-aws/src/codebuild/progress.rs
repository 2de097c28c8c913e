//! What a build says while it runs, as events.

use std::collections::{BTreeMap, VecDeque};

use deploy_core::{
    ErrorKind,
    image::{ImageEvent, ImageEvents, StepState},
    report::scrub_line,
};

use super::calls::{Phase, Seen, State};
use crate::{Aws, LogPlace, logs};

/// How many lines are kept for a failure.
const LINES_KEPT: usize = 100;
/// How many pages of the log are read at a time, and at its end.
const PAGES: usize = 10;
const LAST_PAGES: usize = 100;

/// Follows the phases and the log of one build.
#[derive(Debug)]
pub(super) struct Progress<'a> {
    aws: &'a Aws,
    events: &'a ImageEvents,
    phases: BTreeMap<String, StepState>,
    /// Where the log goes on.
    next: Option<String>,
    /// It cannot be read: that was said once.
    deaf: bool,
    kept: VecDeque<String>,
}

impl<'a> Progress<'a> {
    pub(super) fn new(aws: &'a Aws, events: &'a ImageEvents) -> Self {
        let (phases, kept) = (BTreeMap::new(), VecDeque::new());
        Self { aws, events, phases, next: None, deaf: false, kept }
    }

    /// The last lines of the log.
    pub(super) fn last_lines(&self) -> impl Iterator<Item = &String> {
        self.kept.iter()
    }

    pub(super) fn say(&self, line: &str) {
        self.events.send(ImageEvent::Log { step: String::new(), line: scrub_line(line) });
    }

    pub(super) fn phases(&mut self, phases: &[Phase]) {
        for phase in phases {
            let state = match phase.succeeded {
                None => StepState::Running,
                Some(true) => StepState::Done,
                Some(false) => StepState::Failed,
            };
            let before = self.phases.insert(phase.name.clone(), state);
            // A short one is seen at its end only.
            if before.is_none() && state != StepState::Running {
                self.events.send(ImageEvent::Step { step: phase.name.clone(), state: StepState::Running });
            }
            if before != Some(state) {
                self.events.send(ImageEvent::Step { step: phase.name.clone(), state });
            }
        }
    }

    /// Reads on in the log. What cannot be read is no reason to fail.
    pub(super) async fn log(&mut self, seen: &Seen) {
        let Some(place) = seen.log.as_ref().filter(|_| !self.deaf) else { return };
        let pages = if seen.state == State::Running { PAGES } else { LAST_PAGES };
        for _ in 0..pages {
            if !self.page(place).await {
                return;
            }
        }
    }

    /// Reads a page; whether there may be another one.
    async fn page(&mut self, place: &LogPlace) -> bool {
        let page = match logs::next(self.aws, place, self.next.clone()).await {
            Ok(page) => page,
            Err(error) => {
                if matches!(error.kind(), ErrorKind::PermissionDenied | ErrorKind::Invalid) {
                    self.deaf = true;
                    self.say(&format!("the log of the build cannot be read: {error}"));
                }
                tracing::debug!(%error, "the log of a build");
                return false;
            }
        };
        for line in &page.lines {
            let line = scrub_line(line);
            if line.trim().is_empty() {
                continue;
            }
            if self.kept.len() == LINES_KEPT {
                self.kept.pop_front();
            }
            self.kept.push_back(line.clone());
            self.events.send(ImageEvent::Log { step: String::new(), line });
        }
        // The same token again is the end, for now.
        let more = page.next.is_some() && page.next != self.next;
        self.next = page.next.or(self.next.take());
        more
    }
}
