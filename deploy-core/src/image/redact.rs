//! Taking the secrets that were given to us out of what the Engine and registries say.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use crate::{model::Secret, report::scrub_line};

/// What stands where a secret was.
const HIDDEN: &str = "***";
/// A shorter value is no secret, and would take half of the text with it.
const SHORTEST: usize = 4;

/// Knows the secrets of a build or a push, and takes them out of text. A clone learns what the others learn.
#[derive(Clone, Default)]
pub(crate) struct Redactor(Arc<Mutex<Vec<String>>>);

impl Redactor {
    pub(crate) fn add(&self, secret: &Secret) {
        let value = secret.expose();
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let lines = value.lines().map(str::trim);
        for part in [value.trim()].into_iter().chain(lines).filter(|part| part.len() >= SHORTEST) {
            if !known.iter().any(|known| known == part) {
                known.push(part.to_owned());
            }
        }
        // A value may be part of another one.
        known.sort_by_key(|part| std::cmp::Reverse(part.len()));
    }

    /// The text on one line, without the secrets and without what looks like one.
    pub(crate) fn line(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for secret in self.0.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            if text.contains(secret.as_str()) {
                text = text.replace(secret.as_str(), HIDDEN);
            }
        }
        scrub_line(&text)
    }
}

impl fmt::Debug for Redactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Redactor(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_and_their_lines_are_taken_out() {
        let redactor = Redactor::default();
        redactor.add(&Secret::new("canary-one"));
        redactor.add(&Secret::new("canary-one-longer\nsecond canary\n"));
        redactor.add(&Secret::new("ab"));
        let said = redactor.line("x canary-one-longer y second canary z canary-one ab\u{1b}[31m");
        assert_eq!(said, "x *** y *** z *** ab");
        assert!(!format!("{redactor:?}").contains("canary"));
    }
}
