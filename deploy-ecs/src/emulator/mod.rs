//! The ECS control plane, in process.
//!
//! A [`World`] is an account: a pure value that is told the time and asked what ECS, ECR, STS and CloudWatch Logs
//! are asked. An [`Emulator`] gives it a clock, and speaks the wire's protocols to the AWS SDK in process
//! ([`Emulator::http_client`]: no socket, the runtime's virtual time) or to any client on a socket
//! ([`Emulator::serve`], [`listen`]: real time, one endpoint for all services). Faults are scripted with [`FaultRule`] or decided
//! by a [`FaultSource`].
//!
//! How an image behaves is read from the word that its tag begins with: see [`Behaviour`]. Every repository of the
//! emulator's account has such tags; other tags of the account do not exist until somebody puts them there; images
//! of other registries behave as `ok`. A digest keeps the behaviour of its first tag. Such an image is for `amd64`, or
//! for `arm64` if its tag has that word (`ok-arm64`); its configuration says so.
//!
//! A task runs on as long as its image lets it. A one-off task that was given a command ends: see [`Behaviour::Ok`].
//!
//! What it leaves out: task sets, blue/green, linear and canary deployments (all services roll), container instances
//! (every task is placed as on Fargate), alarms. Actions that it does not know are answered with
//! `UnknownOperationException`. Requests may have members that it does not know; those that ECS has must have ECS's
//! types.

mod behaviour;
mod calls;
mod cause;
mod config;
mod core;
mod ecr;
mod ecr_calls;
mod ecs;
mod ecs_clusters;
mod ecs_definitions;
mod ecs_deployments;
mod ecs_run_task;
mod ecs_services;
mod ecs_tags;
mod ecs_tasks;
mod error;
mod fault;
mod handle;
mod ledger;
mod lifecycle;
mod logs;
mod params;
mod rng;
mod rollout;
mod scheduler;
mod seed;
mod serve;
mod service_view;
mod shapes;
mod state;
mod task_view;
mod throttle;
mod transport;
mod wire;
mod world;

pub use behaviour::{Behaviour, Timings};
pub use calls::{CallCounts, CallOutcome, CallRecord};
pub use config::Config;
pub use error::ApiError;
pub use fault::{CallInfo, FaultKind, FaultRule, FaultSource};
pub use handle::Emulator;
pub use ledger::{Change, ChangeKind};
pub use seed::Seed;
pub use serve::{ListenOptions, ServeOptions, Served, listen};
pub use world::{Api, World};
