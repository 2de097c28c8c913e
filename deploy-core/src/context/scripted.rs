//! A driver for the tests of steps: it grants, keeps a journal across executions, and remembers what it was told.

use std::sync::{Mutex, PoisonError};

use super::*;
use crate::{
    clock::TokioClock,
    error::EffectState,
    state::journal::{Direction, Intent},
    task,
};

/// How an effect stands in the journal.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Known {
    Open,
    Applied(Value),
    NotApplied,
}

#[derive(Debug, Default)]
struct Journal {
    effects: Vec<(Ask, Known)>,
    lines: Vec<StepLine>,
    errors: Vec<(ErrorKind, Retry, EffectState, String)>,
}

/// One deploy, as the steps of it see it.
#[derive(Debug, Clone)]
pub(crate) struct Scripted {
    pub(crate) clock: Arc<dyn Clock>,
    journal: Arc<Mutex<Journal>>,
    pub(crate) interrupt: Arc<watch::Sender<bool>>,
    secrets: Arc<dyn Secrets>,
    /// How long a permit lasts.
    pub(crate) window: Duration,
}

/// Every reference is this token.
#[derive(Debug)]
pub(crate) struct OneToken(pub(crate) String);

#[async_trait]
impl Secrets for OneToken {
    async fn resolve(&self, _which: &SecretRef) -> Result<Secret> {
        Ok(Secret::new(&self.0))
    }
}

impl Scripted {
    pub(crate) fn new(token: &str) -> Self {
        let clock = TokioClock::starting_at(Timestamp::from_millis(1_795_000_000_000));
        Self {
            clock: Arc::new(clock),
            journal: Arc::default(),
            interrupt: Arc::new(watch::Sender::new(false)),
            secrets: Arc::new(OneToken(token.to_owned())),
            window: Duration::from_secs(30),
        }
    }

    fn journal<T>(&self, work: impl FnOnce(&mut Journal) -> T) -> T {
        work(&mut self.journal.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The context of an execution.
    pub(crate) fn context(&self, step: &str, attempt: u32) -> StepContext {
        let (to_driver, mut from_step) = mpsc::unbounded_channel();
        let driver = self.clone();
        drop(task::spawn(async move {
            while let Some(said) = from_step.recv().await {
                match said {
                    FromStep::Ask(ask, answer) => {
                        let _ = answer.send(driver.answer(ask));
                    }
                    FromStep::Effected(intent, ended) => driver.ended(intent, ended),
                    FromStep::Report(_) => {}
                    FromStep::Log(line) => driver.journal(|journal| journal.lines.push(line)),
                }
            }
        }));
        StepContext::new(StepSetting {
            step: StepId::from(step),
            attempt,
            rollout: RolloutId::from("0F3KQ8Z7VN"),
            outputs: Outputs::new(),
            going_back: false,
            key: StoreKey::new(vec![7; 32]),
            clock: Arc::clone(&self.clock),
            secrets: Arc::clone(&self.secrets),
            to_driver,
            interrupted: self.interrupt.subscribe(),
            plan: Arc::new(super::tests::plan()),
            check_clock: true,
        })
    }

    /// As the machine: recorded, denied or granted.
    fn answer(&self, ask: Ask) -> Answer {
        let now = self.clock.now();
        self.journal(|journal| {
            for (sent, known) in journal.effects.iter().filter(|(sent, _)| sent.key == ask.key) {
                match known {
                    Known::Applied(value) if sent.hash == ask.hash => return Answer::Recorded(value.clone()),
                    Known::Applied(_) => {
                        return Answer::Deny(Error::new(ErrorKind::JournalMismatch, "another one"));
                    }
                    Known::Open if ask.sending == Sending::AtMostOnce => {
                        let text = "whether it happened is not known, and it must not happen twice";
                        return Answer::Deny(Error::new(ErrorKind::Conflict, text).retry_as(Retry::Never));
                    }
                    Known::Open | Known::NotApplied => {}
                }
            }
            if *self.interrupt.borrow() && !ask.ends {
                return Answer::Deny(Error::new(
                    ErrorKind::Interrupted,
                    "the rollout no longer goes forward",
                ));
            }
            journal.effects.push((ask, Known::Open));
            let grant = Grant {
                intent: journal.effects.len() as u64,
                fence: Fence(3),
                signed_at: now,
                window_ms: crate::model::millis(self.window),
                attempt_ms: 10_000,
            };
            Answer::Grant(grant, self.clock.elapsed() + self.window)
        })
    }

    fn ended(&self, intent: u64, ended: Effected) {
        self.journal(|journal| {
            let known = match ended {
                Effected::Applied(value) => Known::Applied(value),
                Effected::Failed(error) => {
                    let known = match error.effect() {
                        EffectState::NotApplied => Known::NotApplied,
                        EffectState::Applied => Known::Applied(Value::Null),
                        EffectState::Unknown => Known::Open,
                    };
                    journal.errors.push((error.kind(), error.retry(), error.effect(), error.to_string()));
                    known
                }
            };
            if let Some(effect) = usize::try_from(intent - 1).ok().and_then(|at| journal.effects.get_mut(at))
            {
                effect.1 = known;
            }
        });
    }

    /// Waits until what steps have said has been heard.
    pub(crate) async fn hears(&self) {
        self.clock.sleep(Duration::from_millis(1)).await;
    }

    /// What was granted, by its key, in order.
    pub(crate) fn granted(&self) -> Vec<(String, Known)> {
        self.journal(|journal| {
            journal.effects.iter().map(|(ask, known)| (ask.key.clone(), known.clone())).collect()
        })
    }

    /// The first error of an effect.
    pub(crate) fn error(&self) -> Option<(ErrorKind, Retry, EffectState, String)> {
        self.journal(|journal| journal.errors.first().cloned())
    }

    /// The open intent of this key, as the machine has it settled.
    pub(crate) fn open_intent(&self, key: &str) -> Option<Intent> {
        let now = self.clock.now();
        self.journal(|journal| {
            let (ask, _) =
                journal.effects.iter().find(|(ask, known)| ask.key == key && *known == Known::Open)?;
            Some(Intent {
                id: 1,
                rollout: RolloutId::from("0F3KQ8Z7VN"),
                step: ask.step.clone(),
                key: ask.key.clone(),
                direction: Direction::Forward,
                sending: ask.sending,
                hash: ask.hash.clone(),
                component: None,
                to: None,
                exclusive: false,
                was_there: false,
                change: ask.change.clone(),
                fence: Fence(3),
                signed_at: now,
                late_bound: now,
                attempt_ms: None,
            })
        })
    }

    /// It was settled: it landed, and returned this.
    pub(crate) fn settled(&self, key: &str, value: Value) {
        self.journal(|journal| {
            for (_, known) in
                journal.effects.iter_mut().filter(|(ask, known)| ask.key == key && *known == Known::Open)
            {
                *known = Known::Applied(value.clone());
            }
        });
    }

    /// The lines of the event stream.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.journal(|journal| {
            journal
                .lines
                .iter()
                .map(|line| format!("{}: {}", line.writer, crate::report::scrub_line(&line.line)))
                .collect()
        })
    }
}
