//! Screens: pure functions from small plain structures to text. What fills them in is the caller's affair.

mod end;
mod plan;
mod scrub;
mod tables;
mod words;
mod zone;

pub use end::{EndBlock, end_block, held_row, restored_line, unfinished_line};
pub use plan::{CommitRow, PlanScreen, plan_screen};
pub use scrub::{LINE_LIMIT, scrub, scrub_line, scrub_lines};
pub use tables::{HistoryRow, StatusRow, history_screen, status_screen};
pub use words::{duration_short, duration_words, healthy, plural, short_commit, stopwatch};
pub use zone::Zone;
