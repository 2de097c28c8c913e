//! What all parts need: a folder, keys, the sshd, and git.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

use deploy_core::BoxError;

use crate::{person::Person, sshd::Sshd};

/// All keys. The host's own, two that may log in, one that may not, and one that may with a passphrase.
const KEYS: [(&str, &str); 5] =
    [("host", ""), ("agent", ""), ("named", ""), ("refused", ""), ("locked", "a passphrase")];
/// The most keys that one agent is given.
pub(crate) const STRANGE_KEYS: u32 = 7;

/// Sends what a repository has that is called to be slow in two parts, the second not before it is slow no more.
const SLOW: &str = r#"#!/bin/sh
if [ -e slow ]; then
  "$@" | { head -c 300000; : > middle; while [ -e slow ]; do sleep 0.05; done; cat; }
else
  exec "$@"
fi
"#;

/// Everything that the parts need. What is first is dropped first.
pub(crate) struct Stage {
    pub(crate) sshd: Sshd,
    /// Who deploys: a key that ssh's configuration names.
    pub(crate) operator: Person,
    pub(crate) user: String,
    folder: tempfile::TempDir,
    count: AtomicU32,
}

impl Stage {
    /// Starts all of it.
    ///
    /// # Errors
    /// What cannot be had here.
    pub(crate) async fn set() -> Result<Self, BoxError> {
        let folder = tempfile::Builder::new().prefix("hosts-").tempdir()?;
        let here = folder.path();
        let keys = here.join("keys");
        fs::create_dir_all(&keys)?;
        let strange = (0..STRANGE_KEYS).map(|number| (format!("strange-{number}"), ""));
        for (name, passphrase) in
            KEYS.map(|(name, phrase)| (name.to_owned(), phrase)).into_iter().chain(strange)
        {
            let path = keys.join(&name).display().to_string();
            let words = ["-q", "-t", "ed25519", "-N", passphrase, "-C", &name, "-f", &path];
            run(Command::new("ssh-keygen").args(words))?;
        }
        let mut authorized = String::new();
        for name in ["agent", "named", "locked"] {
            authorized += &fs::read_to_string(keys.join(format!("{name}.pub")))?;
        }
        fs::write(here.join("authorized_keys"), authorized)?;
        write_program(&here.join("slow-pack"), SLOW)?;
        let config = format!("[uploadpack]\n\tpackObjectsHook = {}\n", here.join("slow-pack").display());
        fs::write(here.join("server.gitconfig"), config)?;
        fs::create_dir_all(here.join("home"))?;
        let user = run(Command::new("id").arg("-un"))?;
        let sshd = Sshd::start(here, "sshd").await?;
        let operator = Person::make(here, "operator", &user, sshd.port)?.naming("named")?;
        let stage = Self { sshd, operator, user, folder, count: AtomicU32::new(0) };
        run(Command::new(stage.operator.ssh()).args(["-o", "BatchMode=yes", "web-1", "true"]))
            .map_err(|error| format!("an sshd that lets {} in: {error}", stage.user))?;
        stage.git(stage.path(), &["--version"])?;
        Ok(stage)
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// A folder of its own for a part.
    pub(crate) fn folder(&self, name: &str) -> Result<PathBuf, BoxError> {
        let number = self.count.fetch_add(1, Ordering::Relaxed);
        let folder = self.path().join(format!("{name}-{number}"));
        fs::create_dir_all(&folder)?;
        Ok(folder)
    }

    /// An sshd of its own, for what runs beside the rest, and somebody who may log in there.
    pub(crate) async fn host(&self, name: &str) -> Result<(Sshd, Person), BoxError> {
        let sshd = Sshd::start(self.path(), name).await?;
        let person = Person::make(self.path(), name, &self.user, sshd.port)?.naming("named")?;
        Ok((sshd, person))
    }

    /// Somebody with a home of their own, who knows this host's key.
    pub(crate) fn person(&self, name: &str) -> Result<Person, BoxError> {
        Person::make(self.path(), name, &self.user, self.sshd.port)
    }

    /// Where a repository is over ssh.
    pub(crate) fn url(&self, repository: &Path) -> String {
        format!("ssh://{}@127.0.0.1:{}{}", self.user, self.sshd.port, repository.display())
    }

    /// What git says, without the settings of whoever runs this.
    pub(crate) fn git(&self, folder: &Path, words: &[&str]) -> Result<String, BoxError> {
        run(git(self.path(), folder).args(words))
    }
}

/// A git of our own.
pub(crate) fn git(stage: &Path, folder: &Path) -> Command {
    let mut command = Command::new("git");
    command.env_clear().env("PATH", path()).env("HOME", stage.join("home")).env("GIT_CONFIG_NOSYSTEM", "1");
    for role in ["AUTHOR", "COMMITTER"] {
        command.env(format!("GIT_{role}_NAME"), "Ada").env(format!("GIT_{role}_EMAIL"), "ada@example.com");
    }
    command.args(["-c", "init.defaultBranch=main", "-c", "gc.auto=0", "-C"]).arg(folder);
    command
}

/// The search path of whoever runs this.
pub(crate) fn path() -> String {
    std::env::var("PATH").unwrap_or_else(|_| "/usr/bin:/bin".into())
}

/// Runs a program to its end, and says what it said.
pub(crate) fn run(command: &mut Command) -> Result<String, BoxError> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).output();
    let Output { status, stdout, stderr } =
        output.map_err(|error| format!("{program}, which cannot be started: {error}"))?;
    if !status.success() {
        let words: Vec<_> = command.get_args().map(|word| word.to_string_lossy()).collect();
        let said = String::from_utf8_lossy(&stderr);
        return Err(format!("{program} {} failed: {}", words.join(" "), said.trim()).into());
    }
    Ok(String::from_utf8_lossy(&stdout).trim().to_owned())
}

pub(crate) fn write_program(path: &Path, text: &str) -> Result<(), BoxError> {
    use std::os::unix::fs::PermissionsExt;
    fs::write(path, text)?;
    Ok(fs::set_permissions(path, fs::Permissions::from_mode(0o755))?)
}
