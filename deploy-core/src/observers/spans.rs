//! Deploys as tracing spans, for programs that collect them anyway.

use std::sync::Mutex;

use litemap::LiteMap;
use tracing::{Span, debug, error, info, info_span, warn};

use super::{Observer, locked, message, view::is_last};
use crate::{
    event::{Event, EventKind},
    model::{RolloutId, StepId},
    state::journal::{Fact, GuardResult, StepState},
};

/// One span a deploy, in it one a step, and in these one event for each of ours. Failures that need a person are
/// errors, faults and refusals warnings, what is only live debug.
#[derive(Debug, Default)]
pub struct Spans(Mutex<LiteMap<RolloutId, Deploy>>);

#[derive(Debug)]
struct Deploy {
    span: Span,
    steps: LiteMap<StepId, Span>,
}

impl Spans {
    /// Events go to whatever subscriber the program has when they happen.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

enum Level {
    Debug,
    Info,
    Warn,
    Error,
}

fn level(event: &Event) -> Level {
    let EventKind::Fact(fact) = &event.kind else { return Level::Debug };
    match &**fact {
        Fact::Ended { outcome, .. } if outcome.needs_person() => Level::Error,
        Fact::Ended { outcome, .. } if !outcome.is_success() => Level::Warn,
        Fact::Notice { level, .. } if level == "needs_person" => Level::Error,
        Fact::Notice { level, .. } if level == "warning" => Level::Warn,
        Fact::Fault { .. } => Level::Warn,
        Fact::Guard(finding) if finding.result != GuardResult::Pass => Level::Warn,
        Fact::Step { state: StepState::Failed | StepState::Unknown, .. } => Level::Warn,
        Fact::Step { state: StepState::Asked, .. } => Level::Debug,
        _ => Level::Info,
    }
}

fn step_of(event: &Event) -> Option<(&StepId, Option<StepState>)> {
    match &event.kind {
        EventKind::Progress { step, .. } => Some((step.as_ref()?, None)),
        EventKind::Fact(fact) => match &**fact {
            Fact::Step { step, state, .. } => Some((step, Some(*state))),
            _ => None,
        },
        _ => None,
    }
}

impl Observer for Spans {
    fn see(&self, event: &Event) {
        let mut deploys = locked(&self.0);
        let deploy = deploys.entry(event.deploy.clone()).or_insert_with(|| Deploy {
            // A root: whoever happens to be current in the task that hands events on has nothing to do with it.
            span: info_span!(parent: None, "deploy", deploy = %event.deploy, target = %event.target),
            steps: LiteMap::new(),
        });
        let mut span = deploy.span.clone();
        if let Some((step, state)) = step_of(event) {
            if state.is_some() && !deploy.steps.contains_key(step) {
                let child = info_span!(parent: &deploy.span, "step", %step);
                deploy.steps.insert(step.clone(), child);
            }
            if let Some(child) = deploy.steps.get(step) {
                span = child.clone();
            }
            if matches!(state, Some(StepState::Done | StepState::Failed | StepState::Skipped)) {
                deploy.steps.remove(step);
            }
        }
        let (kind, phase, seq, text) = (event.type_word(), event.phase.word(), event.seq, message(event));
        match level(event) {
            Level::Debug => debug!(parent: &span, kind, phase, seq, "{text}"),
            Level::Info => info!(parent: &span, kind, phase, seq, "{text}"),
            Level::Warn => warn!(parent: &span, kind, phase, seq, "{text}"),
            Level::Error => error!(parent: &span, kind, phase, seq, "{text}"),
        }
        if is_last(event) {
            deploys.remove(&event.deploy);
        }
    }
}

#[cfg(test)]
mod tests;
