//! The ECS emulator as a process of its own, for clients that are not ours.
//!
//! `ecs-emulator --listen ADDR [--speed N] [--account ID] [--region R]` serves an empty account, prints one line when
//! clients may call, and ends with SIGTERM or SIGINT.

use std::process::ExitCode;

use deploy_core::BoxError;
use deploy_ecs::emulator::{self, ListenOptions};
use tokio::signal::unix::{SignalKind, signal};

const USAGE: &str = "usage: ecs-emulator --listen ADDR [--speed N] [--account ID] [--region R]";

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let options = match options(&words) {
        Ok(options) => options,
        Err(error) => {
            eprintln!("{error}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match serve(options).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ecs-emulator: {error}");
            ExitCode::FAILURE
        }
    }
}

fn options(words: &[String]) -> Result<ListenOptions, BoxError> {
    let mut options = ListenOptions::new(([127, 0, 0, 1], 0).into());
    let mut listen = false;
    for pair in words.chunks(2) {
        let [name, value] = pair else { return Err(format!("{} needs a value", pair[0]).into()) };
        match name.as_str() {
            "--listen" => {
                options.addr = value.parse()?;
                listen = true;
            }
            "--speed" => options.speed = value.parse()?,
            "--account" => options.account.clone_from(value),
            "--region" => options.region.clone_from(value),
            other => return Err(format!("there is no option {other}").into()),
        }
    }
    if listen { Ok(options) } else { Err("--listen is missing".into()) }
}

async fn serve(options: ListenOptions) -> Result<(), BoxError> {
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let served = emulator::listen(options).await?;
    println!("{}", served.ready_line());
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
    served.shutdown().await;
    Ok(())
}
