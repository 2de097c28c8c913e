//! A place of so many rows: each is written by one mutation, and done at once. What is left is the cost of ours.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use deploy_core::{
    Platform, Result,
    context::StepContext,
    model::{
        Capabilities, Claim, Component, Fingerprint, Goal, Identity, Lateness, Motion, Observation, Plan,
        Revision, Scope, Snapshot, Step, StepKind, Timestamp, WayBack, WriteGuard,
    },
    platform::PlanContext,
};
use serde_json::{Value, json};

/// The place. Clones are the same one.
#[derive(Debug, Clone)]
pub struct Rows {
    rows: Arc<Mutex<(Vec<String>, usize)>>,
    look: Duration,
}

impl Rows {
    /// So many rows; looking at them takes so long.
    #[must_use]
    pub fn new(rows: usize, look: Duration) -> Self {
        Self { rows: Arc::new(Mutex::new((vec!["old".to_owned(); rows], 0))), look }
    }

    /// How many mutations were made.
    #[must_use]
    pub fn mutations(&self) -> usize {
        self.lock().1
    }

    fn lock(&self) -> MutexGuard<'_, (Vec<String>, usize)> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn revision(rows: &[String]) -> Revision {
        let declared = rows.iter().enumerate().map(|(at, text)| (row(at), Fingerprint::from(&**text)));
        Revision::new(rows.first().map_or("", String::as_str), declared, json!(rows))
    }

    #[expect(clippy::disallowed_methods, reason = "it is a platform's time that passes here")]
    async fn look(&self) {
        if !self.look.is_zero() {
            tokio::time::sleep(self.look).await;
        }
    }
}

fn row(at: usize) -> Component {
    Component::new(format!("row-{at}"))
}

#[async_trait]
impl Platform for Rows {
    async fn inspect(&self) -> Result<Snapshot> {
        self.look().await;
        let can = Capabilities::new(WriteGuard::None, Lateness::NONE);
        let here = Identity::new([("place", "rows")]);
        let now = Timestamp::from_millis(1_800_000_000_000);
        Ok(Snapshot::new(now, "rows", here, can, Self::revision(&self.lock().0)))
    }

    async fn plan(&self, goal: &Goal, now: &Snapshot, cx: &PlanContext) -> Result<Plan> {
        let rows = self.lock().0.len();
        let to = match goal {
            Goal::Deploy(release) => Self::revision(&vec![release.images["rows"].clone(); rows]),
            Goal::Restore(revision) => revision.clone(),
            _ => now.serving.clone(),
        };
        let claims = vec![Claim::from("rows")];
        let mut plan = Plan::new(cx.target.clone(), goal.clone(), now, claims, to.clone());
        let write = |id: &str, at: usize, text: &str| {
            let id = format!("{id}-{at}");
            Step::new(id, row(at), StepKind::Effect, format!("write row {at}")).with(json!([at, text]))
        };
        plan.steps = (0..rows).map(|at| write("write", at, &to.name)).collect();
        let undo = (0..rows).map(|at| write("back", at, &now.serving.name)).collect();
        plan.way_back = WayBack::to(now.serving.clone(), undo, "write what was there");
        plan.bake_ms = cx.bake_ms;
        Ok(plan)
    }

    async fn execute(&self, step: &Step, cx: &StepContext) -> Result<Value> {
        let at = usize::try_from(step.data[0].as_u64().unwrap_or(0)).unwrap_or(0);
        let text = step.data[1].as_str().unwrap_or_default().to_owned();
        let declared = Fingerprint::from(&*text);
        cx.effect("write", json!({ "row": at, "to": text }))
            .declares(row(at), declared)
            .idempotent(|permit| async move {
                permit.check()?;
                let mut rows = self.lock();
                rows.0[at] = text;
                rows.1 += 1;
                Ok(Value::Null)
            })
            .await
    }

    async fn observe(&self, scope: &Scope) -> Result<Observation> {
        self.look().await;
        let component = scope.component().clone();
        let declared = Self::revision(&self.lock().0).declared[&component].clone();
        let done = scope.declared() == Some(&declared);
        let motion = if done { Motion::Done } else { Motion::Foreign { revision: None, by: None } };
        // Never before the effect that it shows: the outcome rests on looks that are newer.
        let at = Timestamp::from_millis(i64::MAX / 2);
        Ok(Observation::new(at, component, declared, motion))
    }
}
