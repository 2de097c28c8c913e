//! From a plan to a running driver: taking the lease, the first entries, the tasks.

mod claims;

use std::{sync::Arc, time::Duration};

use tokio::sync::{mpsc, watch};

use crate::{
    driver::{Driver, DriverSetting, ToDriver},
    error::{Error, ErrorKind, Result},
    machine::{Input, Machine},
    model::{Claim, Fence, Plan, RolloutId, Snapshot},
    prepare::Planner,
    rollout::{Ending, EventLog, Rollout, Telling, Via},
    state::{
        Expect, Wrote,
        head::{Head, Pin, TargetRecord},
        journal::{DriverHow, Entry, Fact},
        keeper::{Keeper, KeeperAction, Want},
        session::{Session, ToKeeper},
    },
    target::Target,
    task,
};

/// What became of the wish for a lease.
pub(crate) enum Lease {
    Held(Box<Held>),
    /// A living holder has it.
    Busy(Box<Head>),
    /// A rollout is unfinished.
    Unfinished(Box<Head>),
    /// Others went on with what may have been begun.
    Overtaken(Box<Head>),
    /// There is nothing to resume.
    Nothing,
}

/// How a lease is taken that somebody else may still hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Taking {
    /// To begin: a holder that exists or beats is left alone.
    ToBegin,
    /// To go on: that its process exists does not mean that a driver runs in it, so its beat has to move.
    ToGoOn,
    /// A person breaks the lease, for this reason.
    ByForce(String),
}

pub(crate) struct Held {
    pub(crate) fence: Fence,
    pub(crate) previous: Option<String>,
    pub(crate) how: DriverHow,
    /// Why, where a person breaks the lease.
    pub(crate) reason: Option<String>,
    pub(crate) head: Box<Head>,
    pub(crate) keeper: mpsc::UnboundedSender<ToKeeper>,
    pub(crate) from_keeper: mpsc::UnboundedReceiver<KeeperAction>,
    pub(crate) task: tokio::task::JoinHandle<()>,
    pub(crate) owner: String,
}

impl Target {
    /// Asks for the lease of the home claim, and waits for the answer (up to the patience W).
    pub(crate) async fn lease(&self, claim: &Claim, want: Want, taking: Taking) -> Result<Lease> {
        let shared = &self.deployer.0;
        let records = self.records();
        let me = shared.holder.clone().unwrap_or_else(|| crate::state::process::current(&*shared.random));
        let owner = owner_words(&me);
        let mut keeper =
            Keeper::new(me, claim.clone(), self.name()?.clone(), want, shared.timing, shared.rules);
        keeper.limit_tail(crate::state::head::TAIL_ENTRIES, records.store().limits().value_bytes);
        let session = Session {
            records,
            claim: claim.clone(),
            clock: Arc::clone(&shared.clock),
            random: Arc::clone(&shared.random),
            liveness: Arc::clone(&shared.liveness),
            store_call: Duration::from_millis(shared.timing.store_call_ms),
            believe_alive: taking == Taking::ToBegin,
        };
        let (to_keeper, from_driver) = mpsc::unbounded_channel();
        let (to_driver, mut from_keeper) = mpsc::unbounded_channel();
        let task = task::spawn(session.run(keeper, from_driver, to_driver));
        if matches!(taking, Taking::ByForce(_)) {
            let _ = to_keeper.send(ToKeeper::Break);
        }
        loop {
            match from_keeper.recv().await {
                Some(KeeperAction::Taken { fence, previous, how, head }) => {
                    let previous = previous.as_ref().map(owner_words);
                    let reason = match taking {
                        Taking::ByForce(reason) if how == DriverHow::Broken => Some(reason),
                        _ => None,
                    };
                    let held = Held {
                        fence,
                        previous,
                        how,
                        reason,
                        head,
                        keeper: to_keeper,
                        from_keeper,
                        task,
                        owner,
                    };
                    return Ok(Lease::Held(Box::new(held)));
                }
                Some(KeeperAction::Busy(head)) => return Ok(Lease::Busy(head)),
                Some(KeeperAction::Unfinished(head)) => return Ok(Lease::Unfinished(head)),
                Some(KeeperAction::Overtaken(head)) => return Ok(Lease::Overtaken(head)),
                Some(KeeperAction::Nothing) => return Ok(Lease::Nothing),
                Some(_) => {}
                None => {
                    return Err(Error::new(
                        ErrorKind::Store,
                        "the lease cannot be taken: the store does not answer",
                    ));
                }
            }
        }
    }

