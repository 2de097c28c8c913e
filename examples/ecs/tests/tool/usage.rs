//! What is typed wrong, written wrong, or not built yet: exit code 2, and said by name.

use crate::stage::{API, Stage};

#[tokio::test]
async fn what_is_wrong_is_said_and_nothing_is_called() {
    let stage = Stage::new().await;
    let table: &[(&[&str], &str)] = &[
        (&["deploy", "prod-api/prod"], "did you mean prod-api/production?"),
        (&["deploy"], "which target? the file has: prod-api/production, prod-app/production"),
        (&["deploy", API, "HEAD", "--image", "api=ok"], "either the revision HEAD or --image"),
        (&["deploy", API, "--image", "web=ok"], "has no images.web"),
        (&["deploy", API, "--image", "api"], "write CONTAINER=REF"),
        (&["deploy", API, "--set", "LEVEL=1"], "write CONTAINER:KEY"),
        (&["deploy", API, "--unset", "api:LEVEL=1"], "without a value"),
        (&["deploy", API, "--override", "order"], "--reason"),
        (&["deploy", "*/production"], "deploying several targets at once: not built yet"),
        (&["deploy", "prod-app/production"], "has no `repo`"),
        (
            &["rollback", API, "--across", "m1", "--reason", "x"],
            "--across: going back over a migration: not built yet",
        ),
        (&["hold", API, "HEAD"], "hold: not built yet"),
        (&["unhold", API, "HEAD", "--reason", "x"], "unhold: not built yet"),
        (&["check", API], "check: not built yet"),
        (&["status", "--state", "s3://bucket/state"], "is not built yet: state in s3"),
        (&["status", "--config", "nowhere.toml"], "cannot read nowhere.toml"),
        (&["frobnicate"], "unrecognized subcommand"),
        (&["emulator", "--listen", "nonsense"], "invalid socket address"),
    ];
    for (words, said) in table {
        let output = stage.run(words).await.exits(2);
        assert!(output.err.contains(said), "{words:?}: {output:?}");
        assert_eq!(output.out, "", "{words:?}");
    }
    assert_eq!(stage.emulator.counts().mutating(), 0);
}

#[tokio::test]
async fn a_bad_file_shows_all_its_errors_with_their_lines() {
    let stage = Stage::new().await;
    stage.edit("cluster = ", "clustre = ");
    stage.edit("bake = \"1s\"", "bake = 1");
    let said = stage.run(&["plan", API]).await.exits(2);
    for part in [
        "error: bake takes a duration, not a number\n --> deploy.toml:4:8\n4 | bake = 1\n  |        ^ write \"1s\"",
        "error: unknown key `clustre` in [defaults.ecs]\n --> deploy.toml:8:1\n8 | clustre = \"prod-website\"\n  | ^^^^^^^ did you mean `cluster`?",
    ] {
        assert!(said.err.contains(part), "{}", said.err);
    }
}
