//! ECS as a subject of the platform suite.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use deploy_core::{
    Platform, Result,
    clock::{Clock, TokioClock},
    conformance::platform::{Factory, Fault, Subject, Truth, Unsupported, Word},
    model::{Capabilities, Lateness, Release, Timestamp, WriteGuard},
};

use super::world::{CONTAINER, Here};
use crate::emulator::{CallInfo, Config, FaultKind, Timings};

const START_MS: i64 = 1_800_000_000_000;
/// The scheduler's pause after tasks have failed: so long that the deployer always is faster than the third failure, at
/// which the circuit breaker trips.
const BACK_OFF_MS: i64 = 1_800_000;

/// Services with a deployment circuit breaker that goes back by itself, or without.
#[derive(Debug, Clone, Copy)]
pub struct EcsFactory {
    /// Whether they have one.
    pub breaker: bool,
}

#[async_trait]
impl Factory for EcsFactory {
    fn name(&self) -> String {
        if self.breaker { "ecs-breaker" } else { "ecs" }.to_owned()
    }

    fn capabilities(&self) -> Capabilities {
        let mut can = Capabilities::new(WriteGuard::None, Lateness::AWS);
        can.reverts_itself = self.breaker;
        can.logs = true;
        can
    }

    /// The SDK is slow without optimisation, and machines are shared.
    fn patience(&self) -> Duration {
        Duration::from_secs(240)
    }

    async fn subject(&self) -> Result<Box<dyn Subject>> {
        let timings =
            Timings { backoff_first_ms: BACK_OFF_MS, backoff_max_ms: BACK_OFF_MS, ..Timings::quick() };
        let config = Config { start_ms: START_MS, timings, ..Config::default() };
        let clock = Arc::new(TokioClock::starting_at(Timestamp::from_millis(START_MS)));
        let here = Here::new(config, self.breaker, 2)?;
        let writes_before = here.changes().len();
        Ok(Box::new(EcsSubject {
            here,
            clock,
            breaker: self.breaker,
            writes_before,
            foreign: Mutex::default(),
        }))
    }
}

/// One emulated account with one service.
#[derive(Debug)]
pub struct EcsSubject {
    here: Here,
    clock: Arc<TokioClock>,
    breaker: bool,
    writes_before: usize,
    /// How many foreign changes there were, and what the last one declared.
    foreign: Mutex<(u32, String)>,
}

#[async_trait]
impl Subject for EcsSubject {
    fn place(&self) -> Arc<dyn Platform> {
        let clock: Arc<dyn Clock> = self.clock.clone();
        self.here.place(clock).expect("an emulator has a region")
    }

    fn clock(&self) -> Arc<dyn Clock> {
        self.clock.clone()
    }

    fn container(&self) -> String {
        CONTAINER.to_owned()
    }

    fn release(&self, word: Word, number: u32) -> Result<Release, Unsupported> {
        let behaviour = match word {
            // What cannot be placed is nobody's fault that we would act on, and the breaker counts it.
            Word::Reverts if self.breaker => "nocapacity",
            Word::Reverts => return Err(Unsupported::new("a circuit breaker that goes back by itself")),
            word => word.word(),
        };
        Ok(self.here.release(behaviour, u64::from(number)))
    }

    fn bake(&self) -> Duration {
        Duration::from_secs(90)
    }

    async fn foreign_change(&self) -> Result<(), Unsupported> {
        let mut foreign = self.foreign.lock().unwrap_or_else(PoisonError::into_inner);
        foreign.0 += 1;
        let made = self.here.foreign_change(&format!("ok-foreign-{}", foreign.0));
        foreign.1 = made.map_err(|error| Unsupported::new(error.to_string()))?;
        Ok(())
    }

    async fn foreign_stays(&self) -> Result<bool> {
        let declared = self.here.declared()?;
        Ok(declared == self.foreign.lock().unwrap_or_else(PoisonError::into_inner).1)
    }

    async fn move_identity(&self) -> Result<(), Unsupported> {
        self.here.move_to_account("999999999999").map_err(|error| Unsupported::new(error.to_string()))
    }

    async fn serving(&self) -> Result<Truth> {
        Ok(Truth { revision: self.here.declared()?, healthy: self.here.is_steady()? })
    }

    async fn writes(&self) -> Result<usize> {
        let changes = self.here.changes();
        Ok(changes.iter().filter(|change| change.changed).count().saturating_sub(self.writes_before))
    }

    fn fault(&self, nth: usize, fault: Fault) -> Result<(), Unsupported> {
        let kind = match fault {
            Fault::LoseAnswer => FaultKind::ResetAfter,
            Fault::LoseRequest => FaultKind::ResetBefore,
            Fault::Throttle => FaultKind::Throttled,
            Fault::Refuse => FaultKind::AccessDenied403,
            Fault::Late(millis) => FaultKind::LateApply(i64::try_from(millis).unwrap_or(i64::MAX)),
            _ => return Err(Unsupported::new(format!("the fault {fault:?}"))),
        };
        let mut seen = 0;
        self.here.emulator.fault_source(move |call: &CallInfo| {
            seen += usize::from(call.mutating);
            (call.mutating && seen == nth).then_some(kind)
        });
        Ok(())
    }
}
