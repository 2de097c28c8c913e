//! The emulator inside the tool, and the one that is served.

use tokio::io::{AsyncBufReadExt, BufReader};

use crate::stage::{API, Stage};

#[tokio::test]
async fn the_emulator_inside_the_tool_is_seeded_from_the_file_and_kept() {
    let stage = Stage::new().await;
    let said = stage.run(&["--emulator", "status"]).await.exits(0);
    assert!(said.out.contains("prod-api-task:1") && said.out.contains("prod-app-task:1"), "{said:?}");
    let said = stage.run(&["--emulator", "plan", API]).await.exits(0);
    assert!(said.last().contains("ecs --emulator deploy prod-api/production --plan "), "{said:?}");
    let kept = stage.folder.path().join(".deploy/emulator-123456789012-us-east-1.json");
    let before = std::fs::read_to_string(&kept).expect("a kept world");
    assert!(before.contains("prod-api-task"), "{before}");
    stage.run(&["--emulator", "pin", API, "--reason", "here"]).await.exits(0);
    // Its state is kept apart: elsewhere the same target is not pinned.
    let said = stage.run(&["--emulator", "plan", API]).await.exits(0);
    assert!(said.out.contains("as pinned"), "{said:?}");
    let said = stage.run(&["plan", API]).await.exits(0);
    assert!(said.out.contains("not pinned yet"), "{said:?}");
    // Nothing of this went to the endpoint but the last plan.
    assert_eq!(stage.emulator.counts().mutating(), 0);
}

#[tokio::test]
async fn the_served_emulator_says_where_it_is_and_ends_when_asked() {
    let stage = Stage::new().await;
    let mut child = stage.start(&["emulator", "--listen", "127.0.0.1:0", "--speed", "10"]);
    let mut lines = BufReader::new(child.stdout.take().expect("stdout")).lines();
    let ready = lines.next_line().await.expect("a line").expect("a line");
    let endpoint = ready.strip_prefix("ECS emulator ready: AWS_ENDPOINT_URL=").expect("an endpoint");
    assert!(endpoint.starts_with("http://127.0.0.1:"), "{ready}");
    let mut asking = stage.command(&["status", API]);
    asking.env("AWS_ENDPOINT_URL", endpoint);
    let said: crate::stage::Said = asking.output().await.expect("an answer").into();
    // It is empty: what is wrong is the configuration.
    assert_eq!(said.code, Some(2), "{said:?}");
    let pid = i32::try_from(child.id().expect("an id")).expect("a pid");
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::SIGTERM).expect("SIGTERM");
    assert_eq!(child.wait().await.expect("an end").code(), Some(0));
}
