//! Lines for a log file or a pipe: one a change, and one a minute if nothing changes.

use std::{fmt, io::Write, sync::Mutex};

use super::{LineKind, Observer, Views, locked};
use crate::{event::Event, report::Zone};

/// Writes `02:13:10Z watch: new 1/2 healthy (1 starting), old 2 serving`, at the end the rows of the end block, and
/// the one line last.
pub struct PlainLines<W> {
    zone: Zone,
    state: Mutex<(Views, W)>,
}

impl<W: Write + Send + 'static> PlainLines<W> {
    /// Writes to standard error, a file, a pipe; times in UTC.
    pub fn new(to: W) -> Self {
        Self::in_zone(to, Zone::utc())
    }

    /// With times in another zone.
    pub fn in_zone(to: W, zone: Zone) -> Self {
        Self { state: Mutex::new((Views::new(zone.clone()), to)), zone }
    }
}

impl<W> fmt::Debug for PlainLines<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PlainLines")
    }
}

impl<W: Write + Send + 'static> Observer for PlainLines<W> {
    fn see(&self, event: &Event) {
        let mut state = locked(&self.state);
        let (views, to) = &mut *state;
        let mut text = String::new();
        for line in views.see(event) {
            if line.kind != LineKind::End {
                text += &format!("{} {}: ", self.zone.clock(line.at), line.phase.word());
            }
            text += &line.text;
            text.push('\n');
        }
        // A reader that went away is no reason to stop a deploy.
        let _ = to.write_all(text.as_bytes()).and_then(|()| to.flush());
    }
}
