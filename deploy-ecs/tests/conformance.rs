//! The platform suite over ECS, with and without a circuit breaker of the service's own.

use std::{process::ExitCode, sync::Arc};

use deploy_core::conformance::platform::{Factory, tests};
use deploy_ecs::conformance::EcsFactory;
use libtest_mimic::Arguments;

fn main() -> ExitCode {
    let factories = [false, true].map(|breaker| Arc::new(EcsFactory { breaker }) as Arc<dyn Factory>);
    libtest_mimic::run(&Arguments::from_args(), tests(factories)).exit_code()
}
