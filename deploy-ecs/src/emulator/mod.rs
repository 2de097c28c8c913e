//! The ECS control plane, in process.
mod behaviour;
mod config;
mod core;
mod ecr;
mod ecs;
mod ecs_definitions;
mod ecs_deployments;
mod ecs_services;
mod ecs_tasks;
mod error;
mod lifecycle;
mod logs;
mod params;
mod rng;
mod rollout;
mod scheduler;
mod state;
mod throttle;
mod world;

pub use behaviour::{Behaviour, Timings};
pub use config::Config;
pub use error::ApiError;
pub use world::{Api, World};
