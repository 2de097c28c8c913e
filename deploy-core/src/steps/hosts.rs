//! Where a command is run: here, or over ssh.

use serde::{Deserialize, Serialize};
use tokio::process;

use crate::error::{Error, ErrorKind, Result};

use super::script::{Names, bootstrap, quoted};

/// Seconds until ssh gives a connection up: while it is made, and when nothing is heard any more.
const CONNECT_S: u32 = 10;
const ALIVE_S: u32 = 5;
const ALIVE_COUNT: u32 = 3;

/// Hosts that a command is run on over ssh, one connection each.
///
/// It is the user's own `ssh` program, with the user's own configuration, agent and known hosts, but never with a
/// question (`BatchMode`), a shared connection, or a host key that is not known: those are refused. The host needs a
/// POSIX `sh`, and `timeout` (coreutils, busybox) to notice a deployer that was stopped.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Hosts {
    hosts: Vec<String>,
    all_at_once: bool,
    ssh: String,
}

impl Hosts {
    /// One after another: the first that fails is the last one that is tried.
    pub fn in_order<H: Into<String>>(hosts: impl IntoIterator<Item = H>) -> Self {
        let hosts = hosts.into_iter().map(Into::into).collect();
        Self { hosts, all_at_once: false, ssh: "ssh".to_owned() }
    }

    /// All at once: one that fails does not stop the others.
    pub fn all_at_once<H: Into<String>>(hosts: impl IntoIterator<Item = H>) -> Self {
        Self { all_at_once: true, ..Self::in_order(hosts) }
    }

    /// Another program than the `ssh` of the search path.
    #[must_use]
    pub fn ssh(mut self, program: impl Into<String>) -> Self {
        self.ssh = program.into();
        self
    }

    pub(super) fn names(&self) -> &[String] {
        &self.hosts
    }

    pub(super) fn are_in_order(&self) -> bool {
        !self.all_at_once
    }

    pub(super) fn check(&self) -> Result<()> {
        let invalid = |text: String| Err(Error::new(ErrorKind::Invalid, text));
        if self.hosts.is_empty() {
            return invalid("a command on hosts has no host".into());
        }
        let mut seen = std::collections::BTreeSet::new();
        for host in &self.hosts {
            let strange = |c: char| c.is_whitespace() || c.is_control() || "'\"\\$`;&|<>(){}*?!#".contains(c);
            if host.is_empty() || host.starts_with('-') || host.contains(strange) {
                return invalid(format!("`{host}` is not a host"));
            }
            if !seen.insert(host) {
                return invalid(format!("{host} is named twice"));
            }
        }
        Ok(())
    }

    pub(super) fn on<'a>(&'a self, host: &'a str) -> Machine<'a> {
        Machine::Host { ssh: &self.ssh, host }
    }
}

/// One machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Machine<'a> {
    Here,
    Host { ssh: &'a str, host: &'a str },
}

impl Machine<'_> {
    /// ` on HOST`, or nothing for this machine.
    pub(super) fn words(self) -> String {
        match self {
            Self::Here => String::new(),
            Self::Host { host, .. } => format!(" on {host}"),
        }
    }

    pub(super) fn is_here(self) -> bool {
        self == Self::Here
    }

    /// What starts the supervising shell.
    pub(super) fn shell(self, names: &Names) -> process::Command {
        match self {
            Self::Here => {
                let mut shell = process::Command::new("/bin/sh");
                shell.arg("-c").arg(bootstrap(names)).env_clear();
                // What it calls itself: grep, sed, sleep, timeout.
                shell.env("PATH", std::env::var_os("PATH").unwrap_or_else(|| "/usr/bin:/bin".into()));
                shell
            }
            Self::Host { ssh, host } => {
                let mut shell = process::Command::new(ssh);
                for option in [
                    "BatchMode=yes".to_owned(),
                    "StrictHostKeyChecking=yes".to_owned(),
                    "ControlMaster=no".to_owned(),
                    "ControlPath=none".to_owned(),
                    "ClearAllForwardings=yes".to_owned(),
                    "RequestTTY=no".to_owned(),
                    format!("ConnectTimeout={CONNECT_S}"),
                    format!("ServerAliveInterval={ALIVE_S}"),
                    format!("ServerAliveCountMax={ALIVE_COUNT}"),
                ] {
                    shell.arg("-o").arg(option);
                }
                shell.arg("--").arg(host).arg(format!("exec sh -c {}", quoted(&bootstrap(names))));
                shell
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_host_is_no_option_either() {
        for bad in ["-oProxyCommand=x", "", "a b", "a;b", "a'b", "$(x)", "a\nb"] {
            assert!(Hosts::in_order([bad]).check().is_err(), "{bad}");
        }
        assert!(Hosts::in_order(["web-1", "deploy@web-2.example.com", "[::1]"]).check().is_ok());
        assert!(Hosts::in_order(["web-1", "web-1"]).check().is_err());
        assert!(Hosts::all_at_once(Vec::<String>::new()).check().is_err());
    }
}
