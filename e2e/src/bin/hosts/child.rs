//! This binary as another process: one that fetches, and deployers that are killed.

use std::{path::Path, process::ExitCode, time::Duration};

use deploy_core::{
    model::{Release, SecretRef},
    source::git::{Fetch, Repo},
};
use serde_json::json;

use crate::{places, scene::Scene};

/// `fetch CLONE BRANCH WITHIN_MS [TOKEN]`: prints one line of JSON.
pub(crate) async fn fetch(words: &[String]) -> ExitCode {
    let [clone, branch, within, token @ ..] = words else { return ExitCode::from(2) };
    let within = Duration::from_millis(within.parse().unwrap_or_default());
    let mut what = Fetch::branch(branch).within(within);
    if let [file] = token {
        what = what.token(SecretRef::File(file.clone()));
    }
    let fetched = match Repo::open(clone) {
        Ok(repo) => repo.fetch(&what).await,
        Err(error) => Err(error),
    };
    let line = match fetched {
        Ok(fetched) => json!({ "tip": fetched.tip.id, "before": fetched.before, "remote": fetched.remote }),
        Err(error) => json!({
            "kind": format!("{:?}", error.kind()),
            "retry": format!("{:?}", error.retry()),
            "effect": format!("{:?}", error.effect()),
            "text": error.to_string(),
            "all": format!("{error:?}"),
        }),
    };
    println!("{line}");
    ExitCode::SUCCESS
}

/// `deploy step FOLDER SSH SCRIPT` or `deploy daemon FOLDER SSH REVISION`. It does not end well by itself: it is to be killed.
pub(crate) async fn deploy(words: &[String]) -> ExitCode {
    let [what, folder, ssh, more] = words else { return ExitCode::from(2) };
    let (folder, ssh) = (Path::new(folder), Path::new(ssh));
    let started = match what.as_str() {
        "step" => match Scene::at(folder, ssh).roll("web-1", more) {
            Ok(target) => target.deploy(Scene::release("new")).start().await,
            Err(error) => {
                eprintln!("{error:?}");
                return ExitCode::from(1);
            }
        },
        _ => {
            let release = Release::of_what_runs().image(places::NAME, more);
            places::target(folder, ssh).deploy(release).start().await
        }
    };
    match started {
        Ok(rollout) => {
            eprintln!("it ended before it was killed: {:?}", rollout.outcome().await);
            ExitCode::from(3)
        }
        Err(error) => {
            eprintln!("{error:?}");
            ExitCode::from(1)
        }
    }
}
