//! The guards that every deploy has, asked one by one.

use std::sync::Arc;

use super::*;
use crate::{
    clock::TokioClock,
    error::{Error, ErrorKind, Result},
    memory::{MemoryPlace, Shape, World},
    model::{
        Claim, Goal, Identity, Observation, Release, Revision, Scope, Step, TargetName, Timestamp, WayBack,
    },
    platform::PlanContext,
    state::{head::TargetRecord, journal::GuardResult},
};

mod commit;

fn target() -> TargetName {
    TargetName::new("shop", "test").unwrap()
}

/// A deploy that nothing is against.
async fn context() -> GuardContext {
    let clock = TokioClock::starting_at(Timestamp::from_millis(1_800_000_000_000));
    let place = Arc::new(MemoryPlace::new(World::new(Shape::Ecs, Arc::new(clock))));
    let now = place.inspect().await.unwrap();
    let goal = Goal::Deploy(Release::of_what_runs().image("app", "repo/app:ok-1"));
    let plan = place.plan(&goal, &now, &PlanContext::new(target(), 1_000, None)).await.unwrap();
    let pin = pin(now.identity.clone());
    GuardContext {
        plan: Arc::new(plan),
        now,
        pin,
        head: None,
        place,
        source: None,
        first: true,
        overrides: Arc::default(),
    }
}

fn pin(identity: Identity) -> Option<Pin> {
    let at = Timestamp::from_millis(0);
    Some(TargetRecord::new(target(), Claim::from("c"), identity, at, "dev".into()).pin)
}

#[tokio::test(start_paused = true)]
async fn another_place_than_the_pinned_one_is_refused() {
    let right = context().await;
    assert_eq!(IdentityGuard.check(&right).await.result, GuardResult::Pass);

    let elsewhere = Identity::new([("account", "999999999999")]);
    let mut pinned = right.clone();
    pinned.pin = pin(elsewhere.clone());
    let mut planned = right.clone();
    Arc::make_mut(&mut planned.plan).identity = elsewhere.clone();
    let mut moved = right.clone();
    moved.now.identity = elsewhere;
    let mut of_another = right.clone();
    let other = TargetName::new("other", "test").unwrap();
    of_another.head = Some(Arc::new(Head::first(Claim::from("c"), other)));
    for (name, mut wrong) in
        [("pinned", pinned), ("planned", planned), ("moved", moved), ("claimed", of_another)]
    {
        wrong.overrides = Arc::new([("identity".to_owned(), "I know better".to_owned())].into());
        let guards: [Arc<dyn Guard>; 1] = [Arc::new(IdentityGuard)];
        let found = ask(&guards, &wrong).await;
        assert_eq!(found[0].result, GuardResult::Refuse, "{name}: nothing overrides it");
        assert!(!found[0].next.is_empty(), "{name}: what to do is said");
    }
}

/// A place whose revisions cannot be started any more.
#[derive(Debug)]
struct Gone(Arc<dyn Platform>);

#[async_trait]
impl Platform for Gone {
    async fn inspect(&self) -> Result<Snapshot> {
        self.0.inspect().await
    }

    async fn plan(&self, goal: &Goal, now: &Snapshot, cx: &PlanContext) -> Result<Plan> {
        self.0.plan(goal, now, cx).await
    }

    async fn execute(&self, step: &Step, cx: &crate::context::StepContext) -> Result<serde_json::Value> {
        self.0.execute(step, cx).await
    }

    async fn observe(&self, scope: &Scope) -> Result<Observation> {
        self.0.observe(scope).await
    }

    async fn startable(&self, _: &Revision) -> Result<()> {
        Err(Error::new(ErrorKind::NotFound, "its image is gone"))
    }
}

#[tokio::test(start_paused = true)]
async fn a_way_back_that_cannot_be_started_is_refused_unless_a_person_takes_it() {
    let mut cx = context().await;
    let found = WayBackGuard.check(&cx).await;
    assert_eq!(found.result, GuardResult::Pass);
    assert!(found.text.contains("never proved"), "what is not proven is said: {found:?}");

    cx.place = Arc::new(Gone(Arc::clone(&cx.place)));
    let guards: [Arc<dyn Guard>; 1] = [Arc::new(WayBackGuard)];
    let found = ask(&guards, &cx).await;
    assert_eq!(found[0].result, GuardResult::Refuse);
    assert!(found[0].text.contains("its image is gone"), "{found:?}");
    cx.overrides = Arc::new([("way_back".to_owned(), "it is the first".to_owned())].into());
    let found = ask(&guards, &cx).await;
    assert_eq!(found[0].result, GuardResult::Overridden);
    assert!(found[0].text.contains("it is the first"), "the reason is kept: {found:?}");

    cx.overrides = Arc::default();
    Arc::make_mut(&mut cx.plan).way_back = WayBack::none("the first deploy");
    let found = WayBackGuard.check(&cx).await;
    assert_eq!(found.result, GuardResult::Pass);
    assert!(found.text.contains("no way back (the first deploy)"), "that there is none is said: {found:?}");
}
