//! ECS as it is simulated.

use std::sync::Arc;

use deploy_core::{
    Platform,
    clock::Clock,
    conformance::sim::{EPOCH_MS, SimCall, SimHook, SimPlatform, SimWorld, SimWrite, WorldSetting},
    memory::{Fault, WriteKind, Writer},
    model::{Lateness, Release},
};

use super::world::{Here, writer};
use crate::emulator::{CallInfo, Change, ChangeKind, Config, FaultKind};

/// ECS over its emulator: a service without circuit breaker, and one whose breaker goes back by itself.
#[derive(Debug, Clone, Copy, Default)]
pub struct EcsSim;

#[derive(Debug)]
struct EcsWorld {
    here: Here,
    breaker: bool,
    before: usize,
}

impl SimPlatform for EcsSim {
    fn name(&self) -> &'static str {
        "ecs"
    }

    fn shapes(&self) -> &'static [&'static str] {
        &["service", "breaker"]
    }

    fn world(&self, setting: &WorldSetting, _: Arc<dyn Clock>) -> Arc<dyn SimWorld> {
        let config = Config { start_ms: EPOCH_MS, ..Config::default() };
        let breaker = setting.shape == "breaker";
        let here = Here::new(config, breaker, setting.desired).expect("a service can be made");
        let before = here.changes().len();
        Arc::new(EcsWorld { here, breaker, before })
    }
}

/// The emulator's word for a fault; none if nothing happens.
fn kind(fault: Fault) -> Option<FaultKind> {
    let ms = |millis: u64| i64::try_from(millis).unwrap_or(i64::MAX);
    Some(match fault {
        Fault::None => return None,
        Fault::Refused => FaultKind::AccessDenied403,
        Fault::Throttled => FaultKind::Throttled,
        Fault::ResetBefore => FaultKind::ResetBefore,
        Fault::ResetAfter => FaultKind::ResetAfter,
        Fault::Late(millis) => FaultKind::LateApply(ms(millis)),
        Fault::Slow(millis) => FaultKind::Slow(ms(millis)),
        Fault::StaleRead(millis) => FaultKind::StaleRead(ms(millis)),
        _ => FaultKind::ServerError500,
    })
}

fn write(change: &Change) -> SimWrite {
    let (kind, component) = match change.kind {
        ChangeKind::Registered => (WriteKind::Register, None),
        ChangeKind::Updated => (WriteKind::Set, Some("service".to_owned())),
        ChangeKind::RolledBack => (WriteKind::Revert, Some("service".to_owned())),
    };
    SimWrite {
        at: u64::try_from(change.at_ms - EPOCH_MS).unwrap_or(0),
        kind,
        component,
        value: change.task_definition.clone(),
        changed: change.changed,
        late: change.late,
        by: if change.kind == ChangeKind::RolledBack { Writer::Platform } else { writer(change) },
    }
}

impl SimWorld for EcsWorld {
    fn place(&self, clock: Arc<dyn Clock>) -> Arc<dyn Platform> {
        self.here.place(clock).expect("an emulator has a region")
    }

    fn faults(&self, hook: Option<SimHook>) {
        self.here.emulator.clear_faults();
        if let Some(hook) = hook {
            self.here.emulator.fault_source(move |call: &CallInfo| {
                kind(hook(&SimCall { what: call.action.clone(), read: !call.mutating }))
            });
        }
    }

    fn components(&self) -> Vec<String> {
        vec!["service".to_owned()]
    }

    fn declared(&self, component: &str) -> Option<String> {
        self.here.declared().ok().filter(|_| component == "service")
    }

    fn writes(&self) -> Vec<SimWrite> {
        self.here.changes().iter().skip(self.before).map(write).collect()
    }

    fn hasten(&self, within_ms: u64) {
        let within = i64::try_from(within_ms).unwrap_or(i64::MAX);
        self.here.emulator.with(|world| world.hasten(within));
    }

    fn under_way(&self) -> usize {
        self.here.emulator.with(|world| world.under_way())
    }

    fn compares(&self) -> bool {
        false
    }

    fn needs_promotion(&self) -> bool {
        false
    }

    fn latest_ms(&self) -> u64 {
        Lateness::AWS.signature_ms + Lateness::AWS.apply_ms
    }

    fn stale_ms(&self) -> u64 {
        Lateness::AWS.apply_ms
    }

    fn release(&self, behaviour: &str, number: u64) -> Release {
        let behaviour = match (behaviour, self.breaker) {
            ("platform-revert", true) => "nocapacity",
            ("platform-revert", false) => "crash",
            (behaviour, _) => behaviour,
        };
        self.here.release(behaviour, number)
    }

    fn is_bad(&self, revision: &str) -> bool {
        self.here.is_bad(revision)
    }

    fn foreign_write(&self, random: u64) -> Option<String> {
        let made = self.here.foreign_change(&format!("ok-foreign-{}", random % 1000)).ok()?;
        Some(format!("service to {made}"))
    }

    fn outside(&self, _: u64) -> Option<String> {
        None
    }
}
