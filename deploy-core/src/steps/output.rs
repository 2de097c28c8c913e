//! Output as lines: capped, without what was given as a secret, the last ones kept.

use std::{collections::VecDeque, io};

use tokio::io::{AsyncRead, AsyncReadExt};

use crate::report::scrub_lines;

/// How much of one line is looked at, in bytes.
const LINE_BYTES: usize = 8 * 1024;
/// How many of the last lines are kept.
const TAIL_LINES: usize = 20;
/// How many characters of them fit into a message.
const TAIL_CHARS: usize = 360;
/// The shortest line of a secret of several lines that is hidden by itself.
const SECRET_LINE: usize = 8;

/// One line, as it was written but for its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RawLine {
    pub(super) text: String,
    /// Whether it was longer.
    pub(super) cut: bool,
}

/// The lines of a pipe.
#[derive(Debug)]
pub(super) struct Lines<R> {
    from: R,
    line_bytes: usize,
    line: Vec<u8>,
    cut: bool,
    ready: VecDeque<RawLine>,
    ended: bool,
}

impl<R: AsyncRead + Unpin> Lines<R> {
    /// Of each line is kept what is looked at, and the length of a secret more.
    pub(super) fn new(from: R, longest_secret: usize) -> Self {
        let line_bytes = LINE_BYTES + longest_secret;
        Self { from, line_bytes, line: Vec::new(), cut: false, ready: VecDeque::new(), ended: false }
    }

    /// The next line; `None` at the end. Cancel safe.
    pub(super) async fn next(&mut self) -> io::Result<Option<RawLine>> {
        loop {
            if let Some(line) = self.ready.pop_front() {
                return Ok(Some(line));
            }
            if self.ended {
                return Ok(None);
            }
            let mut chunk = [0; 4096];
            let count = self.from.read(&mut chunk).await?;
            self.take(chunk.get(..count).unwrap_or_default());
        }
    }

    fn take(&mut self, chunk: &[u8]) {
        if chunk.is_empty() {
            self.ended = true;
            if !self.line.is_empty() {
                self.end_line();
            }
        }
        for byte in chunk {
            if *byte == b'\n' {
                self.end_line();
            } else if self.line.len() < self.line_bytes {
                self.line.push(*byte);
            } else {
                self.cut = true;
            }
        }
    }

    fn end_line(&mut self) {
        let line = std::mem::take(&mut self.line);
        let line = line.strip_suffix(b"\r").unwrap_or(&line);
        let text = String::from_utf8_lossy(line).into_owned();
        self.ready.push_back(RawLine { text, cut: std::mem::take(&mut self.cut) });
    }
}

/// Takes out what was given as a secret.
#[derive(Clone, Default)]
pub(super) struct Redactor {
    /// The longest first: one secret may contain another.
    secrets: Vec<String>,
}

impl std::fmt::Debug for Redactor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Redactor({} secrets)", self.secrets.len())
    }
}

impl Redactor {
    pub(super) fn new<'a>(values: impl IntoIterator<Item = &'a str>) -> Self {
        let mut secrets = Vec::new();
        for value in values {
            let lines = value.lines().map(str::trim).filter(|line| line.len() >= SECRET_LINE);
            secrets.extend(lines.map(str::to_owned));
            secrets.push(value.to_owned());
        }
        secrets.retain(|secret| !secret.is_empty());
        secrets.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        secrets.dedup();
        Self { secrets }
    }

    /// The length of the longest secret, in bytes.
    pub(super) fn longest(&self) -> usize {
        self.secrets.first().map_or(0, String::len)
    }

    pub(super) fn redact(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for secret in &self.secrets {
            if text.contains(secret.as_str()) {
                text = text.replace(secret.as_str(), "***");
            }
        }
        text
    }

    /// A line that may have been cut in the middle of a secret loses its end.
    pub(super) fn redact_line(&self, line: &RawLine) -> String {
        let mut text = self.redact(&line.text);
        if line.cut {
            let mut end = text.len().saturating_sub(self.longest());
            while !text.is_char_boundary(end) {
                end -= 1;
            }
            text.truncate(end);
        }
        text
    }
}

