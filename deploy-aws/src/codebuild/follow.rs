//! Following a build to its end, and what its end means.

use std::time::Duration;

use deploy_core::{
    EffectState, Error, ErrorKind, Result, Retry,
    image::{FailedStep, ImageEvents},
    report::scrub_line,
};

use super::{
    calls::{Calls, Phase, Seen, State},
    progress::Progress,
};
use crate::sdk;

/// The first pause between two looks; grows by half.
const LOOK_FIRST: Duration = Duration::from_secs(2);
/// The longest one.
const LOOK_LAST: Duration = Duration::from_secs(10);
/// For how long CodeBuild may not tell how a build is doing.
const BLIND: Duration = Duration::from_secs(300);
/// How long the last lines of a log may take to be there after the build's end.
const LOG_LAG: Duration = Duration::from_secs(2);
/// The phases whose failure is the commit's.
const OF_THE_COMMIT: [&str; 4] = ["INSTALL", "PRE_BUILD", "BUILD", "POST_BUILD"];

/// Follows one build.
#[derive(Debug)]
pub(super) struct Follow<'a> {
    calls: &'a Calls,
    progress: Progress<'a>,
    /// Whether the step that follows it began it.
    ours: bool,
}

impl<'a> Follow<'a> {
    pub(super) fn new(calls: &'a Calls, events: &'a ImageEvents, ours: bool) -> Self {
        Self { calls, progress: Progress::new(calls.aws(), events), ours }
    }

    /// Waits for its end. Reads only, so it can be dropped anywhere.
    pub(super) async fn until_end(&mut self, mut seen: Seen) -> Result<()> {
        self.progress.say(&format!("following {}", seen.id));
        let clock = self.calls.aws().clock();
        let (mut pause, mut told) = (LOOK_FIRST, clock.elapsed());
        loop {
            self.progress.phases(&seen.phases);
            self.progress.log(&seen).await;
            if seen.state != State::Running {
                break;
            }
            clock.sleep(pause).await;
            pause = (pause * 3 / 2).min(LOOK_LAST);
            let error = match self.calls.build(&seen.id).await {
                Ok(Some(now)) => {
                    (seen, told) = (now, clock.elapsed());
                    continue;
                }
                Ok(None) => Error::new(ErrorKind::NotFound, format!("CodeBuild knows no build {}", seen.id))
                    .next("did somebody delete it? Then deploy again"),
                Err(error) => error,
            };
            let passes = sdk::passes(error.kind())
                || matches!(error.kind(), ErrorKind::Malformed | ErrorKind::NotFound);
            if !passes || clock.elapsed() > told + BLIND {
                return Err(error.context(format!("{} goes on, and cannot be followed", seen.id)));
            }
            tracing::debug!(%error, "a look at a build");
        }
        if seen.log.is_some() && seen.state != State::Succeeded {
            clock.sleep(LOG_LAG).await;
            self.progress.log(&seen).await;
        }
        self.end(&seen)
    }

    fn end(&self, seen: &Seen) -> Result<()> {
        let id = &seen.id;
        let at = seen.phases.iter().find(|phase| phase.succeeded == Some(false));
        let (name, why) =
            at.map_or(("the build", ""), |phase: &Phase| (phase.name.as_str(), phase.why.as_str()));
        let colon = if why.is_empty() { "" } else { ": " };
        let reason = scrub_line(&format!("{name} failed{colon}{why}"));
        let gone = |kind, text: String| {
            Error::new(kind, text).retry_as(Retry::Always).effect_as(EffectState::NotApplied)
        };
        let error = match seen.state {
            State::Running | State::Succeeded => return Ok(()),
            State::Failed if OF_THE_COMMIT.contains(&name) => {
                Error::new(ErrorKind::Invalid, format!("{id}: {reason}")).next("correct it in a new commit")
            }
            State::Failed => Error::new(ErrorKind::Invalid, format!("{id}: {reason}"))
                .next("look at the project: its source, its role, its environment"),
            State::Fault => gone(ErrorKind::Unavailable, format!("{id} faulted in CodeBuild: {reason}")),
            State::TimedOut => gone(ErrorKind::Unavailable, format!("{id} timed out: {reason}"))
                .retry_as(Retry::Never)
                .next("see why it takes so long, or give the project more time"),
            // Who stopped it had a reason: what we began is not begun again by itself.
            State::Stopped if self.ours => {
                gone(ErrorKind::Conflict, format!("{id} was stopped, and not by this deploy"))
                    .retry_as(Retry::Never)
                    .next("ask who stopped it, then deploy again")
            }
            State::Stopped => {
                gone(ErrorKind::Conflict, format!("{id}, which another deploy began, was stopped"))
            }
            State::Odd => {
                Error::new(ErrorKind::Malformed, format!("{id} ended in a way that is not known here"))
            }
        };
        let step = if colon.is_empty() { name.to_owned() } else { format!("{name}{colon}{why}") };
        Err(error.because(FailedStep::new(&step, self.progress.last_lines())))
    }
}
