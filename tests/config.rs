//! `deploy.toml`: what it means, and what its errors look like.

use std::{fs, path::Path, time::Duration};

use deploy_kit::config::{Config, EcsPlace, Platform, TargetConfig};
use proptest::prelude::*;

/// The first example of the documentation, as far as it is built.
const SHOP: &str = r#"
version = 1
[defaults]
platform = "ecs"
bake = "5m"
[defaults.ecs]
account = "123456789012"
region = "us-east-1"
cluster = "prod-website"
service = "{app}"
family = "{app}-task"
[env.production]
branch = "master"
[app.prod-api]
repo = "../shop-api"
images.api = "123456789012.dkr.ecr.us-east-1.amazonaws.com/shop-api"
[app.prod-app]
repo = "../shop-app"
images.app = "123456789012.dkr.ecr.us-east-1.amazonaws.com/shop-app"
"#;

const LAYERS: &str = r#"
version = 1
[defaults]
platform = "ecs"
bake = "1m"
branch = "of-defaults"
ecs = { cluster = "of-defaults", service = "{app}-{env}", region = "us-east-1" }
images.web = "registry.example.com/{app}"
images.side = "registry.example.com/side"
[env.staging]
bake = "2m"
branch = "of-staging"
ecs.cluster = "of-staging"
[env.production]
[app.drums]
bake = "3m"
images.side = false
env.staging = { bake = "4m", ecs.family = "own" }
[app.piano]
envs = ["production"]
"#;

fn place(target: &TargetConfig) -> &EcsPlace {
    match &target.platform {
        Platform::Ecs(place) => place,
        other => panic!("{other:?}"),
    }
}

fn parse(text: &str) -> Config {
    Config::parse(text, "conf/deploy.toml").unwrap_or_else(|problems| panic!("{problems}"))
}

#[test]
fn the_shop_has_two_targets_with_all_that_the_file_says() {
    let config = parse(SHOP);
    let names: Vec<String> = config.targets().iter().map(|target| target.name.to_string()).collect();
    assert_eq!(names, ["prod-api/production", "prod-app/production"]);
    let api = config.find("prod-api/production").unwrap();
    assert_eq!(api.repo.as_deref(), Some(Path::new("conf/../shop-api")));
    assert_eq!(api.branch.as_deref(), Some("master"));
    assert_eq!(api.bake, Some(Duration::from_secs(300)));
    assert_eq!(api.images["api"], "123456789012.dkr.ecr.us-east-1.amazonaws.com/shop-api");
    let ecs = place(api);
    assert_eq!((ecs.service.as_str(), ecs.family.as_deref()), ("prod-api", Some("prod-api-task")));
    assert_eq!((ecs.account.as_deref(), ecs.region.as_deref()), (Some("123456789012"), Some("us-east-1")));
    let origin = api.origin("ecs.family").unwrap();
    assert_eq!((origin.to_string().as_str(), origin.section.as_str()), ("conf/deploy.toml:11", "defaults"));
    assert_eq!(origin.source, "family = \"{app}-task\"");
}

#[test]
fn later_layers_win_and_tables_merge() {
    let config = parse(LAYERS);
    let names: Vec<String> = config.targets().iter().map(|target| target.name.to_string()).collect();
    assert_eq!(names, ["drums/staging", "drums/production", "piano/production"]);
    let drums = config.find("drums/staging").unwrap();
    assert_eq!(drums.bake, Some(Duration::from_secs(240)));
    assert_eq!(drums.branch.as_deref(), Some("of-staging"));
    assert_eq!(place(drums).cluster, "of-staging");
    assert_eq!(place(drums).service, "drums-staging");
    assert_eq!(place(drums).region.as_deref(), Some("us-east-1"));
    assert_eq!(place(drums).family.as_deref(), Some("own"));
    assert_eq!(drums.images.keys().collect::<Vec<_>>(), ["web"], "false removes an entry");
    let elsewhere = config.find("drums/production").unwrap();
    assert_eq!(elsewhere.bake, Some(Duration::from_secs(180)));
    assert_eq!(place(elsewhere).cluster, "of-defaults");
    let piano = config.find("piano/production").unwrap();
    assert_eq!(piano.images.keys().collect::<Vec<_>>(), ["side", "web"]);
    assert_eq!(piano.bake, Some(Duration::from_secs(60)));
}

const BUILDS: &str = r#"
version = 1
[defaults]
platform = "ecs"
ecs.cluster = "c"
ecs.service = "{app}-{env}"
repo = "../{app}"
images.web = "registry.example.com/{app}"
migrations = "laravel"
[defaults.build.web]
context = "services/{app}"
args.NODE_ENV = "{env}"
secrets.npm = { from_env = "NPM_TOKEN" }
secrets.ca = { file = "ca.pem" }
[env.staging]
[env.production]
[app.drums]
env.production.build.web = { platform = "linux/amd64, linux/arm64", args.NODE_ENV = false }
[app.piano]
build.web = false
[app.voice]
images.worker = "registry.example.com/worker"
build.worker = true
"#;

