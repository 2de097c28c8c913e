//! From a goal and a look to a plan. Pure.

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{
    CommandPlace,
    look::{Look, declared, is_name},
};
use crate::{
    error::{Error, ErrorKind, Result},
    model::{
        Change, Claim, Goal, Plan, Release, Revision, Snapshot, Step, StepId, StepKind, TargetName, Undo,
        WayBack, millis,
    },
    platform::PlanContext,
    report::scrub_line,
    steps::{Command, command::Words, run},
};

/// How often a deploying command is run, at most: again only where nothing was changed, or where its end was not seen.
const ATTEMPTS: u32 = 5;
/// How long it may take until everything is healthy.
const HEALTHY_MS: u64 = 600_000;

/// Where a step of the place leads, as it is in [`Step::data`]. With which command and on which host is the place's own affair,
/// also when another process goes on: whoever can write the store could have anything run otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Work {
    /// The revision that is declared when it has landed.
    pub(super) to: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    commit: Option<String>,
    /// By the command that goes back.
    back: bool,
}

impl CommandPlace {
    pub(super) fn revision(&self, name: Option<&str>, words: &str) -> Revision {
        let handle = name.map_or(serde_json::Value::Null, |name| json!(name));
        Revision::new(words, [(self.component(), declared(name))], handle)
    }

    pub(super) fn revision_of(&self, look: &Look) -> Revision {
        self.revision(look.revision.as_deref(), look.name())
    }

    /// The revision that a release is: its image, or its commit.
    fn wanted(&self, release: &Release, now: &Snapshot) -> Result<Revision> {
        let name = self.name();
        let refused = |text: String| Error::new(ErrorKind::Refused, text);
        let containers = release.images.keys().chain(release.changes.iter().map(|change| &change.container));
        if let Some(unknown) = containers.into_iter().find(|container| *container != name) {
            return Err(
                refused(format!("there is no container {unknown} here")).next(format!("it is {name}"))
            );
        }
        if let Some(change) = release.changes.first() {
            let text =
                format!("{} of {name} cannot be changed: commands deploy it, not variables", change.key);
            return Err(refused(text));
        }
        let to = match (release.images.get(name), &release.commit) {
            (Some(image), _) => image,
            (None, Some(commit)) => commit,
            (None, None) => return Ok(now.serving.clone()),
        };
        if !is_name(to) {
            return Err(refused(format!("`{to}` cannot be the name of a revision")));
        }
        Ok(self.revision(Some(to), to).built_from(release.commit.clone()))
    }

    fn write(&self, id: &str, title: String, back: bool, to: &Revision, cx: &PlanContext) -> Result<Step> {
        let name = to.handle.as_str().unwrap_or_default().to_owned();
        let work = Work { to: name, commit: to.commit.clone(), back };
        let command = self.command(&work, &cx.target)?;
        let time = command.time() + run::BESIDE;
        let mut step = Step::new(id, self.component(), StepKind::Effect, title)
            .with(json!(work))
            .within_ms(millis(time.saturating_mul(2)));
        step.attempts = ATTEMPTS;
        Ok(step)
    }

    /// The command of a step.
    pub(super) fn command(&self, work: &Work, target: &TargetName) -> Result<Command> {
        if !is_name(&work.to) {
            let text = format!("`{}` cannot be the name of a revision", scrub_line(&work.to));
            return Err(Error::new(ErrorKind::Invalid, text));
        }
        let mut words = Words::new(target, work.commit.as_deref())?;
        words.set("{revision}", "DEPLOY_REVISION", Some(&work.to));
        if work.back { &self.go_back } else { &self.deploy }.fill(&words)
    }

    pub(super) fn make(&self, goal: &Goal, now: &Snapshot, cx: &PlanContext) -> Result<Plan> {
        let to = match goal {
            Goal::Deploy(release) => self.wanted(release, now)?,
            Goal::Restore(revision) => revision.clone(),
            Goal::Adopt => now.serving.clone(),
        };
        if to.handle.is_null() && to.declared != now.serving.declared {
            let text = format!("{} cannot be put back to where nothing is", self.name());
            return Err(Error::new(ErrorKind::Refused, text));
        }
        let claim = Claim::new(format!("command:{}", self.place_words()));
        let old = &now.serving;
        let mut plan = Plan::new(cx.target.clone(), goal.clone(), now, vec![claim], to.clone());
        plan.bake_ms = cx.bake_ms;
        let title = format!("{} is healthy", to.short());
        let watch = Step::new("watch", self.component(), StepKind::Await, title).within_ms(HEALTHY_MS);
        if to.declared == old.declared {
            // What runs is what was asked for, however it was called.
            plan.to = old.clone();
        } else {
            let title = format!("deploy {} to {}", to.short(), self.place_words());
            let write = self.write("deploy", title, goal.is_rollback(), &to, cx)?;
            plan.steps.push(write);
            let before = (!old.handle.is_null()).then(|| old.name.clone());
            plan.diff.push(Change::new("revision", self.name(), before, Some(to.name.clone())));
        }
        plan.steps.push(watch);
        plan.way_back = self.way_back(&to, now, cx)?;
        if let (None, Some(step)) =
            (&plan.way_back.to, plan.steps.iter_mut().find(|step| step.id == StepId::from("deploy")))
        {
            step.undo = Undo::None { reason: plan.way_back.words.clone() };
        }
        plan.way_back.proven = plan.way_back.to.is_some() && plan.way_back.to == cx.known_good;
        Ok(plan)
    }

    fn way_back(&self, to: &Revision, now: &Snapshot, cx: &PlanContext) -> Result<WayBack> {
        let good =
            cx.known_good.as_ref().filter(|good| good.declared != to.declared && !good.handle.is_null());
        let back = good.unwrap_or(&now.serving);
        if back.handle.is_null() {
            return Ok(WayBack::none("nothing ran here before"));
        }
        let title = format!("put {} back to {}", self.place_words(), back.short());
        let step = self.write("back", title, true, back, cx)?;
        let words = format!("the command that goes back, to {}", back.short());
        Ok(WayBack::to(back.clone(), vec![step], words))
    }
}
