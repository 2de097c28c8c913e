//! Commands that look.

use crate::stage::{API, Stage};

#[tokio::test]
async fn a_plan_tells_all_before_anything_is_changed() {
    let stage = Stage::new().await;
    let said = stage.run(&["plan", API]).await.exits(0);
    let (from, to) = (&stage.commits[0][..7], &stage.commits[2][..7]);
    let mut lines = said.out.lines();
    assert_eq!(lines.next(), Some(format!("{API}   {from} -> {to}   2 commits").as_str()));
    let target = lines.next().unwrap_or_default();
    assert!(
        target.starts_with("  target     ecs us-east-1 123456789012, prod-website / prod-api "),
        "{target}"
    );
    assert!(target.ends_with("not pinned yet"), "{target}");
    for part in [
        "  serves     ",
        "  images     api   shop-api:",
        "  commits    ",
        "  1 change   ",
        "  4 bake     1 s",
        "  way back   ",
    ] {
        assert!(said.out.contains(part), "{part}: {}", said.out);
    }
    assert!(
        said.last().starts_with("READY  Nothing refuses this plan.   ecs deploy prod-api/production --plan ")
    );

    let said = stage.run(&["plan", API, "HEAD~1", "--json"]).await.exits(0);
    let [plan] = &said.json()[..] else { panic!("{said:?}") };
    assert_eq!((&plan["v"], &plan["type"], &plan["target"]), (&1.into(), &"plan".into(), &API.into()));
    assert_eq!(plan["data"]["to"]["commit"], stage.commits[1].as_str());
    assert_eq!((&plan["data"]["ready"], &plan["deploy"]), (&true.into(), &serde_json::Value::Null));
    assert_eq!(stage.emulator.counts().mutating(), 0);
}

#[tokio::test]
async fn variables_are_planned_without_their_values() {
    let stage = Stage::new().await;
    let words = ["plan", API, "--set", "api:LOG_LEVEL=hunter2"];
    let said = stage.run(&words).await.exits(0);
    assert!(said.out.contains("LOG_LEVEL"), "{said:?}");
    // The command that carries it out has to say it; nothing else does.
    let shown: Vec<&str> = said.out.lines().filter(|line| line.contains("hunter2")).collect();
    assert!(shown.iter().all(|line| line.starts_with("READY  ")), "{shown:?}");
    let said = stage.run(&["plan", API, "--set", "api:DB_PASSWORD=hunter2"]).await.exits(2);
    assert!(said.err.contains("looks like a secret") && !said.err.contains("hunter2"), "{said:?}");
}

#[tokio::test]
async fn status_shows_all_targets_and_those_of_a_pattern() {
    let stage = Stage::new().await;
    let said = stage.run(&["status"]).await.exits(0);
    let lines: Vec<&str> = said.out.lines().collect();
    assert_eq!(lines.len(), 3, "{said:?}");
    assert!(lines[0].starts_with("TARGET") && lines[2].starts_with("prod-app/production"), "{said:?}");
    assert!(lines[1].contains(&stage.commits[0][..7]) && lines[1].contains("2/2"), "{said:?}");
    let said = stage.run(&["status", "*-app/*", "--json"]).await.exits(0);
    let [status] = &said.json()[..] else { panic!("{said:?}") };
    assert_eq!(status["data"]["serving"]["revision"], "prod-app-task:1");
    assert_eq!(
        (&status["data"]["serving"]["healthy"], &status["data"]["unfinished"]),
        (&2.into(), &serde_json::Value::Null)
    );
}

#[tokio::test]
async fn the_doctor_finds_what_would_stop_a_deploy() {
    let stage = Stage::new().await;
    let said = stage.run(&["doctor", API]).await.exits(0);
    assert!(said.out.contains("pass  source"), "{said:?}");
    assert!(said.out.contains("warn  way back"), "{said:?}");
    stage.edit("family = \"{app}-task\"", "family = \"prod-api-tusk\"");
    let said = stage.run(&["doctor", API, "--json"]).await.exits(3);
    let lines = said.json();
    let found = lines.iter().find(|line| line["data"]["check"] == "identity").expect("a finding");
    assert_eq!((&found["type"], &found["data"]["result"]), (&"finding".into(), &"fail".into()));
    // The credentials are of another account than the file says.
    stage.edit("account = \"123456789012\"", "account = \"210987654321\"");
    let said = stage.run(&["doctor", API]).await.exits(3);
    assert!(said.out.contains("not of 210987654321"), "{said:?}");
    let said = stage.run(&["deploy", API]).await.exits(3);
    assert!(said.err.contains("not of 210987654321"), "{said:?}");
    assert_eq!(stage.emulator.counts().mutating(), 0);
}

#[tokio::test]
async fn config_says_where_every_value_comes_from() {
    let stage = Stage::new().await;
    let said = stage.run(&["config", API]).await.exits(0);
    assert!(said.out.starts_with("prod-api/production\n  bake "), "{said:?}");
    let service = said.out.lines().find(|line| line.contains("ecs.service")).expect("a line");
    assert!(service.contains("prod-api") && service.ends_with("deploy.toml:9  [defaults]"), "{service}");
}

#[tokio::test]
async fn pin_is_the_only_way_to_another_place() {
    let stage = Stage::new().await;
    let said = stage.run(&["pin", API, "--reason", "moved"]).await.exits(0);
    assert!(said.out.starts_with("PINNED  prod-api/production is us-east-1 123456789012"), "{said:?}");
    let said = stage.run(&["plan", API]).await.exits(0);
    assert!(said.out.contains("as pinned "), "{said:?}");
}
