//! Workflow steps as the machine drives them: with a journal, a lease, and a rollout that turns round.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    time::Duration,
};

use deploy_core::{
    Deployer, Platform, Result, Rollout, Target,
    clock::{Clock, SeededRandom, TokioClock},
    context::{Secrets, StepContext},
    event::EventKind,
    forge::emulator::{Cancel, Config, Emulator, Fault, FaultRule, JobScript, RunScript, WorkflowFile},
    model::{
        Capabilities, Claim, Component, Ended, Fingerprint, Goal, Identity, Lateness, Motion, Observation,
        Plan, Release, Revision, Runner, Scope, Secret, SecretRef, Snapshot, Step, StepKind, Timestamp, Undo,
        WayBack, WriteGuard,
    },
    platform::{PlanContext, Settled},
    state::{
        journal::{Direction, Fact, Intent, StepState},
        stores::memory::MemoryStore,
    },
    steps::{
        StepRunner,
        workflow::{Workflow, WorkflowRunner},
    },
};
use serde_json::{Value, json};

const REPOSITORY: &str = "acme/shop";

fn sign() -> Component {
    Component::from("sign")
}

fn revision(text: &str) -> Revision {
    Revision::new(text, [(sign(), Fingerprint::from(text))], Value::Null)
}

/// A place with a text, which a workflow goes before.
#[derive(Debug, Clone)]
struct Sign {
    text: Arc<Mutex<String>>,
    clock: TokioClock,
    runner: Arc<WorkflowRunner>,
}

#[async_trait::async_trait]
impl Platform for Sign {
    async fn inspect(&self) -> Result<Snapshot> {
        let can = Capabilities::new(WriteGuard::None, Lateness::NONE);
        let here = Identity::new([("door", "2.14")]);
        let text = self.text.lock().unwrap().clone();
        Ok(Snapshot::new(self.clock.now(), "sign", here, can, revision(&text)))
    }

    async fn plan(&self, goal: &Goal, now: &Snapshot, cx: &PlanContext) -> Result<Plan> {
        let to = match goal {
            Goal::Deploy(release) => revision(&release.images["sign"]),
            Goal::Restore(revision) => revision.clone(),
            _ => now.serving.clone(),
        };
        let old = &now.serving;
        let write = |id: &str, text: &str| Step::new(id, sign(), StepKind::Effect, "write").with(json!(text));
        let mut plan =
            Plan::new(cx.target.clone(), goal.clone(), now, vec![Claim::from("door:2.14")], to.clone());
        let workflow = Workflow::new(REPOSITORY, "publish.yml", "main").runs_within(Duration::from_secs(600));
        let undo = Undo::None { reason: "what is published stays".into() };
        plan.steps = vec![
            workflow.step("publish", sign(), undo)?,
            write("write", &to.name),
            Step::new("watch", sign(), StepKind::Await, "read it"),
        ];
        plan.way_back = WayBack::to(old.clone(), vec![write("back", &old.name)], "write what it said before");
        plan.bake_ms = cx.bake_ms;
        Ok(plan)
    }

    async fn execute(&self, step: &Step, cx: &StepContext) -> Result<Value> {
        if step.runner == Runner::Workflow {
            return self.runner.execute(step, cx).await;
        }
        let text = step.data.as_str().unwrap_or_default().to_owned();
        cx.effect("write", &text)
            .declares(sign(), Fingerprint::from(&*text))
            .idempotent(|permit| async move {
                permit.check()?;
                *self.text.lock().unwrap() = text;
                Ok(Value::Null)
            })
            .await
    }

    fn runs(&self, runner: Runner) -> bool {
        matches!(runner, Runner::Platform | Runner::Workflow)
    }

    async fn settle(&self, intent: &Intent, cx: &StepContext) -> Result<Settled> {
        if intent.step.as_str() == "publish" {
            return self.runner.settle(intent, cx).await;
        }
        Ok(Settled::Unknown)
    }

    async fn observe(&self, scope: &Scope) -> Result<Observation> {
        let declared = Fingerprint::from(&**self.text.lock().unwrap());
        let motion = match scope.declared() == Some(&declared) {
            true => Motion::Done,
            false => Motion::Foreign { revision: None, by: None },
        };
        Ok(Observation::new(self.clock.now(), sign(), declared, motion))
    }
}

#[derive(Debug)]
struct Token(String);

#[async_trait::async_trait]
impl Secrets for Token {
    async fn resolve(&self, _which: &SecretRef) -> Result<Secret> {
        Ok(Secret::new(&self.0))
    }
}

