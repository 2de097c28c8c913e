//! GitHub and Bitbucket over HTTP, as far as deploying needs them: workflows of GitHub Actions
//! ([`steps::workflow`](crate::steps::workflow) runs them as steps), and whether a commit's CI is green.
//!
//! Every request is one attempt. Reads that meet a broken connection or a 5xx are made up to three times; a mutation is
//! sent once under its permit, over a connection of its own. What the server says about its rate limits is kept for all that
//! share a connection: while it is closed, nothing is sent.

mod answer;
mod api;
mod bitbucket;
mod budget;
mod commit;
#[cfg(feature = "forge-emulator")]
pub mod emulator;
mod github;
pub(crate) mod http;
#[cfg(all(test, feature = "forge-emulator"))]
mod tests;

pub use bitbucket::{Bitbucket, BitbucketChecks};
pub use commit::CommitState;
pub use github::{GitHub, GitHubChecks};

pub(crate) use api::Page;
pub(crate) use github::{Annotation, Dispatch, Job, RepositoryName, Run};
