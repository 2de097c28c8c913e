//! The memory platform: the reference implementation of [`Platform`](crate::Platform), and a shape-shifter.
//!
//! A [`World`] is the remote system, in virtual time; it outlives the deployers that talk to it. A [`MemoryPlace`] is
//! one deployer's view of it. The [`Shape`] decides which real platform's awkwardness it has: no compare-and-set and
//! reverts of its own (ECS), a fence, versions and stuck instances (Kubernetes), a group of pointers and a hook that
//! runs at most once (Vapor), a plan that exists only after the push (Terraform). How a release behaves is read
//! from the word that its image tag begins with, see [`Behaviour`].

mod apply;
mod audit;
mod call;
mod fence;
mod health;
mod object;
mod place;
mod plan;
mod run;
mod shape;
mod state;
mod steps;
mod work;
mod world;

pub use audit::{Rejected, Write, WriteKind, Writer};
pub use call::{Call, CallInfo, Fault, FaultHook, Op, Reply, To};
pub use place::MemoryPlace;
pub use run::{RunState, RunView};
pub use shape::{Behaviour, Migration, Shape, Spec, WorldOptions};
pub use world::World;
