//! The list of trials, and running them.

use std::{
    fmt,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError, mpsc},
};

use super::{
    Factory, Stop, TrialResult, capable, commands, deploys, events, kills, late, look, lost, races, refusals,
    rollbacks, stage::Stage, store,
};
use crate::model::Capabilities;

/// What a trial is given.
#[derive(Debug)]
pub(super) struct Cx<'a> {
    factory: &'a dyn Factory,
    notes: Mutex<Vec<String>>,
}

impl Cx<'_> {
    /// A stage with a fresh world.
    pub(super) async fn stage(&self) -> TrialResult<Stage> {
        Ok(Stage::new(self.factory.subject().await?, self.can()))
    }

    pub(super) fn can(&self) -> Capabilities {
        self.factory.capabilities()
    }

    /// Something worth printing.
    pub(super) fn note(&self, text: String) {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner).push(text);
    }
}

type Running<'a> = Pin<Box<dyn Future<Output = TrialResult> + 'a>>;

/// One trial of the suite.
#[derive(Clone, Copy)]
pub struct PlatformTrial {
    name: &'static str,
    run: for<'a> fn(&'a Cx<'a>) -> Running<'a>,
}

impl fmt::Debug for PlatformTrial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PlatformTrial({})", self.name)
    }
}

impl PlatformTrial {
    /// Its name: `module::what_holds`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Tries a platform, on a runtime of its own. Returns what is worth printing.
    ///
    /// # Errors
    /// Why it was not run, or what was wrong.
    pub fn run(&self, factory: &dyn Factory) -> TrialResult<Vec<String>> {
        let runtime = factory.runtime().map_err(|error| Stop::Failed(error.to_string()))?;
        let cx = Cx { factory, notes: Mutex::default() };
        runtime.block_on((self.run)(&cx))?;
        Ok(cx.notes.into_inner().unwrap_or_else(PoisonError::into_inner))
    }
}

macro_rules! trials {
    ($($module:ident::$name:ident,)+) => {
        vec![$(PlatformTrial {
            name: concat!(stringify!($module), "::", stringify!($name)),
            run: |cx| Box::pin($module::$name(cx)),
        }),+]
    };
}

/// All trials.
#[must_use]
pub fn trials() -> Vec<PlatformTrial> {
    trials![
        look::inspecting_twice_is_the_same,
        look::planning_twice_is_the_same_and_writes_nothing,
        look::a_plan_survives_being_stored,
        look::an_unknown_container_is_refused,
        capable::what_the_place_says_of_itself,
        capable::steps_groups_gates_and_remedies,
        capable::what_cannot_be_repeated_is_marked,
        deploys::a_good_release_is_deployed_and_known_good,
        deploys::the_same_release_again_changes_nothing,
        deploys::configuration_alone_is_a_release,
        deploys::a_crashing_release_is_undone,
        deploys::a_missing_image_is_undone,
        deploys::an_unhealthy_release_is_undone,
        deploys::a_flaky_release_is_undone_in_the_bake,
        deploys::the_platforms_own_revert_is_no_success,
        deploys::a_throttled_call_is_made_again,
        deploys::a_refused_first_call_changes_nothing,
        rollbacks::to_the_last_known_good,
        rollbacks::to_a_named_revision,
        rollbacks::without_known_good_it_is_an_error,
        rollbacks::adopting_makes_known_good,
        rollbacks::a_known_good_is_the_proven_way_back,
        refusals::a_foreign_change_between_plan_and_apply,
        refusals::a_foreign_change_before_the_first_call,
        refusals::a_foreign_change_during_the_rollout_stays,
        refusals::another_identity_is_refused,
        refusals::a_claim_belongs_to_one_target,
        refusals::another_approval_is_refused,
        refusals::a_second_deploy_is_refused,
        races::two_deployers_twenty_times,
        commands::abort_during_apply,
        commands::abort_during_watch,
        commands::abort_during_bake,
        commands::abort_while_going_back_is_refused,
        commands::pause_and_go_on,
        commands::abandoning_a_rollback,
        commands::leave_and_resume,
        commands::from_another_process,
        events::gapless_and_replayed,
        events::followed_by_another_process,
        kills::a_good_deploy_killed_at_every_write,
        kills::a_bad_deploy_killed_at_every_write,
        kills::a_rollback_killed_at_every_write,
        lost::answers_of_a_good_deploy,
        lost::answers_of_a_bad_deploy,
        late::calls_of_a_bad_deploy,
        late::calls_of_a_good_deploy,
        store::mutations_cost_one_write_each_and_one_more,
        store::going_back_without_the_store,
        store::answers_of_the_store_are_lost,
    ]
}

