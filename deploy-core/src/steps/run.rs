//! One supervised run of a command: from the shell's start to the end of everything that it has started.

mod shell;
#[cfg(all(test, target_os = "linux"))]
mod tests;

use std::{pin::Pin, time::Duration};

use self::shell::Shell;
use super::{
    command::Command,
    hosts::Machine,
    output::Redactor,
    script::{self, BEAT_MS, Names, Said, Task},
};
use crate::{
    clock::{Clock, Random, SystemRandom},
    context::StepLine,
    error::{Error, ErrorKind, Result},
    model::Secret,
    report::scrub_line,
};

/// How long it may take until the shell is there, a connection included.
const START: Duration = Duration::from_secs(20);
/// The longest that a run takes beside the time that its command may take.
pub(super) const BESIDE: Duration = Duration::from_secs(60);
/// How long the shell may take to leave when the command has ended.
const LEAVING: Duration = Duration::from_secs(5);
/// How long output may come after that: what a process left behind may hold the pipe for ever.
const DRAIN: Duration = Duration::from_millis(200);

/// What is run, and how it is seen.
#[derive(Debug)]
pub(super) struct Job<'a> {
    /// What it is called in messages.
    pub(super) name: String,
    pub(super) command: &'a Command,
    pub(super) machine: Machine<'a>,
    /// Variables from secrets.
    pub(super) secrets: Vec<(String, Secret)>,
    /// Standard output is wanted as a whole.
    pub(super) keep: bool,
}

/// How a command ended whose end was seen.
#[derive(Debug, Clone)]
pub(super) struct Ended {
    pub(super) exit: i32,
    /// The last lines, without secrets; empty if it said nothing.
    pub(super) tail: String,
    /// Standard output, where it was wanted.
    pub(super) output: String,
}

type Waiting<'a> = Pin<Box<dyn Future<Output = ()> + Send + 'a>>;
/// Hears every line.
pub(super) type Listener<'a> = &'a (dyn Fn(StepLine) + Send + Sync);

/// Runs it. `stop` cuts it off when it is ready; `start` is asked right before the command is begun. When the returned future
/// is dropped, or this process dies, everything of the run is ended too.
///
/// Costs a shell with its watcher and its reader beside the command, and three short processes every few seconds.
///
/// # Errors
/// Only where the end was not seen: not applied if nothing was begun, else unknown.
pub(super) async fn run(
    job: Job<'_>,
    clock: &dyn Clock,
    mut stop: Waiting<'_>,
    start: impl FnOnce() -> Result<()>,
    listener: Listener<'_>,
) -> Result<Ended> {
    let names = names();
    let redactor = Redactor::new(job.secrets.iter().map(|(_, secret)| secret.expose()));
    let mut env = job.command.environment(job.machine.is_here());
    env.extend(job.secrets.iter().map(|(name, secret)| (name.clone(), secret.expose().to_owned())));
    let task = Task {
        program: job.command.program(),
        args: job.command.arguments(),
        dir: job.command.directory(),
        env: &env,
    };
    let script = script::script(&names, &task);
    if let Some((name, _)) = env.iter().find(|(_, value)| value.contains('\0')) {
        return Err(Error::new(ErrorKind::Invalid, format!("the variable {name} has a zero byte")));
    }
    let mut shell = Shell::start(&job, names, redactor, listener)?;
    let mut limit = clock.sleep(START);
    let mut beat = clock.sleep(Duration::from_millis(BEAT_MS));
    let mut start = Some(start);
    loop {
        tokio::select! {
            biased;
            () = &mut stop, if shell.ended.is_none() => {
                let error = Error::new(ErrorKind::Interrupted, format!("{} was cut off", shell.name));
                return Err(shell.cut_off(clock, error).await);
            }
            () = &mut limit => {
                if shell.ended.is_some() {
                    return shell.leave(clock).await;
                }
                return Err(shell.too_late(clock, job.command.time()).await);
            }
            () = &mut beat => {
                shell.say("alive\n").await;
                beat = clock.sleep(Duration::from_millis(BEAT_MS));
            }
            line = shell.stderr.next(), if shell.stderr_open => match shell.heard(line) {
                None | Some(Said::Started) => {}
                Some(Said::Ready) => if let Some(start) = start.take() {
                    start()?;
                    shell.begun = true;
                    limit = clock.sleep(job.command.time());
                    tokio::select! {
                        biased;
                        () = &mut stop => {
                            let error = Error::new(ErrorKind::Interrupted, format!("{} was cut off", shell.name));
                            return Err(shell.cut_off(clock, error).await);
                        }
                        () = &mut limit => return Err(shell.too_late(clock, job.command.time()).await),
                        () = shell.say(&script) => {}
                    }
                }
                Some(said @ (Said::NoProgram | Said::NoDirectory)) => shell.not_begun = Some(said),
                Some(Said::Ended(exit)) => {
                    shell.ended = Some(exit);
                    shell.say("done\n").await;
                    shell.stdin = None;
                    limit = clock.sleep(LEAVING);
                }
                Some(Said::Closed) => limit = clock.sleep(DRAIN),
                Some(Said::Gone) => shell.gone = true,
            },
            line = shell.stdout.next(), if shell.stdout_open => shell.printed(line),
            status = shell.child.wait() => {
                shell.status = status.ok();
                return shell.leave(clock).await;
            }
        }
    }
}

fn names() -> Names {
    let random = || format!("{:016x}{:016x}", SystemRandom.next(), SystemRandom.next());
    Names { token: format!("dk-{}", random()), mark: random() }
}

impl Ended {
    /// `exit 3: last lines`, for a command that says that it failed.
    pub(super) fn failure(&self, name: &str) -> String {
        let how = match self.exit {
            exit @ 129..=192 => format!("signal {}", exit - 128),
            exit => format!("exit {exit}"),
        };
        let tail = if self.tail.is_empty() { String::new() } else { format!(": {}", self.tail) };
        scrub_line(&format!("{name}: {how}{tail}"))
    }
}
