//! Somebody with a home, an ssh configuration, known hosts and maybe an agent of their own.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use deploy_core::{
    BoxError,
    clock::{Clock, SystemClock},
};
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::{
    processes::signal,
    stage::{path, run, write_program},
};

/// Names of this host in everybody's configuration.
const NAMES: &str = "forge web-1 web-2 web-3 stranger";
/// The longest that any fetch may take.
const HANGS: Duration = Duration::from_secs(60);

pub(crate) struct Person {
    stage: PathBuf,
    home: PathBuf,
    port: u16,
    agent: Option<Agent>,
    socket: Option<PathBuf>,
}

/// An agent that ends when it is dropped.
struct Agent(Child);

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// How a fetch ended.
#[derive(Debug, Clone)]
pub(crate) struct Told(pub(crate) Value);

impl Told {
    pub(crate) fn tip(&self) -> Result<&str, BoxError> {
        self.0["tip"].as_str().ok_or_else(|| format!("not fetched: {}", self.0).into())
    }

    /// That it failed in this way, with these words in its text.
    pub(crate) fn is(&self, kind: &str, words: &[&str]) -> Result<(), BoxError> {
        let text = self.0["text"].as_str().unwrap_or_default();
        let good = self.0["kind"] == kind && words.iter().all(|word| text.contains(word));
        crate::expect(good, &self.0)
    }
}

impl Person {
    /// Somebody who knows the host's key and has none.
    pub(crate) fn make(stage: &Path, name: &str, user: &str, port: u16) -> Result<Self, BoxError> {
        let home = stage.join("people").join(name);
        fs::create_dir_all(home.join(".ssh"))?;
        fs::create_dir_all(home.join("bin"))?;
        let person = Self { stage: stage.to_owned(), home, port, agent: None, socket: None };
        let key = fs::read_to_string(stage.join("keys/host.pub"))?;
        person.knows(&key)?;
        let known = person.home.join(".ssh/known_hosts");
        // What comes first counts: ssh reads nothing twice.
        let config = format!(
            "Host stranger\n  UserKnownHostsFile /dev/null\nHost {NAMES}\n  HostName 127.0.0.1\n  Port {port}\n  User {user}\n\
             Host *\n  UserKnownHostsFile {}\n  GlobalKnownHostsFile /dev/null\n",
            known.display()
        );
        fs::write(person.home.join(".ssh/config"), config)?;
        person.write_ssh()?;
        Ok(person)
    }

    /// ssh takes the home from the list of users, and not from a variable.
    fn write_ssh(&self) -> Result<(), BoxError> {
        let agent = match &self.socket {
            Some(socket) => format!("export SSH_AUTH_SOCK='{}'", socket.display()),
            None => "unset SSH_AUTH_SOCK".to_owned(),
        };
        let config = self.home.join(".ssh/config");
        let text =
            format!("#!/bin/sh\nPATH='{}'\n{agent}\nexec ssh -F '{}' \"$@\"\n", path(), config.display());
        write_program(&self.ssh(), &text)
    }

    /// Their ssh.
    pub(crate) fn ssh(&self) -> PathBuf {
        self.home.join("bin/ssh")
    }

    fn key(&self, name: &str) -> PathBuf {
        self.stage.join("keys").join(name)
    }

    /// The keys of this host that they know, instead of the right one.
    pub(crate) fn knows(&self, public_key: &str) -> Result<(), BoxError> {
        let words: Vec<&str> = public_key.split_whitespace().take(2).collect();
        let line = format!("[127.0.0.1]:{} {}\n", self.port, words.join(" "));
        Ok(fs::write(self.home.join(".ssh/known_hosts"), line)?)
    }

    pub(crate) fn knows_nobody(&self) -> Result<(), BoxError> {
        Ok(fs::remove_file(self.home.join(".ssh/known_hosts"))?)
    }

    /// As Debian's ssh keeps it: names of hosts are hashed.
    pub(crate) fn hashed(self) -> Result<Self, BoxError> {
        run(Command::new("ssh-keygen")
            .arg("-q")
            .arg("-H")
            .arg("-f")
            .arg(self.home.join(".ssh/known_hosts")))?;
        Ok(self)
    }

    /// Their configuration says more, of all hosts.
    pub(crate) fn saying(self, line: &str) -> Result<Self, BoxError> {
        let path = self.home.join(".ssh/config");
        let text = fs::read_to_string(&path)?;
        fs::write(path, format!("{text}  {line}\n"))?;
        Ok(self)
    }

    /// With a key that their configuration names.
    pub(crate) fn naming(self, key: &str) -> Result<Self, BoxError> {
        let line = format!("IdentityFile {}", self.key(key).display());
        self.saying(&line)?.saying("IdentitiesOnly yes")
    }

    /// With an agent that has these keys.
    pub(crate) async fn with_agent(mut self, keys: &[&str]) -> Result<Self, BoxError> {
        let socket = self.home.join("agent");
        let mut command = Command::new("ssh-agent");
        command
            .arg("-D")
            .arg("-a")
            .arg(&socket)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let agent = command.spawn().map_err(|error| format!("ssh-agent: {error}"))?;
        self.agent = Some(Agent(agent));
        crate::processes::until("an agent", || socket.exists()).await?;
        for key in keys {
            let path = self.key(key);
            run(Command::new("ssh-add").arg("-q").arg(path).env("SSH_AUTH_SOCK", &socket))?;
        }
        self.socket = Some(socket);
        self.write_ssh()?;
        Ok(self)
    }

    /// With the address of an agent that is no more.
    pub(crate) fn with_a_dead_agent(mut self) -> Self {
        self.socket = Some(self.home.join("nobody"));
        self
    }

    fn deployer(&self, words: &[&str]) -> Result<tokio::process::Command, BoxError> {
        let mut command = tokio::process::Command::new(std::env::current_exe()?);
        command.args(words).env_clear().env("HOME", &self.home);
        command.env("PATH", format!("{}:{}", self.home.join("bin").display(), path()));
        if let Some(socket) = &self.socket {
            command.env("SSH_AUTH_SOCK", socket);
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
        Ok(command)
    }

    /// Fetches a branch into a clone, in a process of its own.
    pub(crate) async fn fetch(&self, clone: &Path, branch: &str) -> Result<Told, BoxError> {
        self.fetch_within(clone, branch, HANGS / 2, None).await
    }

    pub(crate) async fn fetch_within(
        &self,
        clone: &Path,
        branch: &str,
        within: Duration,
        token: Option<&Path>,
    ) -> Result<Told, BoxError> {
        let (clone, within) = (clone.display().to_string(), within.as_millis().to_string());
        let token = token.map(|path| path.display().to_string());
        let mut words = vec!["fetch", &*clone, branch, &*within];
        words.extend(token.as_deref());
        let child = self.deployer(&words)?.spawn()?;
        let id = child.id().and_then(|id| i32::try_from(id).ok());
        let output = tokio::select! {
            output = child.wait_with_output() => output?,
            () = SystemClock.sleep(HANGS) => {
                if let Some(id) = id {
                    signal(id, Signal::SIGKILL);
                }
                return Err("a fetch hangs".into());
            }
        };
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let told = serde_json::from_str(text.trim());
        Ok(Told(told.map_err(|error| format!("{error}: `{text}`, and it ended with {}", output.status))?))
    }
}
