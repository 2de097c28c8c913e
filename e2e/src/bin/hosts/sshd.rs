//! A real sshd of our own.

use std::{
    fs,
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use deploy_core::{
    BoxError,
    clock::{Clock, SystemClock},
};
use nix::sys::signal::Signal;

use crate::{
    processes::{descendants, signal},
    stage::run,
};

/// It runs until it is dropped.
pub(crate) struct Sshd {
    pub(crate) port: u16,
    program: PathBuf,
    config: PathBuf,
    log: PathBuf,
    process: Mutex<Option<Child>>,
}

impl Sshd {
    /// Starts it on a free port, with what is in the folder: `keys/host`, `authorized_keys`, `server.gitconfig`.
    pub(crate) async fn start(folder: &Path, name: &str) -> Result<Self, BoxError> {
        let program = ["/usr/sbin/sshd", "/usr/local/sbin/sshd", "/sbin/sshd"].map(PathBuf::from);
        let program = program.into_iter().find(|path| path.exists()).ok_or("sshd (openssh-server)")?;
        if run(Command::new("id").arg("-u"))? == "0" {
            // sshd wants it for its own processes; the package's service would make it.
            fs::create_dir_all("/run/sshd")?;
        }
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let here = folder.display();
        let text = format!(
            "ListenAddress 127.0.0.1:{port}\nHostKey {here}/keys/host\nPidFile none\nUsePAM no\nStrictModes no\n\
             AuthorizedKeysFile {here}/authorized_keys\nPasswordAuthentication no\n\
             KbdInteractiveAuthentication no\nPermitRootLogin prohibit-password\nMaxStartups 200\n\
             LogLevel VERBOSE\nSetEnv GIT_CONFIG_GLOBAL={here}/server.gitconfig GIT_CONFIG_NOSYSTEM=1\n"
        );
        let config = folder.join(format!("{name}.config"));
        fs::write(&config, text)?;
        let log = folder.join(format!("{name}.log"));
        let sshd = Self { port, program, config, log, process: Mutex::default() };
        sshd.run().await?;
        Ok(sshd)
    }

    /// Starts it again, after it was killed.
    pub(crate) async fn run(&self) -> Result<(), BoxError> {
        let log = fs::OpenOptions::new().create(true).append(true).open(&self.log)?;
        let mut command = Command::new(&self.program);
        command.arg("-D").arg("-e").arg("-f").arg(&self.config);
        let child = command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn()?;
        *self.process() = Some(child);
        for _ in 0..200 {
            if TcpStream::connect(("127.0.0.1", self.port)).is_ok() {
                return Ok(());
            }
            SystemClock.sleep(Duration::from_millis(25)).await;
        }
        let said = self.said();
        Err(format!("an sshd that starts here: {}", said.lines().last().unwrap_or_default()).into())
    }

    fn process(&self) -> std::sync::MutexGuard<'_, Option<Child>> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// It and its connections; not what these run.
    fn tree(&self) -> Vec<i32> {
        let root = self.process().as_ref().and_then(|child| i32::try_from(child.id()).ok());
        root.map_or_else(Vec::new, |root| descendants(root, |one| one.name.starts_with("sshd")))
    }

    /// As a host does it that loses its power, but for what it runs.
    pub(crate) fn kill(&self) {
        // What is stopped starts no more connections meanwhile.
        self.freeze();
        for id in self.tree() {
            signal(id, Signal::SIGKILL);
        }
        if let Some(mut child) = self.process().take() {
            let _ = child.wait();
        }
    }

    /// It says nothing any more, and its connections do not either.
    pub(crate) fn freeze(&self) {
        for _ in 0..2 {
            for id in self.tree() {
                signal(id, Signal::SIGSTOP);
            }
        }
    }

    pub(crate) fn thaw(&self) {
        for id in self.tree() {
            signal(id, Signal::SIGCONT);
        }
    }

    /// What it has logged.
    pub(crate) fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// How often it logged this.
    pub(crate) fn count(&self, words: &str) -> usize {
        self.said().matches(words).count()
    }

    /// How many connections there were.
    pub(crate) fn connections(&self) -> usize {
        self.count("Connection from ")
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        self.kill();
    }
}
