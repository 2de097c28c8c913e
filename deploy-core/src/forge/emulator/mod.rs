//! GitHub and Bitbucket, as far as [`forge`](crate::forge) uses them, in process.
//!
//! A [`World`] is a server with repositories: a pure value that is told the time and asked what the REST APIs are asked. An
//! [`Emulator`] gives it a clock, and speaks HTTP to this crate's client in process ([`Emulator::github`]: no socket, the runtime's
//! virtual time) or to any client on a socket ([`Emulator::serve`]: real time). Faults are scripted with [`FaultRule`], and calls
//! are counted.
//!
//! What a run does is scripted with [`RunScript`] and [`JobScript`]: when it appears, how its jobs end, what they say, whether
//! it obeys when it is cancelled. It follows the published API
//! (<https://docs.github.com/en/rest/actions>, <https://docs.github.com/en/rest/checks>,
//! <https://developer.atlassian.com/cloud/bitbucket/rest/api-group-commit-statuses/>), not the use that this crate makes of it:
//! it refuses what GitHub refuses, answers conditional requests, counts the primary rate limit, and keeps logs on another
//! server that wants no token.
//!
//! What it leaves out: everything else of the two APIs (404), and permissions finer than a token that is known.

mod actions;
mod checks;
mod fault;
mod handle;
mod script;
mod serve;
mod state;
mod wire;
mod world;

pub use fault::{Fault, FaultRule};
pub use handle::{CallRecord, Counts, Emulator};
pub use script::{Cancel, JobScript, RunScript, WorkflowFile};
pub use serve::Served;
pub use state::RunView;
pub use world::{Config, World};

/// Every call that the emulator knows, by its name.
pub fn call_names() -> impl Iterator<Item = &'static str> {
    wire::READS.into_iter().chain(wire::MUTATIONS)
}