    /// Starts a new rollout of a plan.
    pub(crate) async fn launch(&self, plan: Plan, now: &Snapshot, reason: Option<String>) -> Result<Rollout> {
        plan.check()?;
        self.check_runners(&plan)?;
        let shared = &self.deployer.0;
        let records = self.records();
        let name = self.name()?.clone();
        let home = plan.claims[0].clone();
        let rollout = RolloutId::make(shared.clock.now(), shared.random.next());
        let pin = match self.pin_or_stop(&home, now).await? {
            Ok(pin) => pin,
            Err(text) => return Ok(self.refused(&name, rollout, "identity", text, now, &[])),
        };
        let plan_object = records.put_object(&plan).await?;
        let started = Fact::Started {
            from: plan.base.clone(),
            to: plan.to.clone(),
            plan: plan.approval_hash(),
            plan_object: plan_object.clone(),
            actor: shared.actor.clone(),
            reason,
            platform: plan.platform.clone(),
            rollback: plan.goal.is_rollback(),
        };
        let entries = vec![Entry::new(1, shared.clock.now(), rollout.clone(), started)];
        let fence_above = self.highest_fence(&plan.claims[1..]).await?;
        let want = Want::Begin {
            rollout: rollout.clone(),
            plan: plan_object,
            entries: entries.clone(),
            fence_above,
        };
        let lease = loop {
            let lease = self.lease(&home, want.clone(), Taking::ToBegin).await?;
            let Lease::Overtaken(head) = &lease else { break lease };
            if !records.journal(&home, head, &rollout).await?.is_empty() {
                // It was begun, its answer was lost, and somebody else went on with it.
                return self.follow_rollout(home, (**head).clone(), rollout);
            }
        };
        let held = match lease {
            Lease::Held(held) => held,
            Lease::Busy(head) => {
                let who = head.holder.as_ref().map_or_else(|| "somebody".into(), owner_words);
                let text = format!("deploy {} of {name} is running ({who})", short(&head));
                let next = [format!("status {name}"), format!("abort {name}")];
                return Ok(self.refused(&name, rollout, "unfinished", text, now, &next));
            }
            Lease::Unfinished(head) => {
                let text = format!("deploy {} of {name} is unfinished, and nobody runs it", short(&head));
                let next = [format!("resume {name}"), format!("abort {name}")];
                return Ok(self.refused(&name, rollout, "unfinished", text, now, &next));
            }
            Lease::Overtaken(_) | Lease::Nothing => {
                return Err(Error::new(ErrorKind::Unexpected, "the keeper gave no answer"));
            }
        };
        if let Some(text) = self.take_other_claims(&plan, &rollout, held.fence).await? {
            // Nothing was changed: the journal says so, and the home claim is given back.
            let refused = self.refused(&name, rollout, "unfinished", text, now, &[]);
            let entries = refused.log.entries_from(2);
            let _ = held.keeper.send(ToKeeper::Append { entries, token: None });
            let _ = held.keeper.send(ToKeeper::Release { keep_claim: false });
            let _ = held.task.await;
            return Ok(refused);
        }
        let plan = Arc::new(plan);
        let mut machine = Machine::with_rules(Arc::clone(&plan), rollout, shared.timing, shared.rules);
        machine.replay(&entries)?;
        self.drive(plan, machine, *held, entries, pin, 0, crate::platform::Versions::default()).await
    }