/// The last lines.
#[derive(Debug, Clone, Default)]
pub(super) struct Tail(VecDeque<String>);

impl Tail {
    pub(super) fn push(&mut self, line: &str) {
        if line.trim().is_empty() {
            return;
        }
        if self.0.len() == TAIL_LINES {
            self.0.pop_front();
        }
        self.0.push_back(line.chars().take(LINE_BYTES).collect());
    }

    /// As one text, as many of the last as fit into a message; empty if there is none.
    pub(super) fn words(&self) -> String {
        let lines = scrub_lines(&self.0);
        let mut kept: Vec<&str> = Vec::new();
        let mut left = TAIL_CHARS;
        for line in lines.iter().rev().map(|line| line.trim()).filter(|line| !line.is_empty()) {
            let length = line.chars().count() + 3;
            if length > left && !kept.is_empty() {
                break;
            }
            left = left.saturating_sub(length);
            kept.push(line);
        }
        kept.reverse();
        kept.join(" | ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn lines_of(bytes: &[u8], longest: usize) -> Vec<RawLine> {
        let (mut lines, mut all) = (Lines::new(bytes, longest), Vec::new());
        while let Some(line) = lines.next().await.unwrap() {
            all.push(line);
        }
        all
    }

    #[tokio::test]
    async fn lines_end_where_they_end() {
        let lines = lines_of(b"one\r\n\ntwo\xff\nrest", 0).await;
        let texts: Vec<&str> = lines.iter().map(|line| line.text.as_str()).collect();
        assert_eq!(texts, ["one", "", "two\u{fffd}", "rest"]);
        assert!(lines.iter().all(|line| !line.cut));
        assert!(lines_of(b"", 0).await.is_empty());
    }

    #[tokio::test]
    async fn a_line_without_an_end_costs_no_more_than_a_long_one() {
        let lines = lines_of(&vec![b'x'; 10 << 20], 100).await;
        assert_eq!(lines.len(), 1);
        assert!(lines[0].cut && lines[0].text.len() == LINE_BYTES + 100);
    }

    /// Wherever a secret lies in a line, none of it is shown.
    #[tokio::test]
    async fn a_secret_across_the_cut_is_hidden() {
        let secret = "hunter2-hunter2-hunter2";
        let redactor = Redactor::new([secret]);
        for before in LINE_BYTES - 30..LINE_BYTES + 60 {
            // Others before it get shorter, and move it to the left.
            let line = format!("{secret}{}{secret}{}", "x".repeat(before), "y".repeat(50));
            let lines = lines_of(line.as_bytes(), redactor.longest()).await;
            let shown = redactor.redact_line(&lines[0]);
            assert!(!shown.contains("hunter"), "{before}: {}", &shown[shown.len() - 60..]);
        }
    }

    #[test]
    fn secrets_are_taken_out_whole_and_line_by_line() {
        let redactor = Redactor::new(["abc", "abcdef", "", "first line\nsecond line\nx"]);
        assert_eq!(redactor.redact("abcdef abc ab"), "*** *** ab");
        assert_eq!(redactor.redact("the second line is x"), "the *** is x");
        assert!(!format!("{redactor:?}").contains("abc"));
    }

    #[test]
    fn the_tail_keeps_the_last_lines() {
        let mut tail = Tail::default();
        for number in 0..100 {
            tail.push(&format!("line {number}"));
            tail.push("  ");
        }
        let words = tail.words();
        assert!(words.ends_with("line 98 | line 99") && !words.contains("line 79 "), "{words}");
        tail.push(&"z".repeat(2000));
        assert!(tail.words().chars().count() <= crate::report::LINE_LIMIT);
        assert_eq!(Tail::default().words(), "");
    }
}
