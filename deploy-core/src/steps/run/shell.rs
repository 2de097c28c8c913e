//! The supervising shell of one run, as the deployer meets it.

use std::{
    io,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use tokio::{
    io::AsyncWriteExt,
    process::{Child, ChildStderr, ChildStdin, ChildStdout},
};

use super::{DRAIN, Ended, Job, Listener, START};
use crate::{
    clock::Clock,
    context::StepLine,
    error::{EffectState, Error, ErrorKind, Result, Retry},
    model::millis,
    steps::{
        hosts::Machine,
        output::{Lines, RawLine, Redactor, Tail},
        script::{Names, Said},
    },
};

/// How long the end of a run may take that is cut off, as far as it can be seen.
const CUT_OFF: Duration = Duration::from_secs(5);
/// How long something may be left on a host to which there is no connection any more: its watcher waits for a sign of life.
const LEFT_OVER: Duration = Duration::from_secs(20);
/// How many lines of a run are told to whoever watches.
pub(super) const LINES_TOLD: usize = 10_000;
/// How much of standard output is kept where it is wanted, in bytes.
pub(super) const KEPT_BYTES: usize = 256 * 1024;

/// The supervising shell of one run.
pub(super) struct Shell<'a> {
    pub(super) name: String,
    machine: Machine<'a>,
    pub(super) child: Child,
    pub(super) stdin: Option<ChildStdin>,
    pub(super) stdout: Lines<ChildStdout>,
    pub(super) stderr: Lines<ChildStderr>,
    pub(super) stdout_open: bool,
    pub(super) stderr_open: bool,
    names: Names,
    redactor: Redactor,
    listener: Listener<'a>,
    told: usize,
    tail: Tail,
    keep: bool,
    output: String,
    /// An empty line that may be the shell's own.
    empty_line: bool,
    /// The script may have been read.
    pub(super) begun: bool,
    pub(super) not_begun: Option<Said>,
    pub(super) ended: Option<i32>,
    /// Its watcher says that nothing of it is left.
    pub(super) gone: bool,
    pub(super) status: Option<ExitStatus>,
}

