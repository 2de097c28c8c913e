//! A command: program and arguments, directory, environment, time.

use std::{collections::BTreeMap, fmt, time::Duration};

use serde::{Deserialize, Serialize};

use super::script::quoted;
use crate::{
    error::{Error, ErrorKind, Result},
    model::{SecretRef, TargetName, millis, names_a_secret},
    report::scrub_line,
};

/// How long a command may take, unless it says otherwise.
const TIMEOUT: Duration = Duration::from_secs(600);
/// How many characters of a command line are shown.
const SHOWN_CHARS: usize = 120;
/// What a command gets from this process's environment without being told so, when it is run here.
const PASSED: [&str; 8] = ["PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "TZ", "TMPDIR"];

/// A command, as it is planned: no shell, unless it is one ([`shell`](Self::shell)).
///
/// Of this process's environment it gets `PATH`, `HOME`, `USER`, `LOGNAME`, `LANG`, `LC_ALL`, `TZ` and `TMPDIR` where it is
/// run here, what the host's own login gives it where it is run over ssh, and besides only what is named. Standard input is
/// empty. In program, arguments, directory and values `{app}`, `{env}` and `{commit}` are replaced, and `{revision}` in
/// those of a [`CommandPlace`](super::CommandPlace); the same are variables: `DEPLOY_APP`, `DEPLOY_ENV`, `DEPLOY_COMMIT`,
/// `DEPLOY_REVISION`.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Command {
    program: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    args: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    dir: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pass: Vec<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    values: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    secrets: BTreeMap<String, SecretRef>,
    timeout_ms: u64,
}

impl fmt::Debug for Command {
    /// Without the values of variables.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Command")
            .field("program", &self.program)
            .field("args", &self.args)
            .field("dir", &self.dir)
            .field("pass", &self.pass)
            .field("values", &self.values.keys().collect::<Vec<_>>())
            .field("secrets", &self.secrets)
            .field("timeout_ms", &self.timeout_ms)
            .finish()
    }
}

impl Command {
    /// A program, by path or from the search path. It may take ten minutes.
    pub fn new(program: impl Into<String>) -> Self {
        Self {
            program: program.into(),
            args: Vec::new(),
            dir: None,
            pass: Vec::new(),
            values: BTreeMap::new(),
            secrets: BTreeMap::new(),
            timeout_ms: millis(TIMEOUT),
        }
    }

    /// A line for the POSIX shell: `sh -c LINE`. Use the variables in it (`"$DEPLOY_COMMIT"`).
    pub fn shell(line: impl Into<String>) -> Self {
        Self::new("sh").arg("-c").arg(line)
    }

    /// One more argument.
    #[must_use]
    pub fn arg(mut self, arg: impl Into<String>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// More arguments.
    #[must_use]
    pub fn args<A: Into<String>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// The working directory. Default: that of this process, or of the host's login.
    #[must_use]
    pub fn dir(mut self, dir: impl Into<String>) -> Self {
        self.dir = Some(dir.into());
        self
    }

    /// Passes a variable of this process's environment on, if it is set when the command is run.
    #[must_use]
    pub fn pass(mut self, name: impl Into<String>) -> Self {
        self.pass.push(name.into());
        self
    }

    /// Sets a variable. The value is in the plan; one under a name like `*_TOKEN` is refused.
    #[must_use]
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.values.insert(name.into(), value.into());
        self
    }

    /// Sets a variable from a secret, which is resolved right before the command is run, and never shown.
    #[must_use]
    pub fn secret(mut self, name: impl Into<String>, value: SecretRef) -> Self {
        self.secrets.insert(name.into(), value);
        self
    }

