//! Our client against a server that never saw it: the calls of a deploy, step by step.
//!
//! `moto CLUSTER SERVICE CONTAINER IMAGE` deploys the image to a service that is there already, at the endpoint of
//! `AWS_ENDPOINT_URL`. Nothing is watched: such a server answers with the right shapes and rolls nothing out. Ends with
//! `RESULT passed=N failed=M`.

use std::{collections::BTreeMap, process::ExitCode, sync::Arc};

use deploy_core::{
    BoxError, Platform,
    clock::SystemClock,
    conformance::run_step,
    context::Outputs,
    model::{Fence, Goal, Release, StepId, TargetName},
    platform::PlanContext,
};
use deploy_ecs::Ecs;

/// The account that moto's credentials are of.
const ACCOUNT: &str = "123456789012";

#[derive(Default)]
struct Tally {
    passed: u32,
    failed: u32,
}

impl Tally {
    fn check(&mut self, what: &str, good: bool, seen: &dyn std::fmt::Debug) {
        if good {
            self.passed += 1;
        } else {
            self.failed += 1;
            println!("FAILED {what}: {seen:?}");
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [cluster, service, container, image] = &words[..] else {
        eprintln!("usage: moto CLUSTER SERVICE CONTAINER IMAGE");
        return ExitCode::from(2);
    };
    let mut tally = Tally::default();
    if let Err(error) = Box::pin(deploy(&mut tally, cluster, service, container, image)).await {
        tally.failed += 1;
        println!("FAILED to go on: {error:#}");
    }
    println!("RESULT passed={} failed={}", tally.passed, tally.failed);
    if tally.failed == 0 && tally.passed > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

async fn deploy(
    tally: &mut Tally,
    cluster: &str,
    service: &str,
    container: &str,
    image: &str,
) -> Result<(), BoxError> {
    let ecs = Ecs::from_env().await?;
    let caller = ecs.aws().caller().await?;
    tally.check("the caller's account", caller.account == ACCOUNT, caller);
    let absent = ecs.service(cluster, "nothing").inspect().await;
    tally.check("a service that is not there", absent.is_err(), &absent);

    let place = ecs.service(cluster, service);
    let before = place.inspect().await?;
    let family = before.serving.name.trim_end_matches(":1").to_owned();
    tally.check("what serves", before.serving.name == format!("{family}:1"), &before.serving);

    let goal = Goal::Deploy(Release::of_what_runs().image(container, image));
    let target = TargetName::new(service, "test")?;
    let plan = place.plan(&goal, &before, &PlanContext::new(target, 300_000, None)).await?;
    plan.check()?;
    // A plan without a step would pass everything below.
    let steps: Vec<&str> = plan.steps.iter().map(|step| step.id.as_str()).collect();
    tally.check("the plan registers and updates", steps.starts_with(&["register", "update"]), &steps);

    let mut outputs = Outputs::new();
    for id in ["register", "update"] {
        let id = StepId::from(id);
        let run =
            run_step(&place, &plan, &id, outputs.clone(), Fence(1), BTreeMap::new(), Arc::new(SystemClock))
                .await;
        tally.check("one effect a step", run.effects.len() == 1, &run.effects);
        outputs.insert(id, run.result?);
    }
    let after = place.inspect().await?;
    tally.check("the new revision is declared", after.serving.name == format!("{family}:2"), &after.serving);
    let again = place
        .plan(&goal, &after, &PlanContext::new(TargetName::new(service, "test")?, 300_000, None))
        .await?;
    let steps: Vec<&str> = again.steps.iter().map(|step| step.id.as_str()).collect();
    tally.check("the same again changes nothing", !steps.contains(&"update"), &steps);
    Ok(())
}
