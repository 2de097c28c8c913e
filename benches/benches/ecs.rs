//! What watching ECS costs and how soon ends are told, beside the figures that other tools have and beside the waiters
//! of the AWS SDK and of the AWS CLI against the same emulator. Virtual time, but for the CLI.

use std::{process::Command, sync::Arc, time::Duration};

use aws_sdk_ecs::client::Waiters as _;
use benches::table::{heading, row};
use deploy_core::{
    Deployer, Rollout,
    clock::{Clock, SeededRandom, TokioClock},
    event::EventKind,
    model::{Ended, Release, Timestamp},
    state::{
        journal::{Decision, Fact, StepState},
        stores::memory::MemoryStore,
    },
};
use deploy_ecs::{
    Ecs,
    emulator::{Api, Config, Emulator, Seed, ServeOptions, Timings},
};
use serde_json::{Value, json};

const START_MS: i64 = 1_767_225_600_000;

/// Services that are rolled at the same time.
const SERVICES: usize = 10;

/// Fargate's times, behind a load balancer that drains for three minutes: a rollout takes about five.
fn five_minutes() -> Timings {
    Timings { drain_ms: 110_000, ..Timings::fargate() }
}

struct Account {
    emulator: Emulator,
    clock: Arc<TokioClock>,
    ecs: Ecs,
}

fn account(timings: Timings) -> Account {
    let emulator = Emulator::new(Config { timings, ..Config::default() });
    let clock = Arc::new(TokioClock::starting_at(Timestamp::from_millis(START_MS)));
    let ecs = Ecs::emulated(&emulator, clock.clone()).expect("a connection");
    Account { emulator, clock, ecs }
}

impl Account {
    fn service(&self, name: &str) {
        let image = self.emulator.image("shop-api", "ok-1");
        let seed = Seed::new("prod-website", name, &format!("{name}-task"), "api", &image, 2);
        self.emulator.seed(&seed.target_group(8080)).expect("a service");
        self.emulator.reset_calls();
    }

    async fn start(&self, name: &str, tag: &str) -> Rollout {
        let api = Deployer::new(MemoryStore::new()).clock((*self.clock).clone()).random(SeededRandom::new(7));
        let target = api
            .target(name, "production", self.ecs.service("prod-website", name))
            .bake(Duration::from_secs(1));
        let image = self.emulator.image("shop-api", tag);
        target.deploy(Release::of_what_runs().image("api", image)).start().await.expect("a start")
    }

    fn ask(&self, action: &str, body: &Value) -> Value {
        call(&self.emulator, action, body)
    }

    /// When ECS itself was done with the newest deployment, in seconds.
    fn finished(&self, name: &str) -> f64 {
        let body = json!({"cluster": "prod-website", "service": name});
        let listed = self.ask("ListServiceDeployments", &body);
        listed["serviceDeployments"][0]["finishedAt"].as_f64().expect("a time")
    }
}

/// Any call of ECS, as somebody else would make it.
fn call(emulator: &Emulator, action: &str, body: &Value) -> Value {
    let now = emulator.now_ms();
    emulator.with(|world| world.call(now, Api::Ecs, action, body)).expect(action)
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().expect("a runtime")
}

/// When something was journaled, in seconds.
async fn when(rollout: &Rollout, what: impl Fn(&Fact) -> bool) -> Option<f64> {
    let mut events = rollout.events();
    while let Some(event) = events.next().await {
        if let EventKind::Fact(fact) = &event.kind
            && what(fact)
        {
            return Some(event.at.as_millis() as f64 / 1_000.0);
        }
    }
    None
}

fn watched(fact: &Fact) -> bool {
    matches!(fact, Fact::Step { step, state: StepState::Done, .. } if step.as_str() == "watch")
}

fn gone_back(fact: &Fact) -> bool {
    matches!(fact, Fact::Decision { decision: Decision::GoBack, .. })
}

