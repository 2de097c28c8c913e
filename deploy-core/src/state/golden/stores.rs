//! Whole stores as deployers left them: every record by its key, replayed through the machine.
//!
//! A store is made once, by the memory platform in virtual time. From then on it is read: a later build may deploy
//! otherwise, but it has to understand what this one did.

use std::{fmt::Write as _, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

use super::path;
use crate::{
    Deployer, Target,
    clock::{Clock, SeededRandom, TokioClock},
    machine::{Action, Input, Machine, Timing},
    memory::{Fault, MemoryPlace, Shape, World},
    model::{Claim, Fence, Release, RolloutId, Timestamp},
    state::{
        Expect, Key, Limits, StateStore,
        head::{Head, Holder},
        journal::{DriverHow, Entry, Fact},
        process::{Alive, Liveness},
        records::Records,
        stores::memory::MemoryStore,
    },
};

/// One record. Bodies are text but for the store's key.
#[derive(Serialize, Deserialize)]
struct Line {
    key: Key,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    body: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    bytes: Option<Vec<u8>>,
}

#[derive(Debug)]
struct AllAreDead;

impl Liveness for AllAreDead {
    fn of(&self, _holder: &Holder) -> Alive {
        Alive::Dead
    }
}

/// A deployer, its place, and a store of small values, so that there are segments.
struct Stage {
    clock: TokioClock,
    world: World,
    store: MemoryStore,
    target: Target,
}

fn stage(shape: Shape) -> Stage {
    let clock = TokioClock::starting_at(Timestamp::from_millis(1_795_227_117_005));
    let world = World::new(shape, Arc::new(clock.clone()));
    let store = MemoryStore::new().with_limits(Limits::new(12 * 1024, Duration::from_millis(200), false));
    let deployer = Deployer::new(store.clone())
        .clock(clock.clone())
        .random(SeededRandom::new(7))
        .liveness(AllAreDead)
        .actor("dev")
        .named_holder("ci-7");
    let place = MemoryPlace::new(world.clone());
    let target = deployer.target("shop", "production", place).bake(Duration::from_secs(30));
    Stage { clock, world, store, target }
}

impl Stage {
    async fn deploy(&self, tag: &str) {
        let release = Release::of_what_runs().image("app", format!("repo/app:{tag}"));
        self.target.deploy(release).start().await.unwrap().outcome().await.unwrap();
    }

    /// A deploy whose process dies when it has written this many entries.
    async fn die(&self, tag: &str, seq: u64) {
        let release = Release::of_what_runs().image("app", format!("repo/app:{tag}"));
        let rollout = self.target.deploy(release).start().await.unwrap();
        let mut events = rollout.events();
        while let Some(event) = events.next().await {
            if event.seq.is_some_and(|at| at >= seq) {
                break;
            }
        }
        rollout.kill();
    }

    /// The next call of this kind is made, and its answer lost.
    fn lose_answer(&self, what: &'static str) {
        let once = std::sync::atomic::AtomicBool::new(true);
        self.world.faults(move |call| {
            let hit = call.what == what && once.swap(false, std::sync::atomic::Ordering::Relaxed);
            if hit { Fault::ResetAfter } else { Fault::None }
        });
    }
}

async fn dump(store: &MemoryStore) -> String {
    let keys = store.list(&Key::new(["v1"]), None, 1000).await.unwrap();
    let mut text = String::new();
    for key in keys {
        let found = store.read(&key).await.unwrap().unwrap();
        let line = match String::from_utf8(found.body) {
            Ok(body) if body.starts_with('{') => Line { key, body: Some(body), bytes: None },
            Ok(body) => Line { key, body: None, bytes: Some(body.into_bytes()) },
            Err(error) => Line { key, body: None, bytes: Some(error.into_bytes()) },
        };
        writeln!(text, "{}", serde_json::to_string(&line).unwrap()).unwrap();
    }
    text.pop();
    text
}

async fn load(text: &str) -> MemoryStore {
    let store = MemoryStore::new();
    for line in text.lines() {
        let line: Line = serde_json::from_str(line).unwrap();
        let body = line.body.map(String::into_bytes).or(line.bytes).unwrap();
        store.write(&line.key, Expect::Absent, body).await.unwrap();
    }
    store
}

/// All deploys of a claim, oldest first, entry by entry: where the machine is after each.
async fn replay(records: &Records, claim: &Claim, head: &Head) -> String {
    let entries = records.entries_back(claim, head, |_| false).await.unwrap();
    assert_eq!(entries.len() as u64, head.seq, "no entry is lost between head and segments");
    let mut text = String::new();
    let mut rollouts: Vec<RolloutId> = entries.iter().map(|entry| entry.rollout.clone()).collect();
    rollouts.dedup();
    for rollout in rollouts {
        let journal = records.journal(claim, head, &rollout).await.unwrap();
        let Fact::Started { plan_object, .. } = &journal[0].fact else {
            panic!("a deploy begins by starting")
        };
        let plan = Arc::new(records.plan(plan_object).await.unwrap());
        writeln!(text, "deploy {rollout} of {}", plan.target).unwrap();
        for upto in 1..=journal.len() {
            let recover = Machine::recover;
            let machine =
                recover(Arc::clone(&plan), rollout.clone(), Timing::default(), &journal[..upto]).unwrap();
            writeln!(text, "  {}", line(&journal[upto - 1], &machine)).unwrap();
            if let (Some(outcome), true) = (machine.outcome(), upto == journal.len()) {
                writeln!(text, "  {}", serde_json::to_string(outcome).unwrap()).unwrap();
            }
        }
    }
    let open: Vec<u64> = head.open.iter().map(|intent| intent.id).collect();
    let good: Vec<&str> = head.known_good.iter().map(|good| good.revision.name.as_str()).collect();
    let (claim, holder) = (&head.claim, head.holder.as_ref().map(|holder| &holder.id));
    write!(
        text,
        "head: fence {}, claim {claim:?}, holder {holder:?}, open {open:?}, known good {good:?}",
        head.fence
    )
    .unwrap();
    text
}

fn line(entry: &Entry, machine: &Machine) -> String {
    let entry_json = serde_json::to_value(entry).unwrap();
    let (fact, content) = super::fact(&entry_json);
    let word = |field: &str| content.get(field).and_then(|word| word.as_str()).unwrap_or_default();
    let words = [fact, word("step"), word("state"), word("decision")].join(" ");
    let words = words.split_whitespace().collect::<Vec<_>>().join(" ");
    format!("{} {words} -> {}", entry.seq, machine.durable_words())
}

/// Makes the store if it is wanted and not there, then reads the file and replays it.
async fn golden(name: &str, made: &MemoryStore) {
    let file = format!("stores/{name}.jsonl");
    let text = super::golden(&file, &dump(made).await);
    let store = load(&text).await;
    assert_eq!(dump(&store).await, text, "{file} holds every record once, in order");
    let records = Records::new(Arc::new(store.clone()), None);
    let [record] = &records.targets().await.unwrap()[..] else { panic!("{file} has one target") };
    let (_, head) = records.head(&record.home).await.unwrap().unwrap();
    assert_eq!(head.segment.is_some(), name != "left", "{file}: in head and segments, or in the head alone");
    let now = replay(&records, &record.home, &head).await;
    let expected = super::golden(&format!("stores/{name}.replay.txt"), &now);
    assert_eq!(now.lines().collect::<Vec<_>>(), expected.lines().collect::<Vec<_>>(), "{file}");
    // Through the front door, as a person asks for it.
    let history = Deployer::new(store)
        .target("shop", "production", MemoryPlace::new(stage(Shape::Ecs).world))
        .history(10)
        .await
        .unwrap();
    assert_eq!(history.len(), now.lines().filter(|line| line.starts_with("deploy ")).count());
}

#[tokio::test(start_paused = true)]
async fn a_good_deploy_is_replayed() {
    let stage = stage(Shape::Vapor);
    stage.deploy("ok-1").await;
    stage.deploy("ok-2").await;
    golden("succeeded", &stage.store).await;
}

#[tokio::test(start_paused = true)]
async fn a_deploy_that_was_taken_back_is_replayed() {
    let stage = stage(Shape::Ecs);
    stage.deploy("ok-1").await;
    stage.lose_answer("set");
    stage.deploy("crash-1").await;
    golden("rolled-back", &stage.store).await;
}

#[tokio::test(start_paused = true)]
async fn a_deploy_that_was_taken_over_is_replayed() {
    let stage = stage(Shape::Kubernetes);
    stage.deploy("ok-1").await;
    stage.lose_answer("set");
    stage.die("ok-2", 8).await;
    golden("left", &stage.store).await;
    stage.clock.sleep(Duration::from_secs(1)).await;
    stage.target.resume().await.unwrap().unwrap().outcome().await.unwrap();
    golden("taken-over", &stage.store).await;
}

/// Whoever takes over what was left there seals the place first: before that, no look says what may still arrive.
#[tokio::test]
async fn what_was_left_is_sealed_before_anything_else() {
    let records = Records::new(Arc::new(load(&super::stored("stores/left.jsonl")).await), None);
    let [target] = &records.targets().await.unwrap()[..] else { panic!("one target") };
    let (_, head) = records.head(&target.home).await.unwrap().unwrap();
    let rollout = head.claim.clone().unwrap();
    let plan = Arc::new(records.plan(head.plan.as_ref().unwrap()).await.unwrap());
    let journal = records.journal(&target.home, &head, &rollout).await.unwrap();
    for how in [DriverHow::TookOver, DriverHow::FoundDead, DriverHow::Broken, DriverHow::Resumed] {
        let (plan, rollout) = (Arc::clone(&plan), rollout.clone());
        let mut machine = Machine::recover(plan, rollout, Timing::default(), &journal).unwrap();
        let (owner, previous) = ("next".to_owned(), Some("ci-7".to_owned()));
        let begun = Input::Begun { fence: Fence(3), owner, previous, how, reason: None, quiet_ms: 1_000 };
        let now = journal.last().unwrap().at.plus_ms(60_000);
        let out = machine.handle(now, begun);
        let acts = |action: &Action| !matches!(action, Action::Append { .. } | Action::WakeAt(_));
        let acting: Vec<&Action> = out.iter().filter(|action| acts(action)).collect();
        assert_eq!(acting, [&Action::Seal], "{how:?}");
        let out = machine.handle(now.plus_ms(1), Input::Tick);
        assert!(!out.iter().any(acts), "{how:?}: nothing before it is sealed: {out:?}");
        let out = machine.handle(now.plus_ms(2), Input::Sealed(Ok(())));
        assert!(
            out.iter().any(|action| matches!(action, Action::Settle(_))),
            "{how:?}: then what is open: {out:?}"
        );
    }
}

/// Killed between the write that ends the deploy and the one that gives the claim back: nothing else is left to do.
#[tokio::test(start_paused = true)]
async fn an_end_that_was_stored_is_the_end() {
    let stage = stage(Shape::Kubernetes);
    stage.deploy("ok-1").await;
    let records = Records::new(Arc::new(stage.store.clone()), None);
    let [target] = &records.targets().await.unwrap()[..] else { panic!("one target") };
    let (version, free) = records.head(&target.home).await.unwrap().unwrap();
    let entries = records.entries_back(&target.home, &free, |_| false).await.unwrap();
    let plan = entries.iter().find_map(|entry| match &entry.fact {
        Fact::Started { plan_object, .. } => Some(plan_object.clone()),
        _ => None,
    });
    let mut left = free.clone();
    left.claim = entries.last().map(|entry| entry.rollout.clone());
    left.plan = plan;
    left.holder = Some(Holder::named("ci-6"));
    let (key, expect) = (records.head_key(&target.home), Expect::Is(version));
    stage.store.write(&key, expect, left.to_bytes()).await.unwrap();

    let rollout = stage.target.resume().await.unwrap().expect("it is not given back");
    let outcome = tokio::time::timeout(Duration::from_secs(60), rollout.outcome()).await.expect("an end");
    assert_eq!(outcome.unwrap().verdict(), "DONE");
    let (_, head) = records.head(&target.home).await.unwrap().unwrap();
    assert_eq!((head.claim, head.holder), (None, None));
    assert_eq!((head.seq, head.known_good), (free.seq, free.known_good), "nothing was written after the end");
    assert!(stage.target.resume().await.unwrap().is_none());
}

/// Adding a store means adding its test: no file lies there unread.
#[test]
fn every_golden_file_is_read() {
    let mut read: Vec<String> =
        ["succeeded", "rolled-back", "left", "taken-over"].map(|name| format!("stores/{name}")).into();
    read.sort();
    let mut found: Vec<String> = std::fs::read_dir(path("stores"))
        .unwrap()
        .map(|file| format!("stores/{}", file.unwrap().file_name().to_string_lossy()))
        .filter_map(|name| name.strip_suffix(".jsonl").map(str::to_owned))
        .collect();
    found.sort();
    assert_eq!(found, read);
}