struct Stage {
    clock: TokioClock,
    emulator: Emulator,
    place: Sign,
    target: Target,
}

fn stage() -> Stage {
    let clock = TokioClock::starting_at(Timestamp::from_millis(1_795_000_000_000));
    let config = Config::default();
    let token = Token(config.token.clone());
    let emulator = Emulator::new(config);
    emulator.with(|world, _| world.workflow(REPOSITORY, WorkflowFile::new("publish.yml")));
    let github = emulator.github(Arc::new(clock.clone())).unwrap();
    let text = Arc::new(Mutex::new("open".to_owned()));
    let place = Sign { text, clock: clock.clone(), runner: Arc::new(WorkflowRunner::new(github)) };
    let deployer =
        Deployer::new(MemoryStore::new()).clock(clock.clone()).random(SeededRandom::new(7)).secrets(token);
    let target = deployer.target("door", "office", place.clone()).bake(Duration::ZERO);
    Stage { clock, emulator, place, target }
}

impl Stage {
    fn next_run(&self, script: RunScript) {
        self.emulator.with(|world, _| world.next_run(REPOSITORY, script));
    }

    async fn start(&self) -> Rollout {
        self.target.deploy(Release::default().image("sign", "closed")).start().await.unwrap()
    }

    fn says(&self) -> String {
        self.place.text.lock().unwrap().clone()
    }

    fn conclusion(&self) -> Option<String> {
        self.emulator.with(|world, now| world.runs(now, REPOSITORY)).pop()?.conclusion
    }

    fn calls(&self, name: &str) -> u64 {
        self.emulator.counts().of(name)
    }
}

fn takes(seconds: i64) -> RunScript {
    RunScript::new(vec![JobScript::succeeds("build", seconds * 1_000)])
}

/// All facts of a rollout that has ended, and its log lines.
async fn told(rollout: &Rollout) -> (Vec<Fact>, Vec<String>) {
    let (mut facts, mut lines) = (Vec::new(), Vec::new());
    let mut events = rollout.events();
    while let Some(event) = events.next().await {
        match &event.kind {
            EventKind::Fact(fact) => facts.push((**fact).clone()),
            EventKind::Log { instance, line, .. } => lines.push(format!("{instance}: {line}")),
            _ => {}
        }
    }
    (facts, lines)
}

/// Every call that changed something at GitHub had its intent; the keys of those, with the way that they went.
fn intents(facts: &[Fact]) -> Vec<(String, Direction)> {
    let intent = |fact: &Fact| match fact {
        Fact::Step { state: StepState::Asked, intent: Some(intent), .. }
            if intent.step.as_str() == "publish" =>
        {
            Some((intent.key.clone(), intent.direction))
        }
        _ => None,
    };
    facts.iter().filter_map(intent).collect()
}

#[tokio::test(start_paused = true)]
async fn a_deploy_with_a_workflow_before_it() {
    let stage = stage();
    stage.next_run(takes(90));
    let rollout = stage.start().await;
    let outcome = rollout.outcome().await.unwrap();
    assert!(outcome.is_success(), "{outcome}");
    assert_eq!((stage.says(), stage.calls("dispatch")), ("closed".into(), 1));
    let (facts, lines) = told(&rollout).await;
    assert_eq!(intents(&facts), [("dispatch".into(), Direction::Forward)]);
    assert!(lines.iter().any(|line| line == "build: success"), "{lines:?}");
}

#[tokio::test(start_paused = true)]
async fn an_abort_cancels_the_run_under_an_intent_of_its_own() {
    let stage = stage();
    stage.next_run(takes(500));
    let rollout = stage.start().await;
    stage.clock.sleep(Duration::from_secs(30)).await;
    rollout.abort("wrong branch").await.unwrap();
    let outcome = rollout.outcome().await.unwrap();
    assert_eq!(stage.conclusion().as_deref(), Some("cancelled"), "{outcome}");
    assert_eq!((stage.says(), stage.calls("dispatch"), stage.calls("cancel")), ("open".into(), 1, 1));
    assert!(matches!(outcome.ended, Ended::Aborted), "{outcome:?}");
    assert!(outcome.owed.is_empty(), "{outcome:?}");
    let (facts, _) = told(&rollout).await;
    assert_eq!(
        intents(&facts),
        [("dispatch".into(), Direction::Forward), ("cancel".into(), Direction::Back)]
    );
}