/// Ten services at once: reads while they are watched, and how late each success is told.
async fn ten_at_once() -> (f64, f64) {
    let account = account(five_minutes());
    let names: Vec<String> = (0..SERVICES).map(|number| format!("api-{number}")).collect();
    for name in &names {
        account.service(name);
    }
    let mut rollouts = Vec::new();
    for name in &names {
        rollouts.push(account.start(name, "ok-2").await);
        account.clock.sleep(Duration::from_millis(137)).await;
    }
    let (mut latest, mut last) = (0.0_f64, 0.0_f64);
    for (name, rollout) in names.iter().zip(&rollouts) {
        let told = when(rollout, watched).await.expect("an end");
        latest = latest.max(told - account.finished(name));
        last = last.max(told);
    }
    let calls = account.emulator.calls();
    let updated = calls.iter().filter(|call| call.action == "UpdateService").map(|call| call.at_ms).max();
    let updated = updated.expect("updates");
    let watching = calls.iter().filter(|call| {
        call.at_ms > updated && call.at_ms as f64 <= last * 1_000.0 && call.action != "ListServiceDeployments"
    });
    let minutes = (last - updated as f64 / 1_000.0) / 60.0;
    (watching.count() as f64 / minutes * 5.0, latest)
}

/// A bad release: seconds from the second task that stopped (or the first, if that is enough) to the decision; mutating
/// calls of going back.
async fn bad(tag: &str) -> (f64, u64) {
    let account = account(Timings::fargate());
    account.service("api");
    let rollout = account.start("api", tag).await;
    let decided = when(&rollout, gone_back).await.expect("a decision");
    let listed = account.ask(
        "ListTasks",
        &json!({"cluster": "prod-website", "serviceName": "api", "desiredStatus": "STOPPED"}),
    );
    let tasks =
        account.ask("DescribeTasks", &json!({"cluster": "prod-website", "tasks": listed["taskArns"]}));
    let mut stopped: Vec<f64> = tasks["tasks"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|task| task["stoppingAt"].as_f64())
        .filter(|at| *at <= decided)
        .collect();
    stopped.sort_by(f64::total_cmp);
    assert!(!stopped.is_empty() && stopped.len() <= 2, "decided on the first or second: {stopped:?}");
    let outcome = rollout.outcome().await.expect("an outcome");
    assert!(matches!(outcome.ended, Ended::RolledBack { .. }), "{outcome:?}");
    // Forward it registers and updates.
    let calls = account.emulator.counts().mutating() - 2;
    (decided - stopped.last().copied().unwrap_or(decided), calls)
}

/// The SDK's own waiter on the same rollout: how late, and how many calls.
async fn sdk_waiter() -> (f64, u64) {
    let account = account(five_minutes());
    account.service("api");
    let image = account.emulator.image("shop-api", "ok-2");
    let container = json!({"name": "api", "image": image});
    account
        .ask("RegisterTaskDefinition", &json!({"family": "api-task", "containerDefinitions": [container]}));
    account.ask(
        "UpdateService",
        &json!({"cluster": "prod-website", "service": "api", "taskDefinition": "api-task:2"}),
    );
    account.emulator.reset_calls();
    let client = aws_sdk_ecs::Client::new(account.ecs.aws().sdk_config());
    let waiter = client.wait_until_services_stable().cluster("prod-website").services("api");
    Box::pin(waiter.wait(Duration::from_secs(3_600))).await.expect("stable");
    let told = account.clock.now().as_millis() as f64 / 1_000.0;
    let calls = account.emulator.counts().of("DescribeServices");
    (told - account.finished("api"), calls)
}

