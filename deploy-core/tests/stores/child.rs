//! This binary again, as another process on the same file.

use std::{
    io::{self, BufRead, BufReader, Write},
    path::Path,
    process::{Child, ChildStdout, Command, ExitCode, Stdio},
};

use deploy_core::{
    Result,
    conformance::stores::count_up,
    state::{Expect, Key, StateStore, Wrote, stores::sqlite::SqliteStore},
};

const ROLE: &str = "DEPLOY_CORE_STORE_CHILD";
const FILE: &str = "DEPLOY_CORE_STORE_FILE";
const NAME: &str = "DEPLOY_CORE_STORE_NAME";

/// What a child does.
#[derive(Clone, Copy)]
pub(crate) enum Role {
    /// Writes for ever, and says on stdout what was acknowledged. To be killed.
    Writer,
    /// Counts to this number, and ends.
    Counter(u64),
}

/// A child process; killed when it is dropped.
pub(crate) struct Running {
    child: Child,
    pub(crate) said: BufReader<ChildStdout>,
}

impl Running {
    pub(crate) fn start(role: Role, name: &str, file: &Path) -> io::Result<Self> {
        let role = match role {
            Role::Writer => "writer".to_owned(),
            Role::Counter(number) => number.to_string(),
        };
        let mut child = Command::new(std::env::current_exe()?)
            .env(ROLE, role)
            .env(NAME, name)
            .env(FILE, file)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        let said = child.stdout.take().map(BufReader::new).ok_or_else(|| io::Error::other("no stdout"))?;
        Ok(Self { child, said })
    }

    /// The next complete line; what was cut off by a kill is not one.
    pub(crate) fn line(&mut self) -> io::Result<Option<String>> {
        let mut line = String::new();
        self.said.read_line(&mut line)?;
        Ok(line.strip_suffix('\n').map(ToOwned::to_owned))
    }

    /// Sends SIGKILL, and gives back how the process ended.
    pub(crate) fn kill(&mut self) -> io::Result<std::process::ExitStatus> {
        self.child.kill()?;
        self.child.wait()
    }

    pub(crate) fn wait(&mut self) -> io::Result<std::process::ExitStatus> {
        self.child.wait()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}

/// Does a child's work, if this process was started as one.
pub(crate) fn run_if_asked() -> Option<ExitCode> {
    let var = |name| std::env::var(name).ok();
    let (role, name, file) = (var(ROLE)?, var(NAME)?, var(FILE)?);
    let runtime = super::one_thread().unwrap();
    let ended = runtime.block_on(async {
        let store = SqliteStore::open(file)?;
        match role.parse() {
            Ok(number) => count(&store, &name, number).await,
            Err(_) => write_for_ever(&store, &name).await,
        }
    });
    Some(match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{name}: {error:?}");
            ExitCode::FAILURE
        }
    })
}

/// The record that all counters share.
pub(crate) fn count_key() -> Key {
    Key::new(["count"])
}

async fn count(store: &SqliteStore, name: &str, number: u64) -> Result<()> {
    for count in 1..=number {
        count_up(store, &count_key(), name, count).await?;
        say(&format!("{count}"));
    }
    Ok(())
}

/// The record that a writer writes over and over.
pub(crate) fn head_key() -> Key {
    Key::new(["head"])
}

/// A record that a writer creates once.
pub(crate) fn entry_key(name: &str, number: u64) -> Key {
    Key::new(["entry", name, &number.to_string()])
}

/// The content of both: large enough for a write to touch several pages, so that a kill can come in between.
pub(crate) fn content(name: &str, number: u64) -> Vec<u8> {
    format!("{name} {number} ").into_bytes().repeat(1 + usize::try_from(number % 7).unwrap() * 400)
}

async fn write_for_ever(store: &SqliteStore, name: &str) -> Result<()> {
    let mut expect = match store.read(&head_key()).await? {
        Some(read) => Expect::Is(read.version),
        None => Expect::Absent,
    };
    for number in 1.. {
        let created = store.write(&entry_key(name, number), Expect::Absent, content(name, number)).await?;
        let wrote = store.write(&head_key(), expect, content(name, number)).await?;
        let (Wrote::Stored(entry), Wrote::Stored(head)) = (created, wrote) else {
            panic!("a conflict without anyone else");
        };
        say(&format!("{number} {} {}", entry.0, head.0));
        expect = Expect::Is(head);
    }
    Ok(())
}

fn say(line: &str) {
    let mut out = io::stdout().lock();
    // A parent that is gone does not read on; then there is nothing to go on for.
    if out.write_all(format!("{line}\n").as_bytes()).and_then(|()| out.flush()).is_err() {
        std::process::exit(0);
    }
}
