//! The protocol (docs/protocol.md), checked exhaustively in a small scope over the real [`Machine`] and [`Keeper`].
//!
//! [`Machine`]: crate::machine::Machine
//! [`Keeper`]: crate::state::keeper::Keeper

mod checker;
mod child;
mod deployer;
mod events;
mod properties;
mod scopes;
mod without;
mod world;

use std::sync::Arc;

use stateright::{Checker, HasDiscoveries, Model};
use world::{Budget, Class, Setting};

use crate::{
    clock::{Clock, SystemClock},
    machine::{Rules, Timing},
    model::{
        Capabilities, Claim, Goal, Identity, Lateness, Plan, Release, Revision, Snapshot, Step, StepKind,
        TargetName, Timestamp, WayBack, WriteGuard,
    },
};

const TICK: u64 = world::TICK;

fn setting(name: &'static str, class: Class, ticks: u64, budget: Budget) -> Setting {
    let lateness = match class {
        Class::P0 => Lateness::new(2 * TICK, 0, TICK, 0),
        Class::P1 | Class::P2 => Lateness::NONE,
    };
    let timing = Timing {
        heartbeat_ms: TICK,
        store_call_ms: TICK / 2,
        window_ms: 2 * TICK,
        request_ms: TICK,
        pause_ms: 0,
        rate_permille: 0,
        patience_ms: 3 * TICK,
        flush_ms: 200,
    };
    timing.check().unwrap();
    let plan = Arc::new(plan(class, lateness));
    Setting { name, class, rules: Rules::default(), budget, signed: true, ticks, timing, plan }
}

impl Setting {
    /// Requests carry no time: what the platform states instead of the signature's life is the longest from the
    /// intent to the arrival, the window and one request.
    fn unsigned(mut self) -> Self {
        self.signed = false;
        let lateness = Lateness::new(self.timing.window_ms + self.timing.request_ms, 0, TICK, 0);
        Arc::make_mut(&mut self.plan).capabilities.lateness = lateness;
        self
    }

    /// Signatures are good for so many ticks.
    fn signed_for(mut self, ticks: u64) -> Self {
        Arc::make_mut(&mut self.plan).capabilities.lateness = Lateness::new(ticks * TICK, 0, TICK, 0);
        self
    }

    /// The plan gets a step before the others that must not happen twice and cannot be observed.
    fn with_run(mut self) -> Self {
        let mut step = Step::new("run", deployer::component(), StepKind::Effect, "run");
        step.attempts = 2;
        Arc::make_mut(&mut self.plan).steps.insert(0, step);
        self
    }
}

fn plan(class: Class, lateness: Lateness) -> Plan {
    let guard = match class {
        Class::P0 => WriteGuard::None,
        Class::P1 => WriteGuard::Version,
        Class::P2 => WriteGuard::Fence,
    };
    let web = deployer::component();
    let revision = |declared: world::Declared| {
        let declares = [(web.clone(), declared.fingerprint())];
        Revision::new(format!("{declared:?}"), declares, serde_json::Value::Null)
    };
    let (old, new) = (revision(world::Declared::Old), revision(world::Declared::New));
    let capabilities = Capabilities::new(guard, lateness);
    let now = Snapshot::new(Timestamp::default(), "model", Identity::default(), capabilities, old.clone());
    let target = TargetName::new("app", "env").unwrap();
    let goal = Goal::Deploy(Release::of_what_runs());
    let mut plan = Plan::new(target, goal, &now, vec![Claim::from("c")], new);
    let effect = |id: &str| {
        let mut step = Step::new(id, web.clone(), StepKind::Effect, id);
        step.attempts = 2;
        step
    };
    plan.steps.push(effect("set"));
    plan.steps.push(Step::new("wait", web.clone(), StepKind::Await, "wait"));
    plan.way_back = WayBack::to(old, vec![effect("back")], "back");
    plan
}