#[test]
fn builds_are_merged_like_everything_else() {
    use deploy_kit::{config::BuildConfig, model::SecretRef};
    let config = parse(BUILDS);
    let builds = |name: &str| config.find(name).unwrap().builds.clone();
    let web = &builds("drums/staging")["web"];
    assert_eq!(web.context.as_deref(), Some("services/drums"));
    assert_eq!(web.platforms, ["linux/amd64"]);
    assert_eq!(web.args.get("NODE_ENV").map(String::as_str), Some("staging"));
    assert_eq!(web.secrets["npm"], SecretRef::FromEnv("NPM_TOKEN".into()));
    assert!(matches!(&web.secrets["ca"], SecretRef::File(path) if path.ends_with("ca.pem")), "{web:?}");
    let web = &builds("drums/production")["web"];
    assert_eq!((web.platforms.len(), web.args.len()), (2, 0), "{web:?}");
    assert!(builds("piano/staging").is_empty());
    assert_eq!(builds("voice/staging").keys().collect::<Vec<_>>(), ["web", "worker"]);
    let mut worker = builds("voice/staging")["worker"].clone();
    worker.platforms.clear();
    assert_eq!(worker, BuildConfig::default());
    assert_eq!(config.find("piano/production").unwrap().migrations.as_deref(), Some("laravel"));
}

#[test]
fn patterns_name_several_targets() {
    let config = parse(LAYERS);
    let names = |pattern: &str| {
        let found = config.select(pattern).unwrap();
        found.iter().map(|target| target.name.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(names("*/production"), ["drums/production", "piano/production"]);
    assert_eq!(names("drums/*"), ["drums/staging", "drums/production"]);
    assert_eq!(names("drums/staging"), ["drums/staging"]);
    assert!(config.select("*/prod").unwrap_err().to_string().contains("no target fits"));
}

#[test]
fn a_target_that_is_not_there_says_which_are() {
    let config = parse(LAYERS);
    let said = |name: &str| config.find(name).unwrap_err().to_string();
    assert_eq!(
        said("drums/prod"),
        "no environment `prod` for drums\n  drums has: staging, production\n  did you mean drums/production?"
    );
    assert_eq!(
        said("drum/staging"),
        "no app `drum`\n  the file has: drums, piano\n  did you mean drums/staging?"
    );
    assert_eq!(
        said("piano"),
        "`piano` is no target: a target is app/env\n  piano has: production\n  did you mean piano/production?"
    );
    assert_eq!(said("violin/x"), "no app `violin`\n  the file has: drums, piano");
}

#[test]
fn a_file_that_is_not_there_is_one_problem() {
    let problems = Config::load("nowhere/deploy.toml").unwrap_err();
    assert!(problems.to_string().starts_with("error: cannot read nowhere/deploy.toml: "), "{problems}");
    assert_eq!(deploy_kit::Error::from(problems).kind(), deploy_kit::ErrorKind::Invalid);
}

/// Every file of `tests/config/bad` gives exactly the text beside it. `DEPLOY_GOLDEN=write` writes what is missing.
#[test]
fn bad_files_say_everything_that_is_wrong() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config/bad");
    let mut tried = 0;
    for entry in fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "toml") {
            continue;
        }
        tried += 1;
        let text = fs::read_to_string(&path).unwrap();
        let problems = Config::parse(&text, "deploy.toml").expect_err(&path.display().to_string());
        let shown = problems.to_string() + "\n";
        assert!(!shown.contains("hunter2"), "{}: a secret is shown:\n{shown}", path.display());
        let golden = path.with_extension("txt");
        if !golden.exists() && std::env::var("DEPLOY_GOLDEN").is_ok_and(|what| what == "write") {
            fs::write(&golden, &shown).unwrap();
        }
        let expected = fs::read_to_string(&golden).unwrap_or_default();
        assert_eq!(shown, expected, "{}", path.display());
    }
    assert!(tried >= 15, "{tried} files");
}

/// Pieces that files are made of: texts of these reach every branch of the reader.
fn pieces() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("version = 1\n".to_owned()),
        "\\[(defaults|env|app|alerts|env\\.a|app\\.b|app\\.b\\.env\\.a|defaults\\.ecs|app\\.\"é/\")\\]\n",
        "(platform|repo|branch|bake|images|images\\.x|envs|env|ecs|ecs\\.account|checks|k8s|état) = ",
        "(\"ecs\"|\"\\{app\\}\"|\"\\{\"|\"90s\"|\"ü:x\"|1|-7|1\\.5|true|false|\\[\\]|\\[\"a\"\\]|\\{ \\}|\\{ a = 1 \\}|2026-01-01)\n",
        "\\PC{0,8}",
        Just("\n".to_owned()),
        Just("\"\"\"".to_owned()),
        Just("\u{feff}\r\n\0".to_owned()),
    ];
    prop::collection::vec(piece, 0..30).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_text_makes_it_panic(text in pieces()) {
        if let Err(problems) = Config::parse(&text, "deploy.toml") {
            prop_assert!(problems.count() > 0);
            prop_assert!(problems.to_string().starts_with("error: "));
        }
    }

    #[test]
    fn no_cut_and_no_strange_letter_makes_it_panic(at in 0..900_usize, letter in any::<char>()) {
        let mut text: String = SHOP.chars().take(at).collect();
        text.push(letter);
        text.extend(SHOP.chars().skip(at + 1));
        let _ = Config::parse(&text, "deploy.toml").map_err(|problems| problems.to_string());
        let cut: String = LAYERS.chars().take(at).collect();
        let _ = Config::parse(&cut, "deploy.toml").map_err(|problems| problems.to_string());
    }
}
