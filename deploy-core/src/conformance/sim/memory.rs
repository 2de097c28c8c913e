//! The memory platform as it is simulated.

use std::sync::Arc;

use super::{
    EPOCH_MS,
    world::{SimCall, SimHook, SimPlatform, SimWorld, SimWrite, WorldSetting},
};
use crate::{
    clock::Clock,
    memory::{Behaviour, MemoryPlace, Migration, Shape, World, WorldOptions},
    model::Release,
    platform::Platform,
};

/// The memory platform in its four shapes.
#[derive(Debug, Clone, Copy, Default)]
pub struct MemorySim;

#[derive(Debug)]
struct MemoryWorld {
    world: World,
    options: WorldOptions,
}

impl SimPlatform for MemorySim {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn shapes(&self) -> &'static [&'static str] {
        &["ecs", "kubernetes", "vapor", "terraform"]
    }

    fn world(&self, setting: &WorldSetting, clock: Arc<dyn Clock>) -> Arc<dyn SimWorld> {
        let shape = Shape::ALL.into_iter().find(|shape| shape.word() == setting.shape);
        let shape = shape.unwrap_or(Shape::Ecs);
        let mut options = WorldOptions::new(shape);
        options.desired = setting.desired;
        options.look_again_ms = 4_000;
        options.migration = if setting.hook { Migration::Harmless } else { Migration::No };
        let world = World::with(shape, options.clone(), clock);
        Arc::new(MemoryWorld { world, options })
    }
}

impl SimWorld for MemoryWorld {
    fn place(&self, clock: Arc<dyn Clock>) -> Arc<dyn Platform> {
        Arc::new(MemoryPlace::new(self.world.clone()).with_clock(clock))
    }

    fn faults(&self, hook: Option<SimHook>) {
        match hook {
            Some(hook) => {
                self.world.faults(move |info| hook(&SimCall { what: info.what.to_owned(), read: info.read }))
            }
            None => self.world.no_faults(),
        }
    }

    fn components(&self) -> Vec<String> {
        self.world.shape().components().iter().map(|part| (*part).to_owned()).collect()
    }

    fn declared(&self, component: &str) -> Option<String> {
        self.world.declared(component)
    }

    fn writes(&self) -> Vec<SimWrite> {
        let since = |at: crate::model::Timestamp| u64::try_from(at.as_millis() - EPOCH_MS).unwrap_or(0);
        self.world.audit(|writes, _| {
            let write = |write: &crate::memory::Write| SimWrite {
                at: since(write.at),
                kind: write.kind,
                component: write.component.as_ref().map(ToString::to_string),
                value: write.value.clone(),
                changed: write.changed,
                late: write.late,
                by: write.by.clone(),
            };
            writes.iter().map(write).collect()
        })
    }

    fn under_way(&self) -> usize {
        self.world.under_way()
    }

    fn hasten(&self, within_ms: u64) {
        self.world.hasten(within_ms);
    }

    fn compares(&self) -> bool {
        self.world.shape() != Shape::Ecs
    }

    fn needs_promotion(&self) -> bool {
        self.world.shape() == Shape::Terraform
    }

    fn latest_ms(&self) -> u64 {
        self.options.lateness.signature_ms + self.options.lateness.apply_ms
    }

    fn stale_ms(&self) -> u64 {
        if self.world.shape() == Shape::Ecs { self.options.lateness.apply_ms } else { 0 }
    }

    fn release(&self, behaviour: &str, number: u64) -> Release {
        Release::of_what_runs().image("app", format!("repo/app:{behaviour}-{number}"))
    }

    fn is_bad(&self, revision: &str) -> bool {
        let text = self.world.save();
        let Ok(state) = serde_json::from_str::<serde_json::Value>(&text) else { return false };
        let records = state["records"].as_array().cloned().unwrap_or_default();
        records.iter().filter(|record| record["name"] == revision).any(|record| {
            let images = record["spec"]["images"].as_object();
            images.is_some_and(|images| {
                images.values().filter_map(serde_json::Value::as_str).any(|image| {
                    matches!(
                        Behaviour::of_image(image),
                        Behaviour::Crash
                            | Behaviour::NoPull
                            | Behaviour::Unhealthy
                            | Behaviour::PlatformRevert
                    )
                })
            })
        })
    }

    fn foreign_write(&self, random: u64) -> Option<String> {
        let parts = self.world.shape().components();
        // A workspace changes by runs alone: somebody else pushes.
        let parts = if self.world.shape() == Shape::Terraform { &parts[..1] } else { parts };
        let part = parts[usize::try_from(random % parts.len() as u64).unwrap_or(0)];
        let name = self.world.foreign_write(part, &format!("ok-foreign-{}", random % 1000))?;
        Some(format!("{part} to {name}"))
    }

    fn outside(&self, random: u64) -> Option<String> {
        if self.world.shape() != Shape::Terraform {
            return None;
        }
        let done = if random.is_multiple_of(3) {
            self.world.discard_outside("somebody").then_some("discarded")
        } else {
            self.world.confirm_outside("somebody").then_some("confirmed")
        };
        done.map(|done| format!("the run was {done}"))
    }
}