/// Checks everything that the setting allows. Says what was broken, and what was never reached.
fn check(setting: Setting) -> (Vec<(&'static str, String)>, Vec<&'static str>) {
    let (name, class, clock) = (setting.name, setting.class, SystemClock);
    let began = clock.elapsed();
    let checker = setting.checker().threads(2).finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
    let (states, depth) = (checker.unique_state_count(), checker.max_depth());
    let seconds = clock.elapsed().saturating_sub(began).as_secs_f64();
    println!("model {class:?} {name}: {states} states, depth {depth}, {seconds:.1} s");
    let (mut broken, mut unreached) = (Vec::new(), Vec::new());
    for property in checker.model().properties() {
        let found = checker.discovery(property.name);
        match (property.expectation, found) {
            (stateright::Expectation::Sometimes, None) => unreached.push(property.name),
            (stateright::Expectation::Sometimes, Some(path)) if std::env::var("MODEL_PATHS").is_ok() => {
                println!("{}: {:?}", property.name, path.into_actions());
            }
            (stateright::Expectation::Always, Some(path)) => {
                let acts: Vec<String> = path.into_actions().iter().map(|act| format!("{act:?}")).collect();
                broken.push((property.name, acts.join(", ")));
            }
            _ => {}
        }
    }
    (broken, unreached)
}

/// Any scope, without building anew: `MODEL_TRY="p1 ticks=8 crashes=1 resumes=1 -barrier"`.
#[test]
fn explore() {
    let Ok(words) = std::env::var("MODEL_TRY") else { return };
    let (mut class, mut ticks, mut budget, mut rules) = (Class::P0, 10, Budget::NONE, Rules::default());
    let (mut with_run, mut signed, mut life) = (false, true, 2);
    for word in words.split_whitespace() {
        match word {
            "p0" => class = Class::P0,
            "p1" => class = Class::P1,
            "p2" => class = Class::P2,
            "run" => with_run = true,
            "unsigned" => signed = false,
            _ => match word.split_once('=') {
                Some(("life", n)) => life = n.parse().unwrap(),
                Some(("ticks", n)) => ticks = n.parse().unwrap(),
                Some((what, n)) => *budget_of(&mut budget, what) = n.parse().unwrap(),
                None => *rule_of(&mut rules, &word[1..]) = false,
            },
        }
    }
    let mut set = setting("explore", class, ticks, budget);
    set.rules = rules;
    if !signed {
        set = set.unsigned();
    }
    if class == Class::P0 && signed {
        set = set.signed_for(life);
    }
    if with_run {
        set = set.with_run();
    }
    let (broken, unreached) = check(set);
    println!("unreached: {unreached:?}");
    println!("{broken:#?}");
}

fn budget_of<'a>(budget: &'a mut Budget, name: &str) -> &'a mut u8 {
    match name {
        "crashes" => &mut budget.crashes,
        "pauses" => &mut budget.pauses,
        "store" => &mut budget.store,
        "delays" => &mut budget.delays,
        "foreign" => &mut budget.foreign,
        "foreign_new" => &mut budget.foreign_new,
        "aborts" => &mut budget.aborts,
        "red" => &mut budget.red,
        "leaves" => &mut budget.leaves,
        "partitions" => &mut budget.partitions,
        "resumes" => &mut budget.resumes,
        "breaks" => &mut budget.breaks,
        other => panic!("no budget is called {other}"),
    }
}

fn rule_of<'a>(rules: &'a mut Rules, name: &str) -> &'a mut bool {
    match name {
        "barrier" => &mut rules.barrier,
        "versions_first" => &mut rules.versions_first,
        "quiet_time" => &mut rules.quiet_time,
        "read_back" => &mut rules.read_back,
        "permit_clock" => &mut rules.permit_clock,
        "open_empty" => &mut rules.open_empty,
        "standing_undo" => &mut rules.standing_undo,
        "at_most_once" => &mut rules.at_most_once,
        "sight_only_if_sole" => &mut rules.sight_only_if_sole,
        "count_appearances" => &mut rules.count_appearances,
        "look_after_closed" => &mut rules.look_after_closed,
        "final_after_closed" => &mut rules.final_after_closed,
        "one_record" => &mut rules.one_record,
        other => panic!("no rule is called {other}"),
    }
}
