//! The platform suite over a place that consists of commands: daemons that are files, and scripts that move them.

#[cfg(target_os = "linux")]
mod frozen;
#[cfg(target_os = "linux")]
mod world;

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    use std::sync::Arc;

    use deploy_core::conformance::platform::{Factory, tests};
    use libtest_mimic::Arguments;

    let factory: Arc<dyn Factory> = Arc::new(world::DaemonFactory);
    libtest_mimic::run(&Arguments::from_args(), tests([factory])).exit_code()
}

#[cfg(not(target_os = "linux"))]
fn main() {}