    /// How long it may take. Then it is ended with all that it has started, and its end counts as not seen.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout_ms = millis(timeout);
        self
    }

    pub(super) fn timeout_at_most(mut self, most: Duration) -> Self {
        self.timeout_ms = self.timeout_ms.min(millis(most));
        self
    }

    pub(super) fn time(&self) -> Duration {
        Duration::from_millis(self.timeout_ms)
    }

    pub(super) fn secrets(&self) -> &BTreeMap<String, SecretRef> {
        &self.secrets
    }

    pub(super) fn program(&self) -> &str {
        &self.program
    }

    pub(super) fn arguments(&self) -> &[String] {
        &self.args
    }

    pub(super) fn directory(&self) -> Option<&str> {
        self.dir.as_deref()
    }

    /// The environment but for secrets.
    pub(super) fn environment(&self, here: bool) -> Vec<(String, String)> {
        let base = PASSED.iter().copied().filter(|_| here);
        let passed = base.chain(self.pass.iter().map(String::as_str));
        let passed = passed.filter_map(|name| Some((name.to_owned(), std::env::var(name).ok()?)));
        let values = self.values.iter().map(|(name, value)| (name.clone(), value.clone()));
        passed.chain(values).collect()
    }

    /// The command line for people, as a shell would take it.
    pub(super) fn words(&self) -> String {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_=./:,@+%^".contains(c);
        let all = std::iter::once(&self.program).chain(&self.args);
        let words: Vec<String> = all
            .map(|word| if !word.is_empty() && word.chars().all(plain) { word.clone() } else { quoted(word) })
            .collect();
        let line = words.join(" ").replace(['\n', '\r'], " ");
        match line.char_indices().nth(SHOWN_CHARS) {
            Some((end, _)) => format!("{}...", line.get(..end).unwrap_or_default()),
            None => line,
        }
    }

    /// Checks it, and puts the facts in.
    pub(super) fn fill(&self, facts: &Words) -> Result<Self> {
        let mut filled = self.clone();
        filled.program = facts.fill(&self.program)?;
        filled.args = self.args.iter().map(|arg| facts.fill(arg)).collect::<Result<_>>()?;
        filled.dir = self.dir.as_ref().map(|dir| facts.fill(dir)).transpose()?;
        for value in filled.values.values_mut() {
            *value = facts.fill(value)?;
        }
        for (name, value) in facts.variables() {
            filled.values.entry(name.to_owned()).or_insert_with(|| value.to_owned());
        }
        filled.check()?;
        Ok(filled)
    }

    fn check(&self) -> Result<()> {
        let invalid = |text: String| Err(Error::new(ErrorKind::Invalid, text));
        if self.program.is_empty() || self.program.starts_with('-') {
            return invalid(format!("`{}` is not a program", self.program));
        }
        let texts = self.args.iter().chain(&self.dir).chain(self.values.values());
        if std::iter::once(&self.program).chain(texts).any(|text| text.contains('\0')) {
            return invalid(format!("{} is given a zero byte", self.program));
        }
        for name in self.pass.iter().chain(self.values.keys()).chain(self.secrets.keys()) {
            let begins = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
            if !begins || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
                return invalid(format!("`{name}` cannot be the name of a variable"));
            }
        }
        if let Some(name) = self.values.keys().find(|name| names_a_secret(name)) {
            let text = format!("`{name}` looks like a secret and has a plain value");
            return Err(Error::new(ErrorKind::Invalid, text)
                .next("give a reference: from the environment, a file or a resolver"));
        }
        if self.timeout_ms == 0 {
            return invalid(format!("{} is given no time", self.program));
        }
        Ok(())
    }
}

/// What is put into commands.
#[derive(Debug, Clone, Default)]
pub(super) struct Words(BTreeMap<&'static str, (&'static str, Option<String>)>);

impl Words {
    /// # Errors
    /// [`ErrorKind::Invalid`] if the commit is none: it may get into a line for a shell.
    pub(super) fn new(target: &TargetName, commit: Option<&str>) -> Result<Self> {
        if let Some(bad) = commit.filter(|commit| !commit.chars().all(|c| c.is_ascii_hexdigit())) {
            return Err(Error::new(ErrorKind::Invalid, format!("`{}` is not a commit", scrub_line(bad))));
        }
        let mut words = Self::default();
        words.set("{app}", "DEPLOY_APP", Some(target.app()));
        words.set("{env}", "DEPLOY_ENV", Some(target.env()));
        words.set("{commit}", "DEPLOY_COMMIT", commit);
        Ok(words)
    }

