//! Ending a run with the deploy: asked to, then forced to.

use std::time::Duration;

use serde_json::Value;

use super::{
    Change, Work,
    follow::{Following, Seen, output},
    passes_in,
};
use crate::error::{EffectState, Error, ErrorKind, Result, Retry};

/// The effects' names.
pub(super) const CANCEL: &str = "cancel";
pub(super) const FORCE: &str = "force-cancel";
/// How often it is looked whether the run has ended.
const LOOK: Duration = Duration::from_secs(2);

impl Following<'_> {
    /// Cancels the run and follows that to its end. `why` is the kind of the error that it ends with.
    ///
    /// Cancelling lets steps that run always (`if: always()`) run on; forcing does not:
    /// <https://docs.github.com/en/rest/actions/workflow-runs#force-cancel-a-workflow-run>.
    pub(super) async fn stop(&mut self, why: ErrorKind) -> Result<Value> {
        let limit = Duration::from_millis(self.work.data.cancels_ms);
        let mut trouble: Option<Error> = None;
        for key in [CANCEL, FORCE] {
            let until = self.work.elapsed() + limit;
            let mut asked = false;
            loop {
                if !asked {
                    match self.ask(key).await {
                        // A conflict: it has ended in between, which the next look shows.
                        Ok(()) => asked = true,
                        Err(error) if error.kind() == ErrorKind::Conflict => asked = true,
                        Err(error) if passes_in(&error, LOOK).is_some() => trouble = Some(error),
                        Err(error) => return Err(self.goes_on(error)),
                    }
                }
                match self.look().await {
                    Ok(Some(seen)) if seen.run.is_completed() => return self.stopped(&seen, why),
                    Ok(Some(_)) => {}
                    Ok(None) => return Err(self.ended(why, format!("{} is gone", self.name()))),
                    Err(error) if passes_in(&error, LOOK).is_some() => trouble = Some(error),
                    Err(error) => return Err(self.goes_on(error)),
                }
                if self.work.elapsed() >= until {
                    break;
                }
                self.work.sleep(LOOK).await;
            }
        }
        let because = trouble.map_or(String::new(), |error| format!(" ({})", error.message()));
        let text = format!(
            "{} was cancelled, and has not ended after {} s{because}",
            self.name(),
            limit.as_secs() * 2
        );
        Err(self.ended(ErrorKind::TimedOut, text).effect_as(EffectState::Unknown).next("end it by hand"))
    }

    async fn ask(&self, key: &'static str) -> Result<()> {
        let Work { github, cx, data, repository } = self.work;
        let run = self.run;
        github.api().ready()?;
        let reader = github.reader(cx).await?;
        let change = Change { repository: data.repository.clone(), run, ..Change::default() };
        cx.effect(key, change)
            .ending()
            .idempotent(|permit| async move { reader.cancel(repository, run, key == FORCE, &permit).await })
            .await
    }

    fn stopped(&self, seen: &Seen, why: ErrorKind) -> Result<Value> {
        // It was faster than the request to end it: the work is done.
        if seen.run.conclusion.as_deref() == Some("success") {
            return Ok(output(seen));
        }
        let ended = seen.run.conclusion.as_deref().unwrap_or("nothing");
        let what = match why {
            ErrorKind::TimedOut => format!("was not completed within {} s", self.work.data.runs_ms / 1000),
            _ => "was ended with the deploy".to_owned(),
        };
        let text = format!("{} {what}, and ended as {ended}", self.name());
        Err(Error::new(why, text).retry_as(Retry::Never).effect_as(EffectState::Applied))
    }
}
