//! The command-line tools: one grammar, one set of screens, one meaning of exit codes. A tool adds its platform.

mod backend;
mod change;
mod command;
mod doctor;
mod envelope;
mod grammar;
mod logs;
mod look;
mod plan;
mod session;
mod wish;

use std::process::ExitCode;

use deploy_kit::{Error, ErrorKind, Result};

pub use backend::{Backend, Connected, Crossing};
pub use grammar::Cli;

use grammar::Command;
use session::Session;

/// Runs the command that was given, and tells the exit code: 0 done as asked; 1 unexpected; 2 usage or configuration; 3
/// refused, nothing changed; 4 went back; 5 a person is needed; 6 aborted or superseded; 7 this process left.
pub async fn run(tool: &'static str, backend: &dyn Backend, cli: Cli) -> ExitCode {
    match dispatch(tool, backend, cli).await {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            complain(&error);
            ExitCode::from(exit_of(&error))
        }
    }
}

fn complain(error: &Error) {
    eprintln!("error: {}", error.message());
    if let Some(next) = error.what_next() {
        eprintln!("  {next}");
    }
}

fn exit_of(error: &Error) -> u8 {
    match error.kind() {
        ErrorKind::NotSucceeded => error.outcome().map_or(1, deploy_kit::model::Outcome::exit),
        ErrorKind::Invalid | ErrorKind::Unsupported | ErrorKind::NotFound | ErrorKind::Unauthenticated => 2,
        ErrorKind::Refused | ErrorKind::Busy => 3,
        ErrorKind::Interrupted | ErrorKind::LeaseLost => crate::follow::LEFT,
        _ => 1,
    }
}

/// A part of the grammar that this build cannot serve: said by name, never ignored.
fn not_built(what: &str) -> Error {
    Error::new(ErrorKind::Unsupported, format!("{what}: not built yet"))
}

async fn dispatch(tool: &'static str, backend: &dyn Backend, cli: Cli) -> Result<u8> {
    if let Command::Emulator { listen, speed } = &cli.command {
        return backend.serve_emulator(*listen, *speed).await.map(|()| 0);
    }
    let session = Session::open(tool, backend, &cli)?;
    let done = match cli.command {
        Command::Plan(given) => plan::plan(&session, &given).await,
        Command::Deploy(given) => change::deploy(&session, &given).await,
        Command::Rollback(given) => change::rollback(&session, &given).await,
        Command::Resume { target } => change::resume(&session, target.as_deref()).await,
        Command::Status { target } => look::status(&session, target.as_deref()).await,
        Command::History { target, limit } => look::history(&session, target.as_deref(), limit).await,
        Command::Config { target } => look::config(&session, target.as_deref()),
        Command::Logs(given) => logs::logs(&session, &given).await,
        Command::Pause { target, reason } => command::pause(&session, target.as_deref(), reason).await,
        Command::Promote { target } => command::promote(&session, target.as_deref()).await,
        Command::Abort { target, reason } => command::abort(&session, target.as_deref(), reason).await,
        Command::Pin { target, reason } => command::pin(&session, target.as_deref(), &reason).await,
        Command::Doctor { target } => doctor::doctor(&session, target.as_deref()).await,
        Command::Hold { .. } => Err(not_built("hold")),
        Command::Unhold { .. } => Err(not_built("unhold")),
        Command::Check { target } => session
            .one(target.as_deref())
            .and_then(|target| Err(not_built("check").next(format!("{} has no checks", target.name)))),
        Command::Emulator { .. } => Ok(0),
    };
    backend.close().await?;
    done
}