    pub(super) fn set(&mut self, hole: &'static str, variable: &'static str, value: Option<&str>) {
        self.0.insert(hole, (variable, value.map(str::to_owned)));
    }

    pub(super) fn fill(&self, text: &str) -> Result<String> {
        let mut filled = String::with_capacity(text.len());
        let mut rest = text;
        // From left to right: what was put in is not looked at again.
        while let Some(at) = rest.find('{') {
            let (before, hole) = rest.split_at(at);
            filled.push_str(before);
            let known = self.0.iter().find(|(name, _)| hole.starts_with(**name));
            match known {
                Some((name, (_, Some(value)))) => {
                    filled.push_str(value);
                    rest = hole.get(name.len()..).unwrap_or_default();
                }
                Some((name, (_, None))) => {
                    let text = format!("a command names {name}, and this release has none");
                    return Err(Error::new(ErrorKind::Invalid, text).next("deploy a commit"));
                }
                None => {
                    filled.push('{');
                    rest = hole.get(1..).unwrap_or_default();
                }
            }
        }
        filled.push_str(rest);
        Ok(filled)
    }

    fn variables(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.0.values().filter_map(|(variable, value)| Some((*variable, value.as_deref()?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words() -> Words {
        let mut words = Words::default();
        words.set("{app}", "DEPLOY_APP", Some("{env}"));
        words.set("{env}", "DEPLOY_ENV", Some("production"));
        words.set("{commit}", "DEPLOY_COMMIT", None);
        words
    }

    #[test]
    fn facts_are_put_in_once() {
        let filled = words().fill("{app}-{env}: ${HOME} {} {x} {").unwrap();
        assert_eq!(filled, "{env}-production: ${HOME} {} {x} {");
        let error = words().fill("v{commit}").unwrap_err();
        assert!(error.to_string().contains("{commit}"), "{error}");
    }

    #[test]
    fn what_cannot_be_run_is_refused_when_it_is_planned() {
        let fill = |command: Command| command.fill(&words()).map_err(|error| error.kind());
        assert!(fill(Command::new("npm").arg("publish").env("LEVEL", "{env}")).is_ok());
        for bad in [
            Command::new(""),
            Command::new("-x"),
            Command::new("a").arg("b\0"),
            Command::new("a").env("1X", "v"),
            Command::new("a").env("A B", "v"),
            Command::new("a").pass("A=B"),
            Command::new("a").env("NPM_TOKEN", "v"),
            Command::new("a").timeout(Duration::ZERO),
        ] {
            assert_eq!(fill(bad.clone()), Err(ErrorKind::Invalid), "{bad:?}");
        }
    }

    #[test]
    fn a_commit_is_a_commit() {
        let target = TargetName::new("shop", "production").unwrap();
        assert!(Words::new(&target, Some(&"9f".repeat(20))).is_ok());
        for bad in ["$(reboot)", "HEAD", "a b"] {
            assert!(Words::new(&target, Some(bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn values_do_not_show_themselves() {
        let command = Command::new("a").env("LEVEL", "hunter2").secret("T", SecretRef::FromEnv("PW".into()));
        let shown = format!("{command:?}");
        assert!(!shown.contains("hunter2") && shown.contains("LEVEL") && shown.contains("PW"), "{shown}");
    }

    #[test]
    fn a_command_line_is_shown_as_one_would_type_it() {
        let words = Command::shell("a && b").words();
        assert_eq!(words, "sh -c 'a && b'");
        assert!(Command::new("x").arg("y".repeat(500)).words().len() < 130);
    }
}