/// The CLI's own waiter, in real time on a served emulator: how late, and how many calls.
async fn cli_waiter() -> Result<(f64, u64), String> {
    Command::new("aws").arg("--version").output().map_err(|error| format!("aws: {error}"))?;
    let emulator = Emulator::new(Config::default());
    let image = emulator.image("shop-api", "ok-1");
    emulator.seed(&Seed::new("prod-website", "api", "api-task", "api", &image, 2)).expect("a service");
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
    let served = emulator.serve(address, ServeOptions::default()).await.map_err(|error| error.to_string())?;
    let endpoint = served.endpoint_url();
    let aws = move |words: &[&str]| {
        let mut command = tokio::process::Command::new("aws");
        command.args(words).env("AWS_ENDPOINT_URL", &endpoint).env("AWS_DEFAULT_REGION", "us-east-1");
        command.env("AWS_ACCESS_KEY_ID", "test").env("AWS_SECRET_ACCESS_KEY", "test").env("AWS_PAGER", "");
        command.output()
    };
    let new = emulator.image("shop-api", "ok-2");
    call(
        &emulator,
        "RegisterTaskDefinition",
        &json!({"family": "api-task", "containerDefinitions": [{"name": "api", "image": new}]}),
    );
    call(
        &emulator,
        "UpdateService",
        &json!({"cluster": "prod-website", "service": "api", "taskDefinition": "api-task:2"}),
    );
    emulator.reset_calls();
    let waited =
        aws(&["ecs", "wait", "services-stable", "--cluster", "prod-website", "--services", "api"]).await;
    let waited = waited.map_err(|error| error.to_string())?;
    if !waited.status.success() {
        return Err(String::from_utf8_lossy(&waited.stderr).into_owned());
    }
    let told = emulator.now_ms() as f64 / 1_000.0;
    let calls = emulator.counts().of("DescribeServices");
    let listed =
        call(&emulator, "ListServiceDeployments", &json!({"cluster": "prod-website", "service": "api"}));
    let finished = listed["serviceDeployments"][0]["finishedAt"].as_f64().expect("a time");
    Ok((told - finished, calls))
}

fn main() {
    heading();
    let (reads, late) = runtime().block_on(ten_at_once());
    // It waits for times that it draws, so as many of them as services.
    let sdk: Vec<(f64, u64)> = (0..SERVICES).map(|_| runtime().block_on(sdk_waiter())).collect();
    let sdk_late = sdk.iter().map(|(late, _)| *late).fold(0.0, f64::max);
    let sdk_reads = sdk.iter().map(|(_, calls)| *calls).sum::<u64>() as f64;
    row(
        "watching reads, ten services, five minutes (ecspresso ~660, fabfuel ~2600)",
        &format!("{reads:.0}"),
        "660",
        Some(reads / 660.0),
    );
    row(
        "  the SDK's waiter, one for each of ten services",
        &format!("{reads:.0}"),
        &format!("{sdk_reads:.0}"),
        Some(reads / sdk_reads),
    );
    row(
        "success is told late by, worst of ten (SDK waiters)",
        &format!("{late:.1} s"),
        &format!("{sdk_late:.1} s"),
        Some(late / sdk_late),
    );
    for (tag, peer) in
        [("nopull", "2-5 min"), ("badcmd", "2-5 min"), ("crash", "3-6 min"), ("oom", "3-6 min")]
    {
        let (after, calls) = runtime().block_on(bad(tag));
        let measure = format!("{tag}: decided after the last stopped task that it took (breaker)");
        row(&measure, &format!("{after:.1} s"), peer, None);
        row(
            "  mutating calls of going back (ecspresso 4 calls)",
            &calls.to_string(),
            "4",
            Some(calls as f64 / 4.0),
        );
    }
    let real = tokio::runtime::Runtime::new().expect("a runtime");
    match real.block_on(cli_waiter()) {
        Ok((late, calls)) => {
            row("the AWS CLI's waiter is late by, real time", "-", &format!("{late:.1} s"), None);
            row("  its reads in that rollout", "-", &calls.to_string(), None);
        }
        Err(why) => println!("not run: the AWS CLI's waiter: {why}"),
    }
}
