//! Problems of a file, shown as rustc shows its errors.

use std::{fmt, io, ops::Range, path::Path};

use deploy_core::{Error, ErrorKind};

/// The longest part of a line that is shown.
const SHOWN: usize = 120;

/// One problem.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Problem {
    /// Where it is, in bytes of the text.
    start: usize,
    end: usize,
    title: String,
    label: String,
    notes: Vec<String>,
    secret: bool,
}

impl Problem {
    pub(super) fn new(at: &Range<usize>, title: impl Into<String>) -> Self {
        Self {
            start: at.start,
            end: at.end,
            title: title.into(),
            label: String::new(),
            notes: Vec::new(),
            secret: false,
        }
    }

    /// What stands beside the underline.
    pub(super) fn label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }

    /// A line below.
    pub(super) fn note(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }

    /// The line may hold a secret: what follows the key is not shown.
    pub(super) fn secret(mut self, secret: bool) -> Self {
        self.secret = secret;
        self
    }

    pub(super) fn start(&self) -> usize {
        self.start
    }
}

/// All problems of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems {
    count: usize,
    text: String,
}

impl Problems {
    pub(super) fn of(path: &Path, text: &str, mut problems: Vec<Problem>) -> Self {
        problems.sort();
        problems.dedup();
        let shown: Vec<String> = problems.iter().map(|problem| show(path, text, problem)).collect();
        Self { count: shown.len(), text: shown.join("\n\n") }
    }

    pub(super) fn unread(path: &Path, error: &io::Error) -> Self {
        let mut text = format!("error: cannot read {}: {error}", path.display());
        if error.kind() == io::ErrorKind::NotFound {
            text += "\n  name another file with --config";
        }
        Self { count: 1, text }
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }
}

/// All of them, each with file, line, column, the line itself and what to write instead.
impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Problems {}

impl From<Problems> for Error {
    fn from(problems: Problems) -> Self {
        // Each problem begins with the word that programs put before an error's message.
        let text = problems.text.strip_prefix("error: ").unwrap_or(&problems.text).to_owned();
        Self::new(ErrorKind::Invalid, text)
    }
}

/// Line and column, from 1, of a byte of the text.
pub(super) fn position(text: &str, at: usize) -> (usize, usize) {
    let before = before(text, at);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
    (line, column)
}

/// The line that a byte of the text is in.
pub(super) fn line_of(text: &str, at: usize) -> &str {
    let begin = before(text, at).rfind('\n').map_or(0, |at| at + 1);
    text[begin..].lines().next().unwrap_or("")
}

fn before(text: &str, at: usize) -> &str {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    &text[..at]
}

fn show(path: &Path, text: &str, problem: &Problem) -> String {
    let (line, column) = position(text, problem.start);
    let source = line_of(text, problem.start);
    let mut shown = printable(source);
    let length = shown.chars().count();
    let wanted = text.get(problem.start..problem.end).map_or(1, |part| {
        // Only the first line of what goes over several is underlined.
        part.lines().next().unwrap_or("").chars().count()
    });
    let marked = wanted.clamp(1, length.saturating_sub(column - 1).max(1));
    let (mut from, mut marked) = (column - 1, marked);
    if problem.secret
        && let Some(at) = shown.find('=')
    {
        shown.truncate(at + 1);
        shown += " ...";
        marked = marked.min(shown.chars().count().saturating_sub(from).max(1));
    }
    if length > SHOWN {
        let skip = from.saturating_sub(SHOWN / 3);
        shown = shown.chars().skip(skip).take(SHOWN).collect();
        from -= skip;
        marked = marked.min(shown.chars().count().saturating_sub(from).max(1));
    }
    let number = line.to_string();
    let gutter = " ".repeat(number.len());
    let mut out = format!("error: {}\n", problem.title);
    out += &format!("{gutter}--> {}:{line}:{column}\n", path.display());
    out += format!("{number} | {shown}").trim_end();
    out += &format!("\n{gutter} | {}{} {}", " ".repeat(from), "^".repeat(marked), problem.label);
    out.truncate(out.trim_end().len());
    for note in &problem.notes {
        out += &format!("\n{gutter} = {note}");
    }
    out
}

/// One column a character: what is not printed stands as a blank or a question mark.
fn printable(line: &str) -> String {
    line.chars()
        .map(|letter| match letter {
            '\t' => ' ',
            control if control.is_control() => '?',
            other => other,
        })
        .collect()
}
