//! Running one step of a platform without a machine: every effect is granted once and recorded.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use serde_json::Value;
use tokio::sync::{mpsc, watch};

use crate::{
    clock::Clock,
    context::{Answer, Ask, Effected, FromStep, Grant, LocalSecrets, Outputs, StepContext, StepSetting},
    error::{EffectState, Result},
    hash::StoreKey,
    model::{
        Capabilities, Claim, Fence, Goal, Identity, Lateness, Plan, Revision, RolloutId, Snapshot, StepId,
        TargetName, WriteGuard,
    },
    platform::Platform,
};

/// How long a permit lasts here.
const WINDOW_MS: u64 = 30_000;

/// What running one step did.
#[derive(Debug)]
pub struct StepRun {
    /// What the step returned.
    pub result: Result<Value>,
    /// What it asked for, in order.
    pub asked: Vec<Ask>,
    /// How each effect ended, in order.
    pub effects: Vec<Effected>,
}

/// Runs one step of a plan once, under this fence. Effects in `recorded` (by key) answer from the journal.
pub async fn run_step(
    platform: &dyn Platform,
    plan: &Plan,
    step: &StepId,
    outputs: Outputs,
    fence: Fence,
    recorded: BTreeMap<String, Value>,
    clock: Arc<dyn Clock>,
) -> StepRun {
    let (to_driver, mut from_step) = mpsc::unbounded_channel();
    let signing = Arc::clone(&clock);
    let cx = StepContext::new(StepSetting {
        step: step.clone(),
        attempt: 1,
        rollout: RolloutId::from("0000000000"),
        outputs,
        going_back: plan.is_undo(step),
        key: StoreKey::new(vec![7; 32]),
        clock,
        secrets: Arc::new(LocalSecrets),
        to_driver,
        interrupted: watch::channel(false).1,
        plan: Arc::new(plan.clone()),
        check_clock: true,
    });
    let (mut asked, mut effects) = (Vec::new(), Vec::new());
    let result = {
        let running = async {
            match plan.step(step) {
                Some(step) => platform.execute(step, &cx).await,
                None => Err(crate::Error::new(crate::ErrorKind::Unexpected, format!("no step {step}"))),
            }
        };
        tokio::pin!(running);
        loop {
            tokio::select! {
                biased;
                Some(said) = from_step.recv() => match said {
                    FromStep::Ask(ask, answer) => {
                        let reply = match recorded.get(&ask.key) {
                            Some(value) => Answer::Recorded(value.clone()),
                            None => {
                                let grant = Grant {
                                    intent: asked.len() as u64 + 1,
                                    fence,
                                    signed_at: signing.now(),
                                    window_ms: WINDOW_MS,
                                    attempt_ms: 10_000,
                                };
                                Answer::Grant(grant, signing.elapsed() + Duration::from_millis(WINDOW_MS))
                            }
                        };
                        asked.push(ask);
                        let _ = answer.send(reply);
                    }
                    FromStep::Effected(_, ended) => effects.push(ended),
                    FromStep::Report(_) | FromStep::Log(_) => {}
                },
                result = &mut running => break result,
            }
        }
    };
    while let Ok(said) = from_step.try_recv() {
        if let FromStep::Effected(_, ended) = said {
            effects.push(ended);
        }
    }
    StepRun { result, asked, effects }
}

impl StepRun {
    /// What is known of the effect that failed, if one did.
    #[must_use]
    pub fn failed_effect(&self) -> Option<EffectState> {
        self.effects.iter().find_map(|ended| match ended {
            Effected::Failed(error) => Some(error.effect()),
            Effected::Applied(_) => None,
        })
    }
}

/// The context of a step that prepares, without a machine, and what interrupts it. Nobody answers it: such a step asks for
/// no effect.
///
/// # Panics
/// Never: the names of its target are fixed.
#[must_use]
pub fn preparing(
    rollout: &str,
    step: &str,
    attempt: u32,
    clock: Arc<dyn Clock>,
) -> (StepContext, watch::Sender<bool>) {
    let can = Capabilities::new(WriteGuard::None, Lateness::NONE);
    let revision = Revision::new("r1", [], Value::Null);
    let now = Snapshot::new(clock.now(), "test", Identity::default(), can, revision.clone());
    let target = TargetName::new("shop", "production").expect("both are names");
    let plan = Plan::new(target, Goal::Adopt, &now, vec![Claim::from("shop")], revision);
    let (interrupt, interrupted) = watch::channel(false);
    let cx = StepContext::new(StepSetting {
        step: StepId::from(step),
        attempt,
        rollout: RolloutId::from(rollout),
        outputs: Outputs::new(),
        going_back: false,
        key: StoreKey::new(vec![7; 32]),
        clock,
        secrets: Arc::new(LocalSecrets),
        to_driver: mpsc::unbounded_channel().0,
        interrupted,
        plan: Arc::new(plan),
        check_clock: true,
    });
    (cx, interrupt)
}
