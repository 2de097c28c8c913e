//! Commands as steps: real processes, in real time.
#![cfg(target_os = "linux")]

mod hosts;
mod killed;
mod support;

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use deploy_core::{
    Error, ErrorKind, Result, Target,
    clock::{Clock, SystemClock},
    model::{Ended, RolledBackBy, Runner, SecretRef},
    steps::{
        Command, CommandRunner, CommandStep, CommandUndo, Expect, Fetch, Fetched, Verify, WithSteps,
        precondition,
    },
};

use support::{Folder, LogLines, deploy, release, script};

fn no_undo() -> CommandUndo {
    CommandUndo::None("a version is published once".into())
}

fn with(folder: &Folder, step: CommandStep) -> Target {
    folder.target(WithSteps::new(folder.sign()).after(step).runner(Runner::Command, CommandRunner::new()))
}

const BACK: Ended = Ended::RolledBack { by: RolledBackBy::Us };

#[tokio::test]
async fn output_is_told_line_by_line_and_secrets_are_not() {
    let folder = Folder::new();
    std::fs::write(folder.path().join("token"), "correct-horse\n").unwrap();
    let secret = SecretRef::File(folder.path().join("token").to_string_lossy().into_owned());
    let text = "echo \"to {app}/{env} $DEPLOY_APP\"; echo \"with $NPM_TOKEN\" >&2; [ ${#NPM_TOKEN} -eq 13 ]";
    let command = script(folder.path(), text).secret("NPM_TOKEN", secret);
    let seen = LogLines::default();
    let target = with(&folder, CommandStep::new("publish", command, no_undo())).observe(seen.clone());
    let rollout = target.deploy(release("new")).start().await.unwrap();
    let outcome = rollout.outcome().await.unwrap();
    assert!(outcome.is_success(), "{outcome:?}");
    let lines = seen.0.lock().unwrap().clone();
    assert!(lines.contains(&"publish stdout: to shop/production shop".to_owned()), "{lines:?}");
    assert!(lines.contains(&"publish stderr: with ***".to_owned()), "{lines:?}");
    let journal = format!("{:?}", target.journal(rollout.id().as_str()).await.unwrap());
    let plan = target.deploy(release("newer")).plan().await.unwrap();
    let kept = format!("{journal}{}{plan:?}", serde_json::to_string(&plan).unwrap());
    let stored = std::fs::read(folder.path().join("state.db")).unwrap();
    assert!(!kept.contains("correct-horse"), "{kept}");
    assert!(!stored.windows(13).any(|part| part == b"correct-horse"), "the store has the secret");
}

#[tokio::test]
async fn a_failing_command_is_undone_and_says_its_last_lines() {
    let folder = Folder::new();
    let undo = CommandUndo::Compensates(script(folder.path(), "echo undone >> $D/undone"));
    let command = script(folder.path(), "echo run >> $D/run; echo no such tag >&2; exit 4");
    let target = with(&folder, CommandStep::new("publish", command, undo).may_be_repeated());
    let outcome = deploy(&target, "new").await;
    assert_eq!(outcome.ended, BACK, "{outcome:?}");
    let cause = outcome.cause.unwrap().text;
    assert!(cause.contains("exit 4") && cause.contains("no such tag"), "{cause}");
    // A failure that was seen is not repeated, whatever a run may be.
    assert_eq!((folder.lines("run"), folder.lines("undone")), (1, 1));
    assert_eq!(folder.read("sign"), "old");
}

#[tokio::test]
async fn an_exit_code_of_zero_is_no_success() {
    let folder = Folder::new();
    let seen = |text: &str| {
        Verify::command(script(folder.path(), "cat $D/published"), Expect::Equals(text.into()))
            .within(Duration::from_millis(100))
    };
    let step = |text: &str| {
        let command = script(folder.path(), "echo 1.2.2 > $D/published; exit 0");
        CommandStep::new("publish", command, no_undo()).verify(seen(text))
    };
    let outcome = deploy(&with(&folder, step("1.2.3")), "new").await;
    assert_eq!(outcome.ended, BACK, "{outcome:?}");
    let cause = outcome.cause.unwrap().text;
    assert!(cause.contains("1.2.2") && cause.contains("not `1.2.3`"), "{cause}");
    assert!(deploy(&with(&folder, step("1.2.2")), "new").await.is_success());
}

/// A registry that shows a new version only some looks later.
#[derive(Debug, Clone, Default)]
struct Registry(Arc<Mutex<Vec<Result<Fetched, ErrorKind>>>>);

#[async_trait]
impl Fetch for Registry {
    async fn get(&self, url: &str) -> Result<Fetched> {
        assert_eq!(url, "https://registry.example.com/-/package/shop/dist-tags");
        let mut answers = self.0.lock().unwrap();
        let answer = if answers.len() > 1 { answers.remove(0) } else { answers[0].clone() };
        answer.map_err(|kind| Error::new(kind, "connection reset"))
    }
}

