//! What deploy-kit's AWS platforms share: a connection made from the standard chain, the caller's identity, one
//! attempt per permit, one place that maps errors, what ECR knows of images, and log tails from CloudWatch. With the
//! feature `docker` logins to ECR ([`EcrLogins`]), with the feature `codebuild` builds of images there ([`CodeBuild`]).
//!
//! # One attempt per permit
//! The SDK's own retries and its clock-skew correction are off: with them on it signs a request anew after minutes and
//! succeeds, which no quiet time survives. A mutation is signed with the time of its permit, the permit is checked by
//! the clock in the last hook before the bytes leave, and what is known of the effect afterwards is told by whether that
//! hook let it out. Reads may be repeated a few times, with pauses of the injected clock; mutations never.
//!
//! # One rate budget
//! Connections with the same credentials, region and endpoint share one budget in a process: of each bucket of calls that
//! AWS publishes they take half, because the account has other users. After "too many" they send nothing for a second.
//!
//! # Builds
//! Starting and stopping a build has no permit: it is *prepare*, touches nothing of a place, and is harmless twice. What
//! makes it so is in [`CodeBuild`].
//!
//! # No SDK type in public
//! The modules [`sdk`] and the methods that name SDK types are hidden: they are the plumbing between our own crates.

#[cfg(feature = "codebuild")]
mod codebuild;
mod connection;
mod ecr;
#[cfg(feature = "docker")]
mod ecr_logins;
mod error;
mod fetch;
mod image_name;
mod logs;
#[cfg(all(test, feature = "docker", feature = "codebuild"))]
mod scripted;
mod shared;
mod time;

#[doc(hidden)]
pub mod sdk;

#[cfg(feature = "codebuild")]
pub use codebuild::CodeBuild;
pub use connection::{Aws, AwsConfig, Caller};
pub use ecr::{EcrImage, ImagePlatform};
#[cfg(feature = "docker")]
pub use ecr_logins::EcrLogins;
pub use image_name::ImageName;
pub use logs::{LogLines, LogPlace, search, tail};
pub use shared::Limit;
