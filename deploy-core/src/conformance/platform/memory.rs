//! The memory platform as a subject, in its four shapes.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicUsize, Ordering},
};

use async_trait::async_trait;

use super::{Factory, Failing, Fault, Subject, Truth, Unsupported, Word};
use crate::{
    clock::{Clock, TokioClock},
    error::Result,
    memory::{Fault as WorldFault, MemoryPlace, Migration, RunState, Shape, World, WorldOptions},
    model::{Capabilities, Release, Timestamp},
    platform::Platform,
};

/// Worlds of one shape.
#[derive(Debug, Clone, Copy)]
pub struct MemoryFactory(pub Shape);

impl MemoryFactory {
    fn options(self) -> WorldOptions {
        let mut options = WorldOptions::new(self.0);
        // Before its instances have failed twice: else the driver is faster.
        options.revert_after_ms = options.start_ms / 2;
        if self.0 == Shape::Vapor {
            options.migration = Migration::Harmless;
        }
        options
    }
}

#[async_trait]
impl Factory for MemoryFactory {
    fn name(&self) -> String {
        format!("memory-{}", self.0.word())
    }

    fn capabilities(&self) -> Capabilities {
        self.0.capabilities(self.options().lateness)
    }

    async fn subject(&self) -> Result<Box<dyn Subject>> {
        let clock: Arc<dyn Clock> =
            Arc::new(TokioClock::starting_at(Timestamp::from_millis(1_800_000_000_000)));
        let world = World::with(self.0, self.options(), Arc::clone(&clock));
        Ok(Box::new(MemorySubject { world, clock, foreign: Mutex::default() }))
    }
}

/// One world of the memory platform.
#[derive(Debug)]
pub struct MemorySubject {
    world: World,
    clock: Arc<dyn Clock>,
    /// The number of the last foreign change, and the revision that it declared.
    foreign: Mutex<(u32, Option<String>)>,
}

#[async_trait]
impl Subject for MemorySubject {
    fn place(&self) -> Arc<dyn Platform> {
        Arc::new(MemoryPlace::new(self.world.clone()))
    }

    fn clock(&self) -> Arc<dyn Clock> {
        Arc::clone(&self.clock)
    }

    fn container(&self) -> String {
        "app".into()
    }

    fn release(&self, word: Word, number: u32) -> Result<Release, Unsupported> {
        let tag = match (word, self.world.shape()) {
            (Word::Flaky, Shape::Terraform) => {
                return Err(Unsupported::new("a workspace that tells health"));
            }
            (Word::Reverts, Shape::Ecs) => "platform-revert",
            (Word::Reverts, _) => return Err(Unsupported::new("a platform that goes back by itself")),
            (word, _) => word.word(),
        };
        Ok(Release::of_what_runs().image("app", format!("repo/app:{tag}-{number}")))
    }

    fn failing(&self, word: Word) -> Failing {
        match (word, self.world.shape()) {
            (_, Shape::Terraform) => Failing::undone("rejected"),
            (Word::NoPull, Shape::Vapor) => Failing::refused("rejected"),
            (Word::NoPull, _) => Failing::undone("image"),
            (Word::Unhealthy, _) => Failing::undone("unhealthy"),
            (Word::Reverts, _) => Failing::undone("platform_revert"),
            (Word::Ok | Word::Crash | Word::Flaky, _) => Failing::undone("crash"),
        }
    }

    async fn foreign_change(&self) -> Result<(), Unsupported> {
        let mut foreign = self.foreign.lock().unwrap_or_else(PoisonError::into_inner);
        foreign.0 += 1;
        let value = format!("ok-foreign-{}", foreign.0);
        foreign.1 = self.world.foreign_write(self.world.shape().components()[0], &value);
        match foreign.1 {
            Some(_) => Ok(()),
            None => Err(Unsupported::new("a component that someone else can write")),
        }
    }

    async fn foreign_stays(&self) -> Result<bool> {
        let foreign = self.foreign.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(foreign.1.is_some() && self.world.declared(self.world.shape().components()[0]) == foreign.1)
    }

    async fn move_identity(&self) -> Result<(), Unsupported> {
        self.world.set_identity("region", "memory-2");
        Ok(())
    }

    async fn serving(&self) -> Result<Truth> {
        let now = MemoryPlace::new(self.world.clone()).inspect().await?;
        let healthy = match self.world.shape() {
            // A run that plans, or waits, changes nothing.
            Shape::Terraform => self.world.runs().iter().all(|run| run.state != RunState::Applying),
            _ => now.steady,
        };
        Ok(Truth { revision: self.world.serving().name, healthy })
    }

    async fn writes(&self) -> Result<usize> {
        Ok(self.world.audit(|writes, _| writes.iter().filter(|write| write.changed).count()))
    }

    fn fault(&self, nth: usize, fault: Fault) -> Result<(), Unsupported> {
        let fault = match fault {
            Fault::LoseAnswer => WorldFault::ResetAfter,
            Fault::LoseRequest => WorldFault::ResetBefore,
            Fault::Throttle => WorldFault::Throttled,
            Fault::Refuse => WorldFault::Refused,
            Fault::Late(millis) => WorldFault::Late(millis),
        };
        let seen = AtomicUsize::new(0);
        self.world.faults(move |call| {
            let hit = !call.read && seen.fetch_add(1, Ordering::Relaxed) + 1 == nth;
            if hit { fault } else { WorldFault::None }
        });
        Ok(())
    }
}
