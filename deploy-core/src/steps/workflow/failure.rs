//! Why a job failed: the work itself, or what passes.
//!
//! GitHub has no field for it. It says so in annotations of the job, and in its log; the words are those of the runner
//! (<https://github.com/actions/runner>) and of the API's rate limits.

use crate::forge::Annotation;

/// What passes, and is GitHub's affair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Passing {
    /// The machine that the job ran on is gone, or there was none.
    RunnerLost,
    /// A rate limit of GitHub's own.
    RateLimit,
}

impl Passing {
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::RunnerLost => "its runner was lost",
            Self::RateLimit => "GitHub's rate limit was met",
        }
    }
}

/// In lower case, as are all of these.
const RUNNER_LOST: [&str; 5] = [
    "lost communication with the server",
    "the runner has received a shutdown signal",
    "the hosted runner encountered an error while running your job",
    "github actions has encountered an internal error when running your job",
    "the job was not acquired by runner",
];
const RATE_LIMITS: [&str; 2] = ["api rate limit exceeded for", "exceeded a secondary rate limit"];
/// What is said besides the reason, whatever that is.
const SAID_ANYWAY: [&str; 3] = [
    "process completed with exit code",
    "the operation was canceled",
    "the strategy configuration was canceled",
];
/// How many lines before the end of a step say why it ended.
const BEFORE: usize = 5;

fn class(text: &str) -> Option<Passing> {
    let text = text.to_ascii_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| text.contains(word));
    if has(&RUNNER_LOST) {
        Some(Passing::RunnerLost)
    } else if has(&RATE_LIMITS) || text.contains("429 (too many requests)") && text.contains("github.com") {
        Some(Passing::RateLimit)
    } else {
        None
    }
}

fn is_said_anyway(text: &str) -> bool {
    let text = text.trim().to_ascii_lowercase();
    SAID_ANYWAY.iter().any(|words| text.starts_with(words))
}

/// Whether the job failed for what passes, and for nothing else. In doubt it was the work.
pub(super) fn passing(annotations: &[Annotation], log: &str) -> Option<Passing> {
    let failures = annotations.iter().filter(|said| said.annotation_level.as_deref() == Some("failure"));
    let messages: Vec<&str> = failures.filter_map(|said| said.message.as_deref()).collect();
    let reasons = messages.iter().filter(|text| !is_said_anyway(text));
    let classes: Vec<Option<Passing>> = reasons.map(|text| class(text)).collect();
    if classes.iter().any(Option::is_none) {
        return None;
    }
    let from_annotations = classes.into_iter().flatten().next();
    from_annotations.or_else(|| last_words(log))
}

/// What the log says right before the step that failed ended.
fn last_words(log: &str) -> Option<Passing> {
    let lines: Vec<&str> = log.lines().collect();
    let errors =
        lines.iter().enumerate().filter_map(|(at, line)| Some((at, line.split_once("##[error]")?.1)));
    let errors: Vec<(usize, &str)> = errors.collect();
    let reasons = errors.iter().filter(|(_, text)| !is_said_anyway(text));
    let classes: Vec<Option<Passing>> = reasons.map(|(_, text)| class(text)).collect();
    if !classes.is_empty() {
        // All of them, or it is not that alone.
        return classes.into_iter().reduce(|one, other| if one == other { one } else { None }).flatten();
    }
    let (end, _) = errors.last()?;
    let before = lines.get(end.saturating_sub(BEFORE)..*end).unwrap_or_default();
    before.iter().find_map(|line| class(line)).filter(|found| *found == Passing::RateLimit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failures(messages: &[&str]) -> Vec<Annotation> {
        let one = |message: &&str| Annotation {
            annotation_level: Some("failure".into()),
            message: Some((*message).to_owned()),
        };
        messages.iter().map(one).collect()
    }

    const EXIT: &str = "Process completed with exit code 1.";

    #[test]
    fn only_what_passes_and_nothing_else() {
        let lost =
            "The self-hosted runner: r7 lost communication with the server. Verify the machine is running.";
        let shutdown =
            "The runner has received a shutdown signal. This can happen when the runner service is stopped.";
        let limited = "API rate limit exceeded for installation ID 1234.";
        let action = "Failed to download archive 'https://api.github.com/repos/actions/checkout/tarball/x' after 1 \
            attempts. Response status code does not indicate success: 429 (Too Many Requests).";
        let test = "tests/a.rs: assertion failed";
        let at_the_end = "2026-11-21T02:13:07.4Z HTTP 403: API rate limit exceeded for user ID 7.\n\
            2026-11-21T02:13:07.5Z ##[error]Process completed with exit code 1.\n";
        let long_ago = format!(
            "API rate limit exceeded for user ID 7.\n{}##[error]Process completed with exit code 1.\n",
            "compiling\n".repeat(20)
        );
        let mixed = "##[error]API rate limit exceeded for user ID 7.\n##[error]3 tests failed\n";
        let docker = "toomanyrequests: You have reached your pull rate limit.\n##[error]Process completed with exit code 1.\n";
        for (annotations, log, expected) in [
            (vec![lost], "", Some(Passing::RunnerLost)),
            (vec![shutdown, "The operation was canceled."], "", Some(Passing::RunnerLost)),
            (vec![limited, EXIT], "", Some(Passing::RateLimit)),
            (vec![action], "", Some(Passing::RateLimit)),
            (vec![EXIT], at_the_end, Some(Passing::RateLimit)),
            (vec![], "##[error]API rate limit exceeded for user ID 7.\n", Some(Passing::RateLimit)),
            (vec![limited, test], "", None),
            (vec![lost, test], "", None),
            (vec![test], at_the_end, None),
            (vec![EXIT], &long_ago, None),
            (vec![EXIT], mixed, None),
            (vec![EXIT], docker, None),
            (vec![EXIT], "tests failed\n##[error]Process completed with exit code 1.\n", None),
            (vec!["The run was canceled by @dev."], "", None),
            (vec![], "", None),
            (
                vec![],
                "lost communication with the server, says the test\n##[error]Process completed with exit code 1.\n",
                None,
            ),
        ] {
            assert_eq!(passing(&failures(&annotations), log), expected, "{annotations:?} {log}");
        }
    }

    #[test]
    fn a_warning_is_no_reason() {
        let mut said = failures(&["API rate limit exceeded for user ID 7."]);
        said[0].annotation_level = Some("warning".into());
        assert_eq!(passing(&said, "##[error]Process completed with exit code 1.\n"), None);
    }
}
