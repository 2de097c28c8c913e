//! Amazon ECS for deploy-kit: rolling services.
//!
//! ```no_run
//! # async fn example() -> deploy_core::Result<()> {
//! let ecs = deploy_ecs::Ecs::from_env().await?;
//! let api = ecs.service("prod-website", "prod-api").family("prod-api-task");
//! # Ok(()) }
//! ```
//!
//! # What a deploy does
//! It registers a new revision of the task definition that the service runs, with other images or variables and
//! everything else kept, and points the service to it. ECS replaces the tasks; this crate watches our deployment by its
//! id, tells a broken release from a broken platform by the tasks that stopped, and goes back with one call.
//!
//! # Why nothing is lost from a task definition
//! The definition is read and registered as the JSON that ECS sends, not through the SDK's structs: a field that this
//! build of the SDK has never heard of is kept. What ECS answers to the registration is compared with what was sent, and
//! a field that is missing there fails the step before the service is touched.
//!
//! # What it costs
//! | call | requests |
//! |---|---|
//! | `inspect` | `DescribeServices`, `DescribeTaskDefinition`; the first time `GetCallerIdentity` |
//! | `plan` | one `DescribeTaskDefinition` or two; for each image an ECR call, and two requests more where its manifest does not name its platform and the task definition asks for one |
//! | deploying | `RegisterTaskDefinition`, `DescribeServices`, `UpdateService` |
//! | `observe` | `DescribeServices`; with `ListTasks`, `DescribeTasks` and one `GetLogEvents` only while something is off |
//! | going back | `DescribeServices`, and `UpdateService` or `StopServiceDeployment` |
//!
//! # One look for all
//! `DescribeServices` takes ten services of a cluster. Rollouts of one process that watch services of one cluster share
//! these calls: whoever is due first looks for all that are watched, and the others take what it saw. Ten services that
//! are rolled at once for five minutes cost 69 watching reads (`cargo bench -p benches --bench ecs`). The interval adapts:
//! short after a change and while something moves, longer while nothing does.
//!
//! # Going back
//! `StopServiceDeployment` lets ECS go back by itself, to what completed last. It is used only where that is the revision
//! that the plan goes back to; else `UpdateService` names it. Both are one call, and what comes back is watched until the
//! old revision alone serves.

mod client;
mod config;
mod connection;
mod definition;
mod health;
mod images;
mod limits;
mod logs;
mod looks;
mod plan;
mod platform;
mod snapshot;
mod steps;

#[cfg(feature = "conformance")]
pub mod conformance;
#[cfg(feature = "emulator")]
pub mod emulator;

pub use config::EcsConfig;
pub use connection::{Ecs, Service};
