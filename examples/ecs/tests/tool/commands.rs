//! Commands from another process than the one that deploys.

use crate::stage::{API, Stage, end};

#[tokio::test]
async fn abort_goes_back_and_both_processes_say_so() {
    let stage = Stage::new().await;
    stage.edit("bake = \"1s\"", "bake = \"10m\"");
    let deploying = stage.start(&["deploy", API, "--json"]);
    stage.updates(1).await;
    let said = stage.run(&["abort", API, "--reason", "wrong branch"]).await.exits(0);
    assert!(said.last().starts_with(&format!("ABORTED  {API} serves ")), "{said:?}");
    let said = end(deploying).await.exits(6);
    let lines = said.json();
    let last = lines.last().expect("a line");
    assert_eq!((&last["type"], &last["data"]["verdict"]), (&"ended".into(), &"aborted".into()));
    let command = lines.iter().find(|line| line["type"] == "command").expect("the command");
    assert_eq!(command["data"]["command"], "abort");
    assert_eq!((&command["data"]["by"], &command["data"]["reason"]), (&"ci".into(), &"wrong branch".into()));
    assert_eq!(command["data"]["accepted"], true);
}

#[tokio::test]
async fn pause_status_logs_resume_and_promote_travel_through_the_store() {
    let stage = Stage::new().await;
    stage.edit("bake = \"1s\"", "bake = \"10m\"");
    let deploying = stage.start(&["deploy", API]);
    stage.updates(1).await;
    let following = stage.start(&["logs", API, "-f", "--json"]);
    let said = stage.run(&["pause", API, "--reason", "looking"]).await.exits(0);
    assert!(said.out.starts_with(&format!("PAUSED  {API} deploy ")), "{said:?}");
    let said = stage.run(&["status", API, "--json"]).await.exits(0);
    let [status] = &said.json()[..] else { panic!("{said:?}") };
    assert_eq!((&status["type"], &status["data"]["driven"]), (&"status".into(), &true.into()));
    assert_eq!(status["data"]["unfinished"], status["deploy"]);
    let said = stage.run(&["pause", API]).await.exits(3);
    assert!(said.err.contains("cannot pause"), "{said:?}");

    // It goes on, and this process follows it to its end.
    let resuming = stage.start(&["resume", API]);
    stage.journaled("decision", "go_on").await;
    stage.journaled("decision", "bake").await;
    stage.run(&["promote", API]).await.exits(0);
    for process in [deploying, resuming] {
        let said = end(process).await.exits(0);
        assert!(said.last().starts_with("DONE  "), "{said:?}");
    }
    let lines = end(following).await.exits(0).json();
    let numbers: Vec<u64> = lines.iter().filter_map(|line| line["seq"].as_u64()).collect();
    assert_eq!(numbers, (1..=numbers.len() as u64).collect::<Vec<_>>());
    assert_eq!(lines.last().expect("a line")["type"], "ended");
}

#[tokio::test]
async fn without_a_deploy_there_is_nothing_to_command() {
    let stage = Stage::new().await;
    for command in ["pause", "promote", "abort"] {
        let said = stage.run(&[command, API]).await.exits(3);
        assert!(said.err.contains("nothing is unfinished"), "{command}: {said:?}");
    }
    let said = stage.run(&["resume"]).await.exits(0);
    assert_eq!(said.out.matches("nothing is unfinished").count(), 2, "{said:?}");
    let said = stage.run(&["logs", API, "-f"]).await.exits(0);
    assert!(said.err.contains("nothing is unfinished"), "{said:?}");
}
