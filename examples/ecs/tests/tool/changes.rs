//! Commands that change something, and how they end.

use std::time::Duration;

use deploy_kit::clock::{Clock, SystemClock};
use deploy_kit::ecs::emulator::{FaultKind, FaultRule};
use serde_json::Value;

use crate::stage::{API, REGISTRY, Stage, end};

/// Numbers without a gap from 1, one deploy, and `ended` last.
#[track_caller]
fn whole(lines: &[Value]) -> &Value {
    let numbers: Vec<u64> = lines.iter().filter_map(|line| line["seq"].as_u64()).collect();
    assert_eq!(numbers, (1..=numbers.len() as u64).collect::<Vec<_>>());
    for line in lines {
        assert_eq!((&line["v"], &line["target"]), (&1.into(), &API.into()), "{line}");
        assert_eq!(line["deploy"], lines[0]["deploy"], "{line}");
        for field in ["at", "phase", "type", "message", "data"] {
            assert!(line.get(field).is_some(), "{field}: {line}");
        }
    }
    let last = lines.last().expect("a last line");
    assert_eq!(last["type"], "ended", "{last}");
    last
}

#[tokio::test]
async fn a_good_commit_is_deployed_and_becomes_known_good() {
    let stage = Stage::new().await;
    let short = &stage.commits[2][..7];
    // The tip of the branch, because no revision is named.
    let said = stage.run(&["deploy", API]).await.exits(0);
    let done = format!("DONE  {API} serves {short}, 2/2 healthy. Nothing to do.");
    assert!(said.last().starts_with(&done), "{said:?}");
    assert_eq!(said.out.lines().count(), 1, "the one line is the result: {said:?}");
    assert!(said.err.contains("register done") && !said.err.contains("DONE"), "{said:?}");
    assert!(!said.err.contains('\u{1b}') && !said.err.contains("==="), "no colour, no bars: {said:?}");

    let said = stage.run(&["status", API]).await.exits(0);
    assert!(said.out.starts_with(&format!("DONE  {API} serves {short}, 2/2 healthy.")), "{said:?}");
    let said = stage.run(&["plan", API]).await.exits(0);
    assert!(said.last().starts_with("READY  Nothing to change."), "{said:?}");
    assert!(said.out.contains("last known good"), "{said:?}");

    let first = stage.commits[0].clone();
    let said = stage.run(&["deploy", API, &first]).await.exits(3);
    assert!(said.last().starts_with(&format!("REFUSED  {API} serves {short}")), "{said:?}");
    assert!(said.err.contains("guard order refuses"), "{said:?}");
    let said = stage.run(&["rollback", API]).await.exits(2);
    assert!(said.err.contains("nothing to go back to"), "{said:?}");
}

#[tokio::test]
async fn a_crashing_image_goes_back_and_says_why() {
    let stage = Stage::new().await;
    let said = stage.run(&["--json", "deploy", API, "--image", "api=crash"]).await.exits(4);
    let lines = said.json();
    let ended = whole(&lines);
    assert_eq!(lines[0]["type"], "started");
    assert_eq!(ended["data"]["verdict"], "rolled_back");
    assert_eq!((&ended["data"]["exit"], &ended["data"]["needs_person"]), (&4.into(), &false.into()));
    assert_eq!(ended["data"]["serving"]["revision"], "prod-api-task:1");
    assert_eq!(ended["data"]["serving"]["healthy"], 2);
    assert_eq!(ended["data"]["cause"]["class"], "crash");
    assert!(ended["message"].as_str().unwrap_or_default().starts_with("ROLLED BACK  "), "{ended}");
    assert!(lines.iter().any(|line| line["type"] == "fault" && line["data"]["class"] == "crash"));
    // What people read goes on meanwhile, and ends with the one line.
    assert!(said.err.trim_end().lines().last().unwrap_or_default().starts_with("ROLLED BACK  "), "{said:?}");

    let id = lines[0]["deploy"].as_str().expect("an id");
    let said = stage.run(&["logs", API, "--deploy", &id[id.len() - 4..], "--errors"]).await.exits(0);
    assert!(said.out.to_lowercase().contains("error"), "{said:?}");
    let said = stage.run(&["history", API, "--json"]).await.exits(0);
    let [entry] = &said.json()[..] else { panic!("{said:?}") };
    assert_eq!((&entry["type"], &entry["deploy"]), (&"entry".into(), &id.into()));
    assert_eq!(entry["data"]["ended"]["verdict"], "rolled_back");
}

#[tokio::test]
async fn two_services_that_are_crossed_are_refused_before_any_change() {
    let crossings = [
        // What is written in the file, and what has to be said of it.
        ("family = \"{app}-task\"", "family = \"prod-app-task\"", "prod-app-task", "wrong task"),
        ("images.api =", "images.app =", "container app", ""),
        ("/shop-api\"", "/shop-app\"", "shop-app", "wrong image"),
        ("service = \"{app}\"", "service = \"prod-app\"", "prod-app-task", "wrong task"),
    ];
    for (from, to, named, title) in crossings {
        let stage = Stage::new().await;
        stage.edit(from, to);
        // The other target would be a mistake of the file itself, where both are one service.
        stage.edit("[app.prod-app]\nimages.app", "[app.other]\necs.service = \"other\"\nimages.app");
        let said = stage.run(&["deploy", API, "--json"]).await.exits(3);
        let lines = said.json();
        let ended = whole(&lines);
        assert_eq!(ended["data"]["verdict"], "refused", "{to}");
        assert_eq!(lines[0]["data"]["guard"], "identity");
        assert!(said.err.contains(named) && said.err.contains(title), "{to}: {said:?}");
        assert!(said.err.contains("deploy.toml:"), "{to}: {said:?}");
        let line = said.err.trim_end().lines().last().unwrap_or_default();
        assert!(line.starts_with(&format!("REFUSED  {API} serves ")), "{to}: {line}");
        assert!(line.contains("2/2 healthy. Nothing was changed."), "{to}: {line}");
        assert_eq!(stage.emulator.counts().mutating(), 0, "{to}");
    }
}

