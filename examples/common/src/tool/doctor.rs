//! `doctor`: what would stop a deploy, before somebody needs one.

use deploy_kit::{
    Error, Repo, Result,
    clock::{Clock, SystemClock},
    config::TargetConfig,
    report::scrub_line,
    source::Source,
};
use serde_json::json;

use super::{envelope, session::Session};

/// One thing that was looked at.
struct Finding {
    check: &'static str,
    result: Found,
    text: String,
    next: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Found {
    Good,
    /// A deploy would work, and somebody should know.
    Doubt,
    Bad,
}

impl Found {
    fn word(self) -> &'static str {
        match self {
            Self::Good => "pass",
            Self::Doubt => "warn",
            Self::Bad => "fail",
        }
    }
}

fn good(check: &'static str, text: impl Into<String>) -> Finding {
    Finding { check, result: Found::Good, text: text.into(), next: None }
}

fn bad(check: &'static str, error: &Error) -> Finding {
    Finding {
        check,
        result: Found::Bad,
        text: scrub_line(error.message()),
        next: error.what_next().map(str::to_owned),
    }
}

fn doubt(check: &'static str, text: impl Into<String>, next: String) -> Finding {
    Finding { check, result: Found::Doubt, text: text.into(), next: Some(next) }
}

pub(super) async fn doctor(session: &Session<'_>, pattern: Option<&str>) -> Result<u8> {
    let mut code = 0;
    for config in session.some(pattern)? {
        let findings = findings(session, config).await;
        if !session.json {
            session.say(&format!("{}\n", config.name));
        }
        for finding in &findings {
            show(session, config, finding);
            if finding.result == Found::Bad {
                code = 3;
            }
        }
    }
    Ok(code)
}

fn show(session: &Session<'_>, config: &TargetConfig, finding: &Finding) {
    let Finding { check, result, text, next } = finding;
    if session.json {
        let data = json!({ "check": check, "result": result.word(), "next": next });
        session.say(&envelope::line("finding", SystemClock.now(), &config.name, None, text, data));
        return;
    }
    session.say(&format!("  {}  {check:8}  {text}\n", result.word()));
    if let Some(next) = next {
        session.say(&format!("                  {next}\n"));
    }
}

async fn findings(session: &Session<'_>, config: &TargetConfig) -> Vec<Finding> {
    let mut found = vec![source(config).await];
    let target = match session.target(config).await {
        Ok(target) => target,
        Err(error) => {
            found.push(bad("target", &error));
            return found;
        }
    };
    let status = match target.status().await {
        Ok(status) => status,
        Err(error) => {
            found.push(bad("place", &error));
            return found;
        }
    };
    found.push(good("place", session.backend.place(&status.now)));
    found.push(match session.backend.crossing(&session.config, config, &status.now) {
        Some(crossing) => Finding {
            check: "identity",
            result: Found::Bad,
            text: crossing.text,
            next: crossing.next.first().cloned(),
        },
        None => good("identity", "the place is what the file says"),
    });
    found.push(match (&status.unfinished, status.driven) {
        (None, _) => good("state", "nothing is unfinished"),
        (Some(id), true) => {
            let watch = session.command(&format!("logs {} -f", config.name));
            doubt("state", format!("deploy {} is running", id.short()), watch)
        }
        (Some(id), false) => {
            let resume = session.command(&format!("resume {}", config.name));
            doubt("state", format!("deploy {} is unfinished, and nobody runs it", id.short()), resume)
        }
    });
    found.push(match status.known_good.first() {
        Some(revision) => good("way back", format!("{} is known good", revision.name)),
        None => {
            let help = "the first deploy that succeeds makes one".to_owned();
            doubt("way back", "nothing is known good yet", help)
        }
    });
    found
}

async fn source(config: &TargetConfig) -> Finding {
    let Some(path) = &config.repo else {
        let help =
            "without `repo` commits have to be named in full, and their order is not checked".to_owned();
        return doubt("source", "no repository", help);
    };
    let read = async {
        let repo = Repo::open(path)?;
        match &config.branch {
            Some(branch) => repo.tip(branch).await,
            None => repo.resolve("HEAD").await,
        }
    };
    match read.await {
        Ok(commit) => good("source", commit.to_string()),
        Err(error) => bad("source", &error),
    }
}
