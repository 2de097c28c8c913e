#![cfg_attr(all(feature = "ecs", feature = "git", feature = "sqlite"), doc = include_str!("../README.md"))]
#![cfg_attr(
    not(all(feature = "ecs", feature = "git", feature = "sqlite")),
    doc = "Deploys, watches, judges and undoes releases. The README's example needs the features ecs, git and sqlite."
)]
#![cfg_attr(docsrs, feature(doc_cfg))]

pub use deploy_core::*;

#[cfg(feature = "config")]
#[cfg_attr(docsrs, doc(cfg(feature = "config")))]
pub mod config;

/// Amazon ECS.
#[cfg(feature = "ecs")]
pub use deploy_ecs as ecs;

#[cfg(feature = "git")]
pub use deploy_core::source::git::{Fetch, Repo};
#[cfg(feature = "sqlite")]
pub use deploy_core::state::stores::sqlite::SqliteStore;
#[cfg(feature = "forge")]
pub use deploy_core::{
    forge::{Bitbucket, GitHub},
    steps::workflow::{Workflow, WorkflowRunner},
};

/// What a program that deploys names: `use deploy_kit::prelude::*`.
pub mod prelude {
    pub use deploy_core::{
        BoxError, Deployer, Error, ErrorKind, Events, Platform, Request, Result, Rollout, Target,
        model::{Goal, Outcome, Plan, Release, SecretRef, TargetName},
    };
}
