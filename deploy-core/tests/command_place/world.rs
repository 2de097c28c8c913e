//! A daemon that is a folder, and the three scripts that move it.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use deploy_core::{
    Error, ErrorKind, Platform, Result,
    clock::{Clock, TokioClock},
    conformance::platform::{Factory, Failing, Fault, Subject, Truth, Unsupported, Word},
    model::{Capabilities, Lateness, Release, Timestamp, WriteGuard},
    steps::{Command, CommandPlace},
};
use tempfile::TempDir;

use crate::frozen::Frozen;

/// How long a release takes to start, and a flaky one to fail, in milliseconds.
const START_MS: i64 = 5_000;
const FLAKY_MS: i64 = 20_000;

/// Sets the daemon to a revision. The fault that is asked for comes with the mutation that is asked for.
const SET: &str = r#"
cd "$WORLD" || exit 1
fault=none
if [ -f fault ]; then
  read -r nth kind < fault
  if [ "$nth" -le 1 ]; then fault=$kind; rm fault; else echo "$((nth - 1)) $kind" > fault; fi
fi
case $fault in
  throttle) exit 75;;
  refuse) echo "not allowed" >&2; exit 77;;
  lose-request) kill -9 "$PPID"; exit 0;;
esac
case $DEPLOY_REVISION in nopull*) echo "no such image: $DEPLOY_REVISION" >&2; exit 77;; esac
if [ "$(cat declared)" != "$DEPLOY_REVISION" ]; then
  cp now "next.$$" && mv "next.$$" since
  echo "$DEPLOY_REVISION" > "next.$$" && mv "next.$$" declared
  echo "$DEPLOY_REVISION" >> writes
  { echo "$DEPLOY_REVISION"; grep -vxF -- "$DEPLOY_REVISION" revisions; } > "next.$$"; mv "next.$$" revisions
fi
if [ "$fault" = lose-answer ]; then kill -9 "$PPID"; fi
echo "set to $DEPLOY_REVISION"
"#;

/// Says what it does.
const LOOK: &str = r#"
cd "$WORLD" || exit 1
revision=$(cat declared)
age=$(($(cat now) - $(cat since)))
healthy=2
failed=
if [ "$age" -lt 5000 ]; then healthy=0; fi
case $revision in
  crash*) healthy=0; if [ "$age" -ge 5000 ]; then failed="exit 1, again and again"; fi;;
  unhealthy*) healthy=0; if [ "$age" -ge 5000 ]; then failed="GET /health 503"; fi;;
  flaky*) if [ "$age" -ge 20000 ]; then healthy=0; failed="exit 1 after 15 s"; fi;;
esac
list=$(sed 's/.*/"&"/' revisions | paste -sd , -)
printf '{"revision": "%s", "healthy": %s, "wanted": 2, "failed": "%s", "revisions": [%s], "identity": {"machine": "%s"}}\n' \
  "$revision" "$healthy" "$failed" "$list" "$(cat machine)"
"#;

/// Makes daemons.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DaemonFactory;

#[async_trait]
impl Factory for DaemonFactory {
    fn name(&self) -> String {
        "command".to_owned()
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::new(WriteGuard::None, Lateness::new(0, 0, 20_000, 2_000))
    }

    async fn subject(&self) -> Result<Box<dyn Subject>> {
        let folder = tempfile::tempdir().map_err(failed)?;
        let clock = TokioClock::starting_at(Timestamp::from_millis(1_800_000_000_000));
        let daemon = Daemon {
            path: folder.path().to_owned(),
            folder,
            clock: Arc::new(clock),
            foreign: Mutex::default(),
        };
        let long_ago = (daemon.now() - 3_600_000).to_string();
        for (name, text) in [
            ("set", SET),
            ("look", LOOK),
            ("declared", "ok-0\n"),
            ("revisions", "ok-0\n"),
            ("machine", "m1"),
            ("writes", ""),
            ("since", &long_ago),
        ] {
            daemon.write(name, text)?;
        }
        Ok(Box::new(daemon))
    }

    fn exclusions(&self) -> Vec<(&'static str, &'static str)> {
        vec![(
            "deploys::configuration_alone_is_a_release",
            "a revision of commands is a name: what is configured beside it is not theirs to change",
        )]
    }

    /// Every look is some processes.
    fn patience(&self) -> Duration {
        Duration::from_secs(300)
    }
}