#[tokio::test]
async fn a_dist_tag_is_waited_for() {
    let folder = Folder::new();
    let json = |version: &str| Ok(Fetched::new(200, format!(r#"{{"latest": "{version}"}}"#)));
    let url = "https://registry.example.com/-/package/{app}/dist-tags";
    let expect = Expect::Json { pointer: "/latest".into(), equals: "2.0.0".into() };
    let step = |within| {
        let command = script(folder.path(), "echo run >> $D/run");
        let verify = Verify::url(url, expect.clone()).within(Duration::from_millis(within));
        CommandStep::new("publish", command, no_undo()).verify(verify)
    };
    let registry = Registry::default();
    let target = |within| {
        let runner = CommandRunner::new().fetch(registry.clone());
        folder.target(WithSteps::new(folder.sign()).before(step(within)).runner(Runner::Command, runner))
    };
    registry.0.lock().unwrap().extend([json("1.9.9"), Err(ErrorKind::Unavailable), json("2.0.0")]);
    assert!(deploy(&target(30_000), "new").await.is_success());
    // Who never answers tells nothing: it is looked at again, and the command is not run again.
    *registry.0.lock().unwrap() = vec![Ok(Fetched::new(503, ""))];
    let outcome = deploy(&target(100), "newer").await;
    assert_eq!(outcome.ended, BACK, "{outcome:?}");
    assert!(outcome.cause.unwrap().text.contains("is not known"));
    assert_eq!(folder.lines("run"), 2);
    // Without a client for it the step is refused before anything is run.
    let bare = WithSteps::new(folder.sign()).before(step(100)).runner(Runner::Command, CommandRunner::new());
    let error = folder.target(bare).deploy(release("newest")).start().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
    assert_eq!(folder.lines("run"), 2);
}

#[tokio::test]
async fn an_end_that_was_not_seen_is_unknown_and_not_repeated() {
    let folder = Folder::new();
    let text = "echo run >> $D/run; echo 1.2.3 > $D/published; sleep 600";
    let step = || {
        let command = script(folder.path(), text).timeout(Duration::from_secs(3));
        CommandStep::new("publish", command, no_undo())
    };
    let outcome = deploy(&with(&folder, step()), "new").await;
    assert_eq!(outcome.ended, BACK, "{outcome:?}");
    assert!(outcome.owed.iter().any(|owed| owed.contains("publish")), "{outcome:?}");
    assert!(outcome.needs_person());
    let cause = outcome.cause.unwrap().text;
    assert!(cause.starts_with("how step publish ended is not known") && !cause.contains("failed"), "{cause}");
    assert_eq!(folder.lines("run"), 1);
    // What can be seen to have worked has worked.
    let verify = Verify::command(script(folder.path(), "cat $D/published"), Expect::Contains("1.2.3".into()));
    let outcome = deploy(&with(&folder, step().verify(verify)), "new").await;
    assert!(outcome.is_success() && outcome.owed.is_empty(), "{outcome:?}");
    assert_eq!(folder.lines("run"), 2);
}

#[tokio::test]
async fn what_may_be_repeated_is_run_again() {
    let folder = Folder::new();
    let text = "echo run >> $D/run; [ $(wc -l < $D/run) -ge 2 ] || sleep 600";
    let command = script(folder.path(), text).timeout(Duration::from_millis(600));
    let step = CommandStep::new("push", command, no_undo()).may_be_repeated();
    let outcome = deploy(&with(&folder, step), "new").await;
    assert!(outcome.is_success(), "{outcome:?}");
    assert_eq!(folder.lines("run"), 2);
}

#[tokio::test]
async fn an_abort_ends_everything_within_two_seconds() {
    let folder = Folder::new();
    let text = "trap '' TERM; echo $$ >> $D/pids; \
                setsid sh -c 'trap \"\" TERM; echo $$ >> $D/pids; while :; do sleep 1; done' & \
                while :; do sleep 1; done";
    let target = with(&folder, CommandStep::new("long", script(folder.path(), text), no_undo()));
    let rollout = target.deploy(release("new")).start().await.unwrap();
    folder.until_there_are(2).await;
    let began = SystemClock.elapsed();
    rollout.abort("wrong branch").await.unwrap();
    let left = folder.until_none_is_left(Duration::from_secs(5)).await;
    assert!(left < Duration::from_secs(2), "{left:?}");
    let outcome = rollout.outcome().await.unwrap();
    assert_eq!(outcome.ended, Ended::Aborted, "{outcome:?}");
    assert_eq!(folder.read("sign"), "old");
    // Nothing of it is left: there is nothing to wait for.
    assert!(SystemClock.elapsed() - began < Duration::from_secs(10));
}

#[tokio::test]
async fn what_has_to_hold_before_is_asked_before() {
    let folder = Folder::new();
    let clean = Arc::new(Mutex::new(false));
    let asked = Arc::clone(&clean);
    let step = CommandStep::new("publish", script(folder.path(), "echo run >> $D/run"), no_undo())
        .precondition(precondition("clean-tree", move |facts| {
            let clean = *asked.lock().unwrap();
            async move {
                assert_eq!(facts.target.app(), "shop");
                match clean {
                    true => Ok(()),
                    false => Err(Error::new(ErrorKind::Conflict, "2 files are changed").next("commit them")),
                }
            }
        }));
    let target = with(&folder, step);
    let outcome = deploy(&target, "new").await;
    assert_eq!(outcome.ended, Ended::Refused, "{outcome:?}");
    assert!(outcome.cause.unwrap().text.contains("clean-tree: 2 files are changed"));
    assert_eq!((folder.lines("run"), folder.read("sign")), (0, String::new()));
    *clean.lock().unwrap() = true;
    assert!(deploy(&target, "new").await.is_success());
    assert_eq!(folder.lines("run"), 1);
}

#[tokio::test]
async fn what_is_wrong_is_found_when_it_is_planned() {
    let folder = Folder::new();
    for (command, says) in [
        (Command::new("npm").env("NPM_TOKEN", "hunter2"), "NPM_TOKEN"),
        (Command::new("npm").arg("{commit}"), "{commit}"),
        (Command::new(""), "not a program"),
    ] {
        let target = with(&folder, CommandStep::new("publish", command, no_undo()));
        let error = target.deploy(release("new")).plan().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        let text = error.to_string();
        assert!(text.contains(says) && text.contains("publish") && !text.contains("hunter2"), "{text}");
    }
}
