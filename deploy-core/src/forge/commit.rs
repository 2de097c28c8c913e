//! What the CI of a repository says of a commit.

/// What the checks of a commit say, all together.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum CommitState {
    /// There is at least one, and all have passed.
    Green,
    /// At least one has failed: these.
    Red {
        /// Their names, sorted, each once.
        which: Vec<String>,
    },
    /// None has failed, and these have not ended.
    Pending {
        /// Their names, sorted, each once.
        which: Vec<String>,
    },
    /// It cannot be told: there are none, not all could be read, or one says a word that is not known.
    CannotKnow {
        /// Why, in one line.
        why: String,
    },
}

/// What one check says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Passed,
    Failed,
    Runs,
}

/// Adds up what the checks of one commit say.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    seen: usize,
    failed: Vec<String>,
    run: Vec<String>,
    unclear: Option<String>,
}

impl Tally {
    /// One more. `None`: it says something that is not known, in this word.
    pub(crate) fn add(&mut self, name: &str, verdict: Option<Verdict>, word: &str) {
        self.seen += 1;
        let name = crate::report::scrub_line(name);
        match verdict {
            Some(Verdict::Passed) => {}
            Some(Verdict::Failed) => self.failed.push(name),
            Some(Verdict::Runs) => self.run.push(name),
            None => {
                let word = crate::report::scrub_line(word);
                self.unclear = Some(format!("{name} says `{word}`, which is not known here"));
            }
        }
    }

    /// What they say together. One that has failed decides; doubt never becomes green.
    pub(crate) fn state(self) -> CommitState {
        let sorted = |mut names: Vec<String>| {
            names.sort();
            names.dedup();
            names
        };
        if !self.failed.is_empty() {
            CommitState::Red { which: sorted(self.failed) }
        } else if let Some(why) = self.unclear {
            CommitState::CannotKnow { why }
        } else if !self.run.is_empty() {
            CommitState::Pending { which: sorted(self.run) }
        } else if self.seen == 0 {
            CommitState::CannotKnow { why: "no check has said anything about this commit".into() }
        } else {
            CommitState::Green
        }
    }
}

/// Whether this is the full id of a commit. A branch would be read as what it means at that moment.
pub(crate) fn is_full_id(commit: &str) -> bool {
    matches!(commit.len(), 40 | 64) && commit.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// What is said of anything else.
pub(crate) fn no_full_id(commit: &str) -> CommitState {
    let commit = crate::report::scrub_line(commit);
    CommitState::CannotKnow { why: format!("`{commit}` is not the full id of a commit") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_failed_decides_and_doubt_never_becomes_green() {
        use Verdict::{Failed, Passed, Runs};
        let red =
            |names: &[&str]| CommitState::Red { which: names.iter().map(|&name| name.into()).collect() };
        for (given, expected) in [
            (vec![("a", Some(Passed)), ("b", Some(Passed))], Some(CommitState::Green)),
            (
                vec![("b", Some(Failed)), ("a", Some(Failed)), ("a", Some(Failed)), ("c", None)],
                Some(red(&["a", "b"])),
            ),
            (
                vec![("a", Some(Passed)), ("b", Some(Runs))],
                Some(CommitState::Pending { which: vec!["b".into()] }),
            ),
            (vec![("a", Some(Runs)), ("b", None)], None),
            (vec![("a", Some(Passed)), ("b", None)], None),
            (vec![], None),
        ] {
            let mut tally = Tally::default();
            for (name, verdict) in &given {
                tally.add(name, *verdict, "odd");
            }
            let state = tally.state();
            match expected {
                Some(expected) => assert_eq!(state, expected, "{given:?}"),
                None => assert!(matches!(state, CommitState::CannotKnow { .. }), "{given:?} {state:?}"),
            }
        }
    }

    #[test]
    fn only_full_ids_are_asked_for() {
        assert!(is_full_id("4be81d0c9c1c2f7d5a1b3e4f5a6b7c8d9e0f1a2b"));
        for bad in ["main", "4be81d0", "", "4be81d0c9c1c2f7d5a1b3e4f5a6b7c8d9e0f1a2g"] {
            assert!(!is_full_id(bad), "{bad}");
        }
    }
}