/// All trials over these platforms as a runnable list, named `platform::module::trial`. An excluded trial is run
/// too: it is reported as ignored while it fails, and fails the run once it passes.
pub fn tests(factories: impl IntoIterator<Item = Arc<dyn Factory>>) -> Vec<libtest_mimic::Trial> {
    let mut all = Vec::new();
    for factory in factories {
        let mut exclusions = factory.exclusions();
        for trial in trials() {
            let at = exclusions.iter().position(|(name, _)| *name == trial.name);
            let excluded = at.map(|at| exclusions.swap_remove(at).1);
            let name = format!("{}::{}", factory.name(), trial.name);
            let factory = Arc::clone(&factory);
            all.push(libtest_mimic::Trial::ignorable_test(name, move || one(trial, &factory, excluded)));
        }
        for (name, _) in exclusions {
            let text = format!("{}::{name}", factory.name());
            let gone = move || Err(format!("excludes the trial {name}, which does not exist").into());
            all.push(libtest_mimic::Trial::test(text, gone));
        }
    }
    all
}

fn one(
    trial: PlatformTrial,
    factory: &Arc<dyn Factory>,
    excluded: Option<&'static str>,
) -> Result<libtest_mimic::Completion, libtest_mimic::Failed> {
    use libtest_mimic::Completion;
    // On a thread of its own: in virtual time, what turns round for ever never comes to an end by itself.
    let (say, said) = mpsc::channel();
    let running = Arc::clone(factory);
    std::thread::spawn(move || {
        let _ = say.send(trial.run(&*running));
    });
    let ended = said.recv_timeout(factory.patience()).unwrap_or_else(|error| {
        Err(Stop::Failed(match error {
            mpsc::RecvTimeoutError::Timeout => {
                format!("stuck for {} seconds of real time", factory.patience().as_secs())
            }
            mpsc::RecvTimeoutError::Disconnected => "it panicked".to_owned(),
        }))
    });
    match (ended, excluded) {
        (Err(Stop::NotRun(needs)), _) => {
            Ok(Completion::ignored_with(format!("not run: {} needs {needs}", trial.name)))
        }
        (Ok(_), Some(reason)) => {
            Err(format!("it passes, and is excluded ({reason}): take the exclusion out").into())
        }
        (Err(Stop::Failed(text)), Some(reason)) => {
            Ok(Completion::ignored_with(format!("excluded: {reason}; it fails with: {text}")))
        }
        (Ok(notes), None) => {
            for note in notes {
                println!("{}::{}: {note}", factory.name(), trial.name);
            }
            Ok(Completion::Completed)
        }
        (Err(Stop::Failed(text)), None) => Err(text.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{conformance::platform::MemoryFactory, memory::Shape};

    fn trial(wanted: &str) -> PlatformTrial {
        trials().into_iter().find(|trial| trial.name == wanted).unwrap()
    }

    #[test]
    fn an_excluded_trial_that_passes_fails_the_run() {
        let factory: Arc<dyn Factory> = Arc::new(MemoryFactory(Shape::Kubernetes));
        let passes = trial("look::inspecting_twice_is_the_same");
        assert!(one(passes, &factory, None).is_ok());
        let failed = one(passes, &factory, Some("it never worked")).err().unwrap();
        assert!(failed.message().unwrap().contains("take the exclusion out"));
    }

    #[test]
    fn what_is_not_run_says_what_it_needs() {
        let factory = MemoryFactory(Shape::Terraform);
        let ended = trial("deploys::a_flaky_release_is_undone_in_the_bake").run(&factory);
        assert_eq!(ended, Err(Stop::NotRun("a workspace that tells health".into())));
    }

    #[test]
    fn names_are_unique() {
        let mut names: Vec<&str> = trials().iter().map(|trial| trial.name).collect();
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all);
    }
}