#[tokio::test]
async fn the_wrong_task_screen_names_the_line_and_the_other_target() {
    let stage = Stage::new().await;
    stage.edit("images.app =", "ecs.family = \"prod-api-task\"\nimages.app =");
    let said = stage.run(&["deploy", "prod-app/production", "--image", "app=ok-2"]).await.exits(3);
    let screen = [
        "  wrong task  service prod-app takes prod-app-task; this plan gives it prod-api-task",
        "              service    prod-website / prod-app    <- you asked for this",
        "              runs       prod-app-task:1    container app   .../shop-app",
        "              the plan   prod-api-task    container app   .../shop-app",
        "              from       deploy.toml:17  [app.prod-app] ecs.family = \"prod-api-task\"",
        "  meant prod-api?   ecs deploy prod-api/production",
        "  typing mistake?      deploy.toml:17  family = \"prod-app-task\"",
    ];
    assert!(said.err.starts_with(&(screen.join("\n") + "\n")), "{}", said.err);
    assert!(
        said.last().starts_with("REFUSED  prod-app/production serves prod-app-task:1, 2/2 healthy."),
        "{said:?}"
    );
}

#[tokio::test]
async fn an_image_of_another_repository_is_refused() {
    let stage = Stage::new().await;
    let image = format!("api={REGISTRY}/shop-app:ok");
    for command in ["plan", "deploy"] {
        let said = stage.run(&[command, API, "--image", &image]).await.exits(3);
        assert!(said.last().starts_with(&format!("REFUSED  {API} serves ")), "{said:?}");
        assert!(said.err.contains("shop-app") && said.err.contains("shop-api"), "{said:?}");
    }
    assert_eq!(stage.emulator.counts().mutating(), 0);
}

#[tokio::test]
async fn a_plan_is_carried_out_only_as_it_was_approved() {
    let stage = Stage::new().await;
    let said = stage.run(&["plan", API]).await.exits(0);
    let command = said.last().split("   ecs ").nth(1).expect("a command").to_owned();
    let words: Vec<&str> = command.split(' ').collect();
    assert_eq!(words[..3], ["deploy", API, "--plan"], "{said:?}");
    let said = stage.run(&["deploy", API, "--plan", "000000"]).await.exits(3);
    assert!(said.err.contains("something moved"), "{said:?}");
    stage.run(&words).await.exits(0);
}

#[tokio::test]
async fn a_killed_deploy_is_finished_by_resume() {
    let stage = Stage::new().await;
    let mut child = stage.start(&["deploy", API]);
    stage.updates(1).await;
    child.kill().await.expect("SIGKILL");
    let said = stage.run(&["status", API]).await.exits(0);
    assert!(said.out.starts_with("UNFINISHED  "), "{said:?}");
    assert!(said.out.contains("ecs resume prod-api/production"), "{said:?}");
    let said = stage.run(&["deploy", API]).await.exits(3);
    assert!(said.err.contains("is unfinished, and nobody runs it"), "{said:?}");
    let said = stage.run(&["resume", API]).await.exits(0);
    assert!(said.last().starts_with("DONE  "), "{said:?}");
    let said = stage.run(&["resume", API]).await.exits(0);
    assert!(said.out.contains("nothing is unfinished"), "{said:?}");
}

#[cfg(unix)]
#[tokio::test]
async fn the_first_signal_goes_back_and_the_second_leaves() {
    use nix::{
        sys::signal::{Signal, kill},
        unistd::Pid,
    };
    use tokio::io::{AsyncBufReadExt, BufReader};

    let stage = Stage::new().await;
    stage.edit("bake = \"1s\"", "bake = \"10m\"");
    let mut child = stage.start(&["deploy", API, "--image", "api=ok-2"]);
    stage.updates(1).await;
    stage.emulator.fault(FaultRule::new(FaultKind::Slow(120_000)).action("DescribeServices").always());
    let pid = Pid::from_raw(i32::try_from(child.id().expect("an id")).expect("a pid"));
    kill(pid, Signal::SIGINT).expect("SIGINT");
    let mut lines = BufReader::new(child.stderr.take().expect("stderr")).lines();
    while let Some(line) = lines.next_line().await.expect("a line") {
        if line.contains("once more to leave it") {
            // A call that is on its way when the process leaves may land for minutes, and `resume` waits for that: so
            // it leaves after that call, and before the next look has its answer.
            let back = ["UpdateService", "StopServiceDeployment"];
            stage
                .until("going back", || {
                    back.iter().map(|call| stage.emulator.counts().of(call)).sum::<u64>() > 1
                })
                .await;
            SystemClock.sleep(Duration::from_millis(300)).await;
            kill(pid, Signal::SIGTERM).expect("SIGTERM");
        }
    }
    let said = end(child).await.exits(7);
    assert!(said.last().starts_with(&format!("UNFINISHED  {API} serves ")), "{said:?}");
    assert!(said.last().ends_with("This process left: ecs resume prod-api/production"), "{said:?}");
    stage.emulator.clear_faults();
    // Going back was recorded first, so the successor goes on with it.
    let said = stage.run(&["resume", API]).await.exits(6);
    assert!(said.last().starts_with(&format!("ABORTED  {API} serves ")), "{said:?}");
}
