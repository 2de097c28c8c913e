//! Screens: pure functions from small plain structures to text. What fills them in is the caller's affair.

mod scrub;
mod words;
mod zone;

pub use scrub::{LINE_LIMIT, scrub, scrub_line, scrub_lines};
pub use words::{duration_short, duration_words, healthy, plural, short_commit, stopwatch};
pub use zone::Zone;
