//! Watching: each component is looked at in turn, as often as the platform advises.

use std::{sync::Arc, time::Duration};

use litemap::{Entry, LiteMap};
use tokio::sync::mpsc;

use super::Driver;
use crate::{
    clock::Clock,
    context::Outputs,
    error::{Error, ErrorKind, Result},
    machine::{Input, Look},
    model::{FaultClass, Observation, Revision, Scope},
    platform::Platform,
    state::journal::ErrorRecord,
    task,
};

/// How many log lines of an instance are kept as evidence, how long each, and how long reading them may take.
const LOG_LINES: usize = 20;
const LOG_CHARS: usize = 300;
const LOG_TIME: Duration = Duration::from_secs(5);

impl Driver {
    /// Replaces what is watched: each component is looked at in turn, as often as the platform advises.
    pub(super) fn watch(&mut self, watch: u64, looks: Vec<Look>) {
        self.watching.abort_all();
        while self.watching.try_join_next().is_some() {}
        let outputs = self.machine.outputs().clone();
        for look in looks {
            let scope = match self.scope(&look, &outputs) {
                Ok(scope) => scope,
                Err(error) => {
                    self.inputs.push_back(Input::Blind { watch, error: (&error).into() });
                    continue;
                }
            };
            self.stages.insert(scope.component().clone(), scope.clone());
            let (place, clock) = (Arc::clone(&self.set.place), Arc::clone(&self.set.clock));
            let say = self.watch_sender.clone();
            task::spawn_on(&mut self.watching, observe_again_and_again(place, clock, watch, scope, say));
        }
    }

    fn scope(&self, look: &Look, outputs: &Outputs) -> Result<Scope> {
        let plan = &self.set.plan;
        match look {
            Look::Toward(step) => self.set.place.scope(plan, step, outputs),
            Look::AtOld(component) => {
                let back = plan.way_back.to.as_ref().filter(|to| to.declared.contains_key(component));
                let revision = back.unwrap_or(&plan.base).clone();
                Ok(Scope::Holding { component: component.clone(), revision })
            }
            Look::AtGoal(component) => {
                let step = plan.steps.iter().rev().find(|step| step.component == *component);
                let revision: Revision = match step {
                    Some(step) => self.set.place.scope(plan, &step.id, outputs)?.revision().clone(),
                    None => plan.base.clone(),
                };
                Ok(Scope::Holding { component: component.clone(), revision })
            }
        }
    }
}

/// Looks at one component until the watch is replaced.
async fn observe_again_and_again(
    place: Arc<dyn Platform>,
    clock: Arc<dyn Clock>,
    watch: u64,
    scope: Scope,
    say: mpsc::UnboundedSender<Input>,
) {
    let mut failures = 0_u32;
    let mut lines = LiteMap::new();
    loop {
        let look = tokio::select! {
            biased;
            look = place.observe(&scope) => look,
            () = clock.sleep(Duration::from_secs(30)) => {
                Err(Error::new(ErrorKind::TimedOut, "a look took longer than 30 s"))
            }
        };
        let (input, wait_ms) = match look {
            Ok(mut seen) => {
                failures = 0;
                add_log_lines(&*place, &*clock, &mut lines, &mut seen).await;
                // What others wrote goes into the journal from here.
                seen.scrub();
                let wait = seen.look_again_ms.max(10);
                (Input::Observed { watch, scope: Box::new(scope.clone()), seen: Box::new(seen) }, wait)
            }
            Err(error) => {
                failures += 1;
                let record = ErrorRecord::from(&error);
                let wait = record.after_ms.max(1_000 << failures.min(4).saturating_sub(1));
                (Input::Blind { watch, error: record }, wait)
            }
        };
        if say.send(input).is_err() {
            return;
        }
        clock.sleep(Duration::from_millis(wait_ms)).await;
    }
}

/// The last log lines of the first instance that shows a trouble, where the platform has them and did not send them
/// along. Read once for each class of trouble; that they cannot be read decides nothing.
async fn add_log_lines(
    place: &dyn Platform,
    clock: &dyn Clock,
    known: &mut LiteMap<FaultClass, Vec<String>>,
    seen: &mut Observation,
) {
    for signal in &mut seen.signals {
        let Some(first) = signal.instances.first().filter(|_| signal.log.is_empty()) else { continue };
        if let Entry::Vacant(unread) = known.entry(signal.class) {
            let Some(logs) = place.logs() else { return };
            let mut tail = tokio::select! {
                biased;
                tail = logs.tail(&first.id, LOG_LINES) => tail.unwrap_or_default(),
                () = clock.sleep(LOG_TIME) => Vec::new(),
            };
            if tail.is_empty() {
                continue;
            }
            tail.truncate(LOG_LINES);
            for line in &mut tail {
                if let Some((end, _)) = line.char_indices().nth(LOG_CHARS) {
                    line.truncate(end);
                }
            }
            unread.insert(tail);
        }
        signal.log = known.get(&signal.class).cloned().unwrap_or_default();
    }
}
