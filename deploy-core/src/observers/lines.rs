//! Lines for a log file or a pipe: one a change, and one a minute if nothing changes.

use std::{fmt, io::Write, sync::Mutex};

use super::{LineKind, Observer, Views, locked};
use crate::{event::Event, report::Zone};

/// Writes `02:13:10Z watch: new 1/2 healthy (1 starting), old 2 serving`, at the end the rows of the end block, and
/// the one line last.
pub struct PlainLines<W> {
    zone: Zone,
    one_line: bool,
    state: Mutex<(Views, W)>,
}

impl<W: Write + Send + 'static> PlainLines<W> {
    /// Writes to standard error, a file, a pipe; times in UTC.
    pub fn new(to: W) -> Self {
        Self::in_zone(to, Zone::utc())
    }

    /// With times in another zone.
    pub fn in_zone(to: W, zone: Zone) -> Self {
        Self { state: Mutex::new((Views::new(zone.clone()), to)), zone, one_line: true }
    }

    /// Without the one line: for a program that writes it elsewhere, as its result.
    #[must_use]
    pub fn without_the_one_line(mut self) -> Self {
        self.one_line = false;
        self
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
            if line.kind == LineKind::OneLine && !self.one_line {
                continue;
            }
            if !line.kind.stands_alone() {
                text += &format!("{} {}: ", self.zone.clock(line.at), line.phase.word());
            }
            text += &line.text;
            text.push('\n');
        }
        // A reader that went away is no reason to stop a deploy.
        let _ = to.write_all(text.as_bytes()).and_then(|()| to.flush());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observers::{JsonLines, fixture};

    #[test]
    fn a_deploy_that_goes_back_reads_as_one_story() {
        let out = fixture::Shared::default();
        let lines = PlainLines::new(out.clone());
        fixture::rolled_back().iter().for_each(|event| lines.see(event));
        let golden = include_str!("../../tests/golden/screens/lines.txt");
        assert_eq!(out.text(), golden);
    }

    #[test]
    fn the_one_line_can_be_left_to_others() {
        let out = fixture::Shared::default();
        let lines = PlainLines::new(out.clone()).without_the_one_line();
        fixture::rolled_back().iter().for_each(|event| lines.see(event));
        let golden = include_str!("../../tests/golden/screens/lines.txt");
        let (but_the_last, _) = golden.trim_end().rsplit_once('\n').unwrap();
        assert_eq!(out.text().trim_end(), but_the_last);
    }

    #[test]
    fn a_reader_that_went_away_stops_nothing() {
        #[derive(Debug)]
        struct Gone;
        impl Write for Gone {
            fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
                Err(std::io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let observers: [Box<dyn Observer>; 2] =
            [Box::new(PlainLines::new(Gone)), Box::new(JsonLines::new(Gone))];
        for observer in observers {
            fixture::rolled_back().iter().for_each(|event| observer.see(event));
        }
    }
}
