//! The small words that every screen shares: durations, commits, counts, columns.

use crate::model::Counts;

/// A duration as sentences have it: `0.4 s`, `47 s`, `7 min 5 s`, `2 h 10 min`, `3 d 2 h`.
#[must_use]
pub fn duration_words(ms: u64) -> String {
    duration(ms, "min")
}

/// A duration as columns have it: `0.4 s`, `47 s`, `1 m 10 s`, `2 h 10 m`.
#[must_use]
pub fn duration_short(ms: u64) -> String {
    duration(ms, "m")
}

fn duration(ms: u64, minute: &str) -> String {
    let seconds = ms / 1000;
    let (large, name, small, under) = match seconds {
        // Tenths matter where everything is over at once; a whole number is left alone.
        0..10 if ms % 1000 >= 100 => return format!("{seconds}.{} s", ms % 1000 / 100),
        0..60 => return format!("{seconds} s"),
        60..3_600 => (seconds / 60, minute, seconds % 60, "s"),
        3_600..86_400 => (seconds / 3_600, "h", seconds / 60 % 60, minute),
        _ => (seconds / 86_400, "d", seconds / 3_600 % 24, "h"),
    };
    if small == 0 { format!("{large} {name}") } else { format!("{large} {name} {small} {under}") }
}

/// A stopwatch: `1:12`, `10:00`, `1:02:03`.
#[must_use]
pub fn stopwatch(ms: u64) -> String {
    let seconds = ms / 1000;
    let (hours, minutes, rest) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    if hours == 0 { format!("{minutes}:{rest:02}") } else { format!("{hours}:{minutes:02}:{rest:02}") }
}

/// The first seven characters of a commit.
#[must_use]
pub fn short_commit(commit: &str) -> &str {
    commit.get(..7).unwrap_or(commit)
}

/// `2/2 healthy`.
#[must_use]
pub fn healthy(counts: Counts) -> String {
    format!("{}/{} healthy", counts.healthy, counts.desired)
}

/// `1 commit`, `3 commits`.
#[must_use]
pub fn plural(count: usize, one: &str) -> String {
    if count == 1 { format!("1 {one}") } else { format!("{count} {one}s") }
}

/// How many columns a text takes, one for each character: what screens hold is scrubbed and mostly ASCII.
pub(crate) fn width(text: &str) -> usize {
    text.chars().count()
}

/// Rows whose columns are as wide as their widest cells, so many blanks apart; lines do not end in blanks.
pub(crate) fn table<const N: usize>(rows: &[[String; N]], gap: usize) -> String {
    let mut widths = [0; N];
    for row in rows {
        for (at, cell) in row.iter().enumerate() {
            widths[at] = widths[at].max(width(cell));
        }
    }
    let mut text = String::new();
    for row in rows {
        let cells = row.iter().zip(widths).map(|(cell, wide)| format!("{cell:wide$}"));
        text.push_str(cells.collect::<Vec<_>>().join(&" ".repeat(gap)).trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_on_the_screens() {
        let table = [
            (0, "0 s", "0 s"),
            (412, "0.4 s", "0.4 s"),
            (3_000, "3 s", "3 s"),
            (9_999, "9.9 s", "9.9 s"),
            (10_900, "10 s", "10 s"),
            (47_000, "47 s", "47 s"),
            (70_397, "1 min 10 s", "1 m 10 s"),
            (425_000, "7 min 5 s", "7 m 5 s"),
            (600_000, "10 min", "10 m"),
            (7_800_000, "2 h 10 min", "2 h 10 m"),
            (266_400_000, "3 d 2 h", "3 d 2 h"),
        ];
        for (ms, words, short) in table {
            assert_eq!((duration_words(ms).as_str(), duration_short(ms).as_str()), (words, short));
        }
        assert!(duration_words(u64::MAX).contains(" d "));
    }

    #[test]
    fn a_stopwatch_counts_hours_only_when_there_are_some() {
        let shown = [72_000, 600_000, 3_723_000].map(stopwatch);
        assert_eq!(shown, ["1:12", "10:00", "1:02:03"]);
    }

    #[test]
    fn commits_are_cut_at_seven_whatever_they_hold() {
        assert_eq!(["9f2c1ab77", "9f2", "ééééé"].map(short_commit), ["9f2c1ab", "9f2", "ééééé"]);
    }

    #[test]
    fn columns_fit_their_widest_cell_and_lines_do_not_trail_blanks() {
        let rows = [["A", "B", "C"], ["long", "", "x"], ["", "é", ""]].map(|row| row.map(String::from));
        assert_eq!(table(&rows, 2), "A     B  C\nlong     x\n      é\n");
    }
}