/// One daemon.
#[derive(Debug)]
struct Daemon {
    folder: TempDir,
    path: PathBuf,
    clock: Arc<TokioClock>,
    /// How many foreign changes there were, and what the last one declared.
    foreign: Mutex<(u32, String)>,
}

/// Scripts that run at the same time read the old text or the new one.
pub(crate) fn replace(folder: &Path, name: &str, text: &str) -> std::io::Result<()> {
    let next = folder.join(format!("{name}.next"));
    fs::write(&next, text)?;
    fs::rename(next, folder.join(name))
}

fn failed(error: std::io::Error) -> Error {
    Error::new(ErrorKind::Unexpected, format!("the daemon's folder: {error}"))
}

impl Daemon {
    fn now(&self) -> i64 {
        self.clock.now().as_millis()
    }

    fn write(&self, name: &str, text: &str) -> Result<()> {
        replace(&self.path, name, text).map_err(failed)
    }

    fn read(&self, name: &str) -> Result<String> {
        let text = fs::read_to_string(self.path.join(name)).map_err(failed)?;
        Ok(text.trim().to_owned())
    }

    fn script(&self, name: &str) -> Command {
        let path: &Path = &self.path;
        Command::new("sh").arg(path.join(name).to_string_lossy()).env("WORLD", path.to_string_lossy())
    }

    fn place(&self) -> CommandPlace {
        let clock: Arc<dyn Clock> = self.clock.clone();
        CommandPlace::new("daemon", self.script("set"), self.script("look"), self.script("set")).clock(clock)
    }
}

#[async_trait]
impl Subject for Daemon {
    fn place(&self) -> Arc<dyn Platform> {
        Arc::new(Frozen {
            place: Daemon::place(self),
            clock: self.clock.clone(),
            folder: self.folder.path().to_owned(),
        })
    }

    fn clock(&self) -> Arc<dyn Clock> {
        self.clock.clone()
    }

    fn container(&self) -> String {
        "daemon".to_owned()
    }

    fn release(&self, word: Word, number: u32) -> Result<Release, Unsupported> {
        match word {
            Word::Reverts => Err(Unsupported::new("a daemon that goes back by itself")),
            word => Ok(Release::of_what_runs().image("daemon", format!("{}-{number}", word.word()))),
        }
    }

    fn failing(&self, word: Word) -> Failing {
        match word {
            Word::NoPull => Failing::refused("rejected"),
            _ => Failing::undone("unhealthy"),
        }
    }

    fn bake(&self) -> Duration {
        Duration::from_secs(30)
    }

    async fn foreign_change(&self) -> Result<(), Unsupported> {
        let mut foreign = self.foreign.lock().unwrap_or_else(PoisonError::into_inner);
        foreign.0 += 1;
        foreign.1 = format!("ok-foreign-{}", foreign.0);
        let told = |error: Error| Unsupported::new(error.to_string());
        self.write("since", &self.now().to_string()).map_err(told)?;
        self.write("declared", &foreign.1).map_err(told)
    }

    async fn foreign_stays(&self) -> Result<bool> {
        Ok(self.read("declared")? == self.foreign.lock().unwrap_or_else(PoisonError::into_inner).1)
    }

    async fn move_identity(&self) -> Result<(), Unsupported> {
        self.write("machine", "m2").map_err(|error| Unsupported::new(error.to_string()))
    }

    async fn serving(&self) -> Result<Truth> {
        let revision = self.read("declared")?;
        let since: i64 = self.read("since")?.parse().unwrap_or(i64::MAX);
        let age = self.now().saturating_sub(since);
        let lives = revision.starts_with("ok") || revision.starts_with("flaky") && age < FLAKY_MS;
        Ok(Truth { revision, healthy: lives && age >= START_MS })
    }

    async fn writes(&self) -> Result<usize> {
        Ok(self.read("writes")?.lines().count())
    }

    fn fault(&self, nth: usize, fault: Fault) -> Result<(), Unsupported> {
        let kind = match fault {
            Fault::LoseAnswer => "lose-answer",
            Fault::LoseRequest => "lose-request",
            Fault::Throttle => "throttle",
            Fault::Refuse => "refuse",
            Fault::Late(_) => {
                return Err(Unsupported::new("a command that does something after it was ended"));
            }
            other => return Err(Unsupported::new(format!("the fault {other:?}"))),
        };
        self.write("fault", &format!("{nth} {kind}\n")).map_err(|error| Unsupported::new(error.to_string()))
    }
}
