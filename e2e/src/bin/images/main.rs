//! Images with a real Docker Engine and a real registry: built, pushed, verified, interrupted in every way.
//!
//! `cargo run -p e2e --bin images -- --quick|--full [builds] [tool] [disk]`, as root, with `dockerd`, `docker-registry`, `skopeo`, `perl`, `ip` and a
//! C compiler. `--full` adds what the Engine retries for minutes. Starts its own Engines and its own registry on loopback, and
//! ends them. The tool `ecs` is the program that `ECS_TOOL` names. Ends with `RESULT passed=N failed=M`, or with `MISSING what`.

mod builds;
mod disk;
mod proxy;
mod pushes;
mod stage;
mod tool;

use std::process::ExitCode;

use deploy_core::BoxError;
use stage::Stage;

/// What a part found: nothing, or what is wrong.
type Checked = Result<(), BoxError>;

#[derive(Default)]
struct Tally {
    passed: u32,
    failed: u32,
}

impl Tally {
    fn count(&mut self, what: &str, result: Checked) {
        match result {
            Ok(()) => {
                self.passed += 1;
                println!("ok {what}");
            }
            Err(error) => {
                self.failed += 1;
                println!("FAILED {what}: {error}");
            }
        }
    }
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> ExitCode {
    let full = std::env::args().any(|word| word == "--full");
    let mut stage = match Stage::set().await {
        Ok(stage) => stage,
        Err(error) => {
            println!("MISSING {error}");
            return ExitCode::SUCCESS;
        }
    };
    let mut tally = Tally::default();
    let parts: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let wanted = |part: &str| parts.is_empty() || parts.iter().any(|wanted| wanted == part);
    if wanted("builds") {
        builds::all(&mut stage, &mut tally).await;
        // They use what was built.
        pushes::all(&stage, &mut tally, full).await;
        tally.count("no secret in anything that was said", stage.clean());
    }
    if wanted("tool") {
        tool::all(&stage, &mut tally).await;
    }
    if wanted("disk") {
        disk::all(&stage, &mut tally).await;
    }
    println!("RESULT passed={} failed={}", tally.passed, tally.failed);
    if tally.failed == 0 && tally.passed > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// What has to be true, and what was seen.
fn expect(good: bool, seen: impl std::fmt::Debug) -> Checked {
    if good { Ok(()) } else { Err(format!("{seen:?}").into()) }
}
