//! An emulated service, and one step or look at a time.
#![allow(dead_code, clippy::allow_attributes, reason = "every test file uses its own part of this")]

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use deploy_core::{
    Platform, Result,
    clock::{Clock, TokioClock},
    conformance::{StepRun, run_step},
    context::Outputs,
    model::{
        Fence, Goal, Motion, Observation, Plan, Release, Revision, Scope, StepId, TargetName, Timestamp,
    },
    platform::PlanContext,
};
use deploy_ecs::{
    Ecs, Service,
    emulator::{Api, Config, Emulator, Seed},
};
use serde_json::{Value, json};

pub(crate) const START_MS: i64 = 1_767_225_600_000;

pub(crate) struct Place {
    pub(crate) emulator: Emulator,
    pub(crate) clock: Arc<TokioClock>,
    pub(crate) ecs: Ecs,
    pub(crate) service: Service,
}

/// `prod-website/prod-api`, two tasks of `prod-api-task:1`, image `shop-api:ok-1`.
pub(crate) fn place() -> Place {
    place_of(Config::default(), |seed| seed)
}

pub(crate) fn place_of(config: Config, change: impl FnOnce(Seed) -> Seed) -> Place {
    let emulator = Emulator::new(config);
    let image = emulator.image("shop-api", "ok-1");
    let seed = change(Seed::new("prod-website", "prod-api", "prod-api-task", "api", &image, 2));
    emulator.seed(&seed).expect("a service");
    let clock = Arc::new(TokioClock::starting_at(Timestamp::from_millis(START_MS)));
    let ecs = Ecs::emulated(&emulator, clock.clone()).expect("a connection");
    let service = ecs.service("prod-website", "prod-api");
    emulator.reset_calls();
    Place { emulator, clock, ecs, service }
}

impl Place {
    pub(crate) fn image(&self, tag: &str) -> Goal {
        Goal::Deploy(Release::of_what_runs().image("api", self.emulator.image("shop-api", tag)))
    }

    pub(crate) async fn plan(&self, goal: &Goal) -> Result<Plan> {
        self.plan_with(goal, None).await
    }

    pub(crate) async fn plan_with(&self, goal: &Goal, known_good: Option<Revision>) -> Result<Plan> {
        let now = self.service.inspect().await?;
        let target = TargetName::new("prod-api", "production").expect("a name");
        let plan = self.service.plan(goal, &now, &PlanContext::new(target, 300_000, known_good)).await?;
        plan.check()?;
        Ok(plan)
    }

    pub(crate) async fn step(&self, plan: &Plan, step: &str, outputs: &Outputs) -> StepRun {
        let (clock, step): (Arc<dyn Clock>, _) = (self.clock.clone(), StepId::from(step));
        run_step(&self.service, plan, &step, outputs.clone(), Fence(1), BTreeMap::new(), clock).await
    }

    /// Runs a step that must succeed, and keeps its output.
    pub(crate) async fn done(&self, plan: &Plan, step: &str, outputs: &mut Outputs) -> Value {
        let value = self.step(plan, step, outputs).await.result.expect(step);
        outputs.insert(StepId::from(step), value.clone());
        value
    }

    /// Registers and updates.
    pub(crate) async fn forward(&self, plan: &Plan) -> Outputs {
        let mut outputs = Outputs::new();
        self.done(plan, "register", &mut outputs).await;
        self.done(plan, "update", &mut outputs).await;
        outputs
    }

    /// Looks until the motion is no longer `Progressing` or a signal decides; at most so many seconds.
    pub(crate) async fn watch(&self, scope: &Scope, seconds: u64) -> Watched {
        let start = self.clock.elapsed();
        let mut looks = 0;
        loop {
            let seen = self.service.observe(scope).await.expect("a look");
            looks += 1;
            let took = self.clock.elapsed() - start;
            let decided = seen.signals.iter().any(deploy_core::model::Signal::decides);
            if seen.motion != Motion::Progressing || decided || took > Duration::from_secs(seconds) {
                return Watched { seen, looks, took };
            }
            self.clock.sleep(Duration::from_millis(seen.look_again_ms)).await;
        }
    }

    pub(crate) fn scope(&self, plan: &Plan, step: &str, outputs: &Outputs) -> Scope {
        self.service.scope(plan, &StepId::from(step), outputs).expect("a scope")
    }

    /// Any call of ECS, as somebody else would make it.
    pub(crate) fn ecs(&self, action: &str, body: &Value) -> Value {
        self.emulator.call(Api::Ecs, action, body).expect(action)
    }

    /// Registers a revision with these keys beside the usual ones, and lets the service run it.
    pub(crate) fn runs_with(&self, keys: &Value) {
        let image = self.emulator.image("shop-api", "ok-1");
        let container = json!({"name": "api", "image": image, "essential": true});
        let mut body = json!({"family": "prod-api-task", "containerDefinitions": [container], "cpu": "256",
            "memory": "512", "networkMode": "awsvpc"});
        for (key, value) in keys.as_object().into_iter().flatten() {
            body[key] = value.clone();
        }
        self.ecs("RegisterTaskDefinition", &body);
        let network = json!({"awsvpcConfiguration": {"subnets": ["subnet-0a1b2c3d"]}});
        self.ecs(
            "UpdateService",
            &json!({"cluster": "prod-website", "service": "prod-api", "taskDefinition": "prod-api-task",
                "networkConfiguration": network}),
        );
        self.emulator.skip_ms(300_000);
    }

    /// Any call of ECR, likewise.
    pub(crate) fn ecr(&self, action: &str, body: &Value) -> Value {
        self.emulator.call(Api::Ecr, action, body).expect(action)
    }
}

pub(crate) struct Watched {
    pub(crate) seen: Observation,
    pub(crate) looks: u32,
    pub(crate) took: Duration,
}