impl<'a> Shell<'a> {
    pub(super) fn start(
        job: &Job<'a>,
        names: Names,
        redactor: Redactor,
        listener: Listener<'a>,
    ) -> Result<Self> {
        let mut shell = job.machine.shell(&names);
        // A group of its own: what a terminal sends to this process's group is for us to obey.
        shell.process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let name = format!("{}{}", job.name, job.machine.words());
        let cannot = |error: io::Error| {
            let program = if let Machine::Host { ssh, .. } = job.machine { ssh } else { "/bin/sh" };
            let kind = match error.kind() {
                io::ErrorKind::NotFound => ErrorKind::NotFound,
                io::ErrorKind::PermissionDenied => ErrorKind::PermissionDenied,
                _ => ErrorKind::Unavailable,
            };
            Error::new(kind, format!("{name}: {program} cannot be started: {error}"))
                .effect_as(EffectState::NotApplied)
        };
        let mut child = shell.spawn().map_err(cannot)?;
        let (Some(stdin), Some(stdout), Some(stderr)) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err(cannot(io::Error::other("it has no pipes")));
        };
        let longest = redactor.longest();
        Ok(Self {
            name,
            machine: job.machine,
            child,
            stdin: Some(stdin),
            stdout: Lines::new(stdout, longest),
            stderr: Lines::new(stderr, longest),
            stdout_open: true,
            stderr_open: true,
            names,
            redactor,
            listener,
            told: 0,
            tail: Tail::default(),
            keep: job.keep,
            output: String::new(),
            empty_line: false,
            begun: false,
            not_begun: None,
            ended: None,
            gone: false,
            status: None,
        })
    }

    /// A shell that does not hear any more says so by its end.
    pub(super) async fn say(&mut self, text: &str) {
        if let Some(stdin) = &mut self.stdin
            && stdin.write_all(text.as_bytes()).await.is_ok()
        {
            let _ = stdin.flush().await;
        }
    }

    /// A line of standard error: the shell's own, or one to be told.
    pub(super) fn heard(&mut self, line: io::Result<Option<RawLine>>) -> Option<Said> {
        let Ok(Some(line)) = line else {
            self.stderr_open = false;
            return None;
        };
        if let Some(said) = Said::of(&line.text, &self.names) {
            self.empty_line = false;
            return Some(said);
        }
        if std::mem::replace(&mut self.empty_line, line.text.is_empty()) {
            self.tell("", "stderr", false);
        }
        if !line.text.is_empty() {
            let text = self.redactor.redact_line(&line);
            self.tell(&text, "stderr", line.cut);
        }
        None
    }

    pub(super) fn printed(&mut self, line: io::Result<Option<RawLine>>) {
        let Ok(Some(line)) = line else {
            self.stdout_open = false;
            return;
        };
        let text = self.redactor.redact_line(&line);
        if self.keep && self.output.len() + text.len() < KEPT_BYTES {
            self.output.push_str(&text);
            self.output.push('\n');
        }
        self.tell(&text, "stdout", line.cut);
    }

    fn tell(&mut self, text: &str, stream: &'static str, cut: bool) {
        self.tail.push(text);
        self.told += 1;
        let line = match self.told {
            told if told < LINES_TOLD => text,
            LINES_TOLD => "(the lines that follow are not shown)",
            _ => return,
        };
        (self.listener)(StepLine { writer: self.name.clone(), stream, line: line.to_owned(), cut });
    }

    /// Reads what is left, and tells how it ended.
    pub(super) async fn leave(mut self, clock: &dyn Clock) -> Result<Ended> {
        // A shell that has ended without a word on the command was killed: what it ran ends with the pipe.
        let cut_off = self.ended.is_none();
        self.stdin = None;
        let mut drained = clock.sleep(if cut_off { CUT_OFF } else { DRAIN });
        while self.stdout_open || self.stderr_open {
            tokio::select! {
                biased;
                line = self.stderr.next(), if self.stderr_open => match self.heard(line) {
                    // What letting go of the pipe does to it is no end of its own.
                    Some(Said::Ended(129 | 137 | 143)) if cut_off => {}
                    Some(Said::Ended(exit)) => self.ended = Some(exit),
                    Some(said @ (Said::NoProgram | Said::NoDirectory)) => self.not_begun = Some(said),
                    Some(Said::Gone) => self.gone = true,
                    _ => {}
                },
                line = self.stdout.next(), if self.stdout_open => self.printed(line),
                () = &mut drained => break,
            }
        }
        if self.status.is_none() {
            // A connection is held open by what the command has left behind: that stays, and the connection goes.
            let _ = self.child.start_kill();
        }
        if let Some(said) = self.not_begun {
            return Err(self.never_begun(said));
        }
        match self.ended {
            Some(exit) => {
                Ok(Ended { exit, tail: self.tail.words(), output: std::mem::take(&mut self.output) })
            }
            None => {
                self.outwait(clock).await;
                Err(self.end_not_seen())
            }
        }
    }

    fn never_begun(&self, said: Said) -> Error {
        let what =
            if said == Said::NoProgram { "there is no such program" } else { "there is no such directory" };
        Error::new(ErrorKind::NotFound, format!("{}: {what}; nothing was run", self.name))
    }

    fn last_words(&self) -> String {
        let tail = self.tail.words();
        if tail.is_empty() { tail } else { format!(": {tail}") }
    }

    /// The shell has ended without a word on the command.
    fn end_not_seen(&self) -> Error {
        let (name, last) = (&self.name, self.last_words());
        if self.begun {
            let text = format!("the end of {name} was not seen{last}");
            return Error::new(ErrorKind::Unavailable, text);
        }
        let said = last.to_ascii_lowercase();
        let Machine::Host { host, .. } = self.machine else {
            let text = format!("{name}: its shell has ended; nothing was run{last}");
            return Error::new(ErrorKind::Unavailable, text).effect_as(EffectState::NotApplied);
        };
        let nothing = |kind, retry| {
            Error::new(kind, format!("{name}: no connection; nothing was run{last}"))
                .retry_as(retry)
                .effect_as(EffectState::NotApplied)
        };
        if said.contains("host key") || said.contains("known_hosts") {
            return nothing(ErrorKind::PermissionDenied, Retry::Never)
                .next(format!("check the key of {host}, and add it to known_hosts: `ssh {host}` asks"));
        }
        if said.contains("permission denied") || said.contains("authentication") {
            return nothing(ErrorKind::Unauthenticated, Retry::Never)
                .next(format!("`ssh -o BatchMode=yes {host} true` has to work"));
        }
        nothing(ErrorKind::Unavailable, Retry::Always)
    }

    /// Whoever is told that a run is over may rely on it: on a host out of reach, that takes a while.
    async fn outwait(&self, clock: &dyn Clock) {
        if self.begun && !self.gone && !self.machine.is_here() {
            clock.sleep(LEFT_OVER).await;
        }
    }

    /// A command may have stopped its whole group, the watcher too.
    fn wake(&self) {
        #[cfg(target_os = "linux")]
        if let (true, Some(id)) =
            (self.machine.is_here(), self.child.id().and_then(|id| i32::try_from(id).ok()))
        {
            use nix::{sys::signal, unistd::Pid};
            let _ = signal::killpg(Pid::from_raw(id), signal::Signal::SIGCONT);
        }
    }

    pub(super) async fn too_late(self, clock: &dyn Clock, time: Duration) -> Error {
        let begun = self.begun;
        let text = match begun {
            true => format!("{} was not done within {}, and was cut off", self.name, seconds(time)),
            false => format!("{}: no shell within {}; nothing was run", self.name, seconds(START)),
        };
        self.cut_off(clock, Error::new(ErrorKind::TimedOut, text)).await
    }

    /// Lets go of the pipe, which ends everything of the run, and waits for that.
    pub(super) async fn cut_off(mut self, clock: &dyn Clock, error: Error) -> Error {
        self.stdin = None;
        self.wake();
        let mut limit = clock.sleep(CUT_OFF);
        let mut late = false;
        while self.status.is_none() && !late {
            tokio::select! {
                biased;
                line = self.stderr.next(), if self.stderr_open => {
                    self.gone |= self.heard(line) == Some(Said::Gone);
                }
                line = self.stdout.next(), if self.stdout_open => self.printed(line),
                status = self.child.wait() => self.status = status.ok(),
                () = &mut limit => late = true,
            }
        }
        if late {
            let _ = self.child.start_kill();
        }
        self.outwait(clock).await;
        let effect = if self.begun { EffectState::Unknown } else { EffectState::NotApplied };
        let text = format!("{}{}", error.message(), self.last_words());
        Error::new(error.kind(), text).retry_as(error.retry()).effect_as(effect)
    }
}

fn seconds(time: Duration) -> String {
    match millis(time) {
        ms if ms % 1000 == 0 => format!("{} s", ms / 1000),
        ms => format!("{ms} ms"),
    }
}
