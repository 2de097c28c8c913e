//! What the example programs share: following a rollout with Ctrl-C, the history screen, and (feature `tool`) the one
//! grammar of the command-line tools with everything behind it.

mod follow;
mod rows;
#[cfg(feature = "tool")]
mod tool;

pub use follow::{Followed, Stop, follow, follow_to_the_end};
pub use rows::history;
#[cfg(feature = "tool")]
pub use tool::{Backend, Cli, Connected, Crossing, run};