    /// Spawns the driver of a rollout whose lease is held.
    #[expect(clippy::too_many_arguments, reason = "this is the one place where all parts of a driver meet")]
    pub(crate) async fn drive(
        &self,
        plan: Arc<Plan>,
        machine: Machine,
        held: Held,
        stored: Vec<Entry>,
        pin: Option<Pin>,
        quiet_ms: u64,
        versions: crate::platform::Versions,
    ) -> Result<Rollout> {
        let shared = &self.deployer.0;
        let records = self.records();
        let key = records.store_key(&*shared.random).await?;
        let id = held.head.claim.clone().unwrap_or_else(|| RolloutId::from(""));
        let log = EventLog::new();
        let setting = DriverSetting {
            place: Arc::clone(&self.place),
            planner: Planner(self.clone()),
            plan: Arc::clone(&plan),
            rollout: id.clone(),
            clock: Arc::clone(&shared.clock),
            secrets: Arc::clone(&shared.secrets),
            guards: self.guards(),
            overrides: Arc::clone(&self.overrides),
            source: self.source.clone(),
            pin,
            head: Arc::new((*held.head).clone()),
            key,
            log: log.clone(),
            versions,
            stored,
            check_clock: shared.rules.permit_clock,
        };
        let (to_driver, from_handle) = mpsc::unbounded_channel::<ToDriver>();
        let (tell, ending) = watch::channel(None);
        let begun = Input::Begun {
            fence: held.fence,
            owner: held.owner,
            previous: held.previous,
            how: held.how,
            reason: held.reason,
            quiet_ms,
        };
        let driver = Driver::new(setting, machine, held.keeper);
        let others: Vec<Claim> = plan.claims[1..].to_vec();
        let (target, events, rollout) = (self.clone(), log.clone(), id.clone());
        let telling = Telling::start(&log, &self.observers);
        let clock = Arc::clone(&shared.clock);
        let keeper = KeeperTask(held.task);
        let running = task::spawn(async move {
            let _keeper = keeper;
            let ended = driver.run(begun, held.from_keeper, from_handle).await;
            if matches!(ended, Ending::Ended(_)) {
                target.give_other_claims_back(&others, &rollout).await;
            }
            events.close();
            // Whoever awaits the outcome has seen the last event before.
            telling.end(&*clock, Duration::from_secs(2)).await;
            let _ = tell.send(Some(Arc::new(ended)));
        });
        #[cfg(not(any(test, feature = "conformance")))]
        drop(running);
        Ok(Rollout {
            id,
            target: self.name()?.clone(),
            log,
            via: Via::Driver {
                to_driver,
                random: Arc::clone(&shared.random),
                #[cfg(any(test, feature = "conformance"))]
                task: running.abort_handle(),
            },
            ending,
            actor: shared.actor.clone(),
        })
    }

    /// The pin, made on the first use; or why this place cannot be the target's.
    async fn pin_or_stop(&self, home: &Claim, now: &Snapshot) -> Result<Result<Option<Pin>, String>> {
        let records = self.records();
        let name = self.name()?;
        for _ in 0..5 {
            if let Some((version, mut record)) = records.target(name).await? {
                if record.home != *home && record.pin.identity == now.identity {
                    record.home = home.clone();
                    let _ = records.write_target(&record, Expect::Is(version)).await?;
                }
                return Ok(Ok(Some(record.pin)));
            }
            if let Some((_, head)) = records.head(home).await?
                && head.target != *name
            {
                return Ok(Err(format!("{home} belongs to {}, not to {name}", head.target)));
            }
            let shared = &self.deployer.0;
            let record = TargetRecord::new(
                name.clone(),
                home.clone(),
                now.identity.clone(),
                shared.clock.now(),
                shared.actor.clone(),
            );
            match records.write_target(&record, Expect::Absent).await {
                Ok(Wrote::Stored(_)) => return Ok(Ok(Some(record.pin))),
                Ok(Wrote::Conflict) | Err(_) => {}
            }
        }
        Err(Error::new(ErrorKind::Store, format!("the record of {name} can be neither read nor written")))
    }

    /// How long a predecessor's unanswered calls may still arrive, as seen from the taking of the lease.
    pub(crate) fn quiet_ms(&self, plan: &Plan, how: DriverHow) -> u64 {
        let late = plan.capabilities.lateness;
        let bound = match how {
            // The process is gone: no signature is used any more but those that the kernel still sends.
            DriverHow::FoundDead => late.flush_ms + if late.flush_ms == 0 { 0 } else { late.apply_ms },
            _ => late.bound_ms(),
        };
        self.deployer.0.timing.quiet_ms(bound)
    }
}

/// A keeper without its driver has nobody to keep for.
struct KeeperTask(tokio::task::JoinHandle<()>);

impl Drop for KeeperTask {
    fn drop(&mut self) {
        self.0.abort();
    }
}

pub(crate) fn owner_words(holder: &crate::state::head::Holder) -> String {
    match (holder.host.as_str(), holder.pid) {
        ("", _) => holder.id.clone(),
        (host, pid) => format!("{host} pid {pid}"),
    }
}

fn short(head: &Head) -> String {
    head.claim.as_ref().map_or_else(String::new, |claim| claim.short().to_owned())
}
