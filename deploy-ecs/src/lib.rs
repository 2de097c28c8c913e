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
//! | `plan` | one `DescribeTaskDefinition` or two, and an ECR call per image that is given by tag |
//! | deploying | `RegisterTaskDefinition`, `DescribeServices`, `UpdateService` |
//! | `observe` | `DescribeServices`; with `ListTasks`, `DescribeTasks` and one `GetLogEvents` only while something is off |
//! | going back | `DescribeServices`, `UpdateService` |

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