#[tokio::test(start_paused = true)]
async fn a_run_that_does_not_obey_is_forced_with_the_deploy() {
    let stage = stage();
    stage.next_run(takes(500_000).cancel(Cancel::Never));
    let rollout = stage.start().await;
    stage.clock.sleep(Duration::from_secs(30)).await;
    rollout.abort("wrong branch").await.unwrap();
    rollout.outcome().await.unwrap();
    assert_eq!(stage.conclusion().as_deref(), Some("cancelled"));
    let (facts, _) = told(&rollout).await;
    let keys: Vec<String> = intents(&facts).into_iter().map(|(key, _)| key).collect();
    assert_eq!(keys, ["dispatch", "cancel", "force-cancel"]);
}

/// The machine settles the dispatch by the marker: one run, and nothing owed.
#[tokio::test(start_paused = true)]
async fn an_answer_that_is_lost_is_settled_by_the_run_that_appears() {
    for (fault, appears) in [
        (Fault::ResetAfter, 0),
        (Fault::ResetAfter, 25_000),
        (Fault::ResetAfter, 60_000),
        (Fault::Slow(30_000), 5_000),
    ] {
        let stage = stage();
        stage.next_run(takes(90).appears_after_ms(appears));
        stage.emulator.fault(FaultRule::new(fault).call("dispatch"));
        let rollout = stage.start().await;
        let outcome = rollout.outcome().await.unwrap();
        assert!(outcome.is_success(), "{fault:?} {appears}: {outcome}");
        assert_eq!(stage.calls("dispatch"), 1, "{fault:?} {appears}");
        assert!(outcome.owed.is_empty(), "{fault:?} {appears}: {:?}", outcome.owed);
    }
}

#[tokio::test(start_paused = true)]
async fn a_dispatch_of_which_nothing_is_known_ends_the_deploy_and_is_owed() {
    let stage = stage();
    stage.emulator.fault(FaultRule::new(Fault::ResetBefore).call("dispatch"));
    let rollout = stage.start().await;
    let outcome = rollout.outcome().await.unwrap();
    assert!(!outcome.is_success(), "{outcome}");
    assert_eq!((stage.says(), stage.calls("dispatch")), ("open".into(), 1));
    assert!(!outcome.owed.is_empty(), "a person has to look: {outcome:?}");
}

#[tokio::test(start_paused = true)]
async fn a_failed_workflow_ends_the_deploy_before_anything_is_written() {
    let stage = stage();
    stage.next_run(RunScript::new(vec![JobScript::fails("build", 20_000, "3 tests failed")]));
    let rollout = stage.start().await;
    let outcome = rollout.outcome().await.unwrap();
    assert!(!outcome.is_success());
    assert_eq!((stage.says(), stage.calls("dispatch"), stage.calls("cancel")), ("open".into(), 1, 0));
    assert!(format!("{outcome:?}").contains("ended as failure: build at step Work"), "{outcome:?}");
    let (_, lines) = told(&rollout).await;
    assert!(lines.iter().any(|line| line.contains("3 tests failed")), "{lines:?}");
}

/// A process leaves, at many moments; another one goes on with the same run.
#[tokio::test(start_paused = true)]
async fn a_successor_follows_the_run_that_is_there() {
    let mut seen = BTreeSet::new();
    for after_ms in [1, 20, 45, 60, 79, 90, 200, 1_000, 10_000, 60_000, 89_000, 91_500] {
        let stage = stage();
        stage.next_run(takes(90).appears_after_ms(3_000));
        let rollout = stage.start().await;
        stage.clock.sleep(Duration::from_millis(after_ms)).await;
        rollout.leave();
        let left = rollout.outcome().await;
        seen.insert(left.is_ok());
        if let Some(resumed) = stage.target.resume().await.unwrap() {
            let outcome = resumed.outcome().await.unwrap();
            assert!(outcome.is_success(), "{after_ms}: {outcome}");
        }
        assert_eq!((stage.says(), stage.calls("dispatch")), ("closed".into(), 1), "{after_ms}");
    }
    assert!(seen.contains(&false), "it did leave");
}

/// What an interrupted step may send is what ends its own work, and nothing else.
#[tokio::test(start_paused = true)]
async fn nothing_is_dispatched_after_an_abort() {
    let stage = stage();
    stage.emulator.fault(FaultRule::new(Fault::SecondaryLimit).call("dispatch"));
    let rollout = stage.start().await;
    stage.clock.sleep(Duration::from_secs(2)).await;
    rollout.abort("wrong branch").await.unwrap();
    let outcome = rollout.outcome().await.unwrap();
    assert!(matches!(outcome.ended, Ended::Aborted), "{outcome:?}");
    assert_eq!((stage.calls("dispatch"), stage.says()), (1, "open".into()));
}
