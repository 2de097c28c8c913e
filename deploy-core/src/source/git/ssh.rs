//! What the user's ssh would do, as it says itself (`ssh -G`): libgit2 reads none of its configuration.

use std::{
    path::PathBuf,
    process::{Command, Stdio},
};

use git2::Config;

use super::address::Address;

/// The keys that OpenSSH tries without any configuration, as far as libgit2 can use them.
const KEYS: [&str; 3] = ["~/.ssh/id_ed25519", "~/.ssh/id_ecdsa", "~/.ssh/id_rsa"];

/// What ssh's configuration makes of a host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct SshHost {
    pub(super) user: Option<String>,
    /// What stands behind the name in the URL.
    host: Option<String>,
    port: Option<String>,
    /// Where keys may be, in order.
    pub(super) keys: Vec<PathBuf>,
    /// The keys named in the configuration come before those of the agent.
    pub(super) keys_first: bool,
    /// It is reached through another host or a command.
    pub(super) by_way_of: Option<String>,
}

impl SshHost {
    /// Asks ssh. It makes no connection for that. Without an ssh there are the usual keys.
    pub(super) fn of(address: &Address, config: Option<&Config>) -> Self {
        ask(address, config).map_or_else(Self::usual, |text| Self::parse(&text))
    }

    fn usual() -> Self {
        Self { keys: KEYS.iter().map(|key| expanded(key)).collect(), ..Self::default() }
    }

    fn parse(text: &str) -> Self {
        let mut found = Self::default();
        for (key, value) in text.lines().filter_map(|line| line.split_once(' ')) {
            let value = value.trim();
            match key.to_ascii_lowercase().as_str() {
                "user" => found.user = Some(value.to_owned()),
                "hostname" => found.host = Some(value.to_owned()),
                "port" => found.port = Some(value.to_owned()),
                "identityfile" => found.keys.push(expanded(value.trim_matches('"'))),
                "identitiesonly" => found.keys_first = value == "yes",
                "proxyjump" | "proxycommand" if value != "none" => found.by_way_of = Some(value.to_owned()),
                _ => {}
            }
        }
        found
    }

    /// The URL with what stands behind its host, if that is something else.
    pub(super) fn url(&self, address: &Address) -> Option<String> {
        let host = self.host.as_deref().unwrap_or(&address.host);
        let given = address.port.as_deref().unwrap_or("22");
        let port = self.port.as_deref().unwrap_or(given);
        let same = host.eq_ignore_ascii_case(&address.host) && port == given;
        // An address of version 6 has another form in each kind of URL, and is no alias.
        let user = address.user.as_deref().or(self.user.as_deref());
        (!same && !host.contains(':')).then(|| address.at(user, host, port))
    }
}

fn ask(address: &Address, config: Option<&Config>) -> Option<String> {
    let mut command = ssh(config);
    command.arg("-G");
    if let Some(port) = &address.port {
        command.args(["-p", port]);
    }
    if let Some(user) = &address.user {
        command.args(["-l", user]);
    }
    // A host that begins with a dash is no option.
    command.args(["--", &address.host]);
    let answer = command.stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    let text = String::from_utf8_lossy(&answer.stdout).into_owned();
    (answer.status.success() && text.contains("hostname ")).then_some(text)
}

/// The ssh that git would run, from the same settings in the same order.
fn ssh(config: Option<&Config>) -> Command {
    let set = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let configured = || config.and_then(|config| config.get_string("core.sshCommand").ok());
    match set("GIT_SSH_COMMAND").or_else(configured) {
        Some(line) => {
            let mut command = Command::new("sh");
            command.args(["-c", &format!("{line} \"$@\""), "ssh"]);
            command
        }
        None => Command::new(set("GIT_SSH").unwrap_or_else(|| "ssh".to_owned())),
    }
}

fn expanded(path: &str) -> PathBuf {
    match (path.strip_prefix("~/"), std::env::home_dir()) {
        (Some(rest), Some(home)) => home.join(rest),
        _ => PathBuf::from(path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ssh_says_of_a_host_is_taken_over() {
        let text = "host work\nuser git\nhostname example.com\nport 2222\nidentitiesonly yes\n\
                    identityfile /keys/work\nidentityfile \"/keys/with space\"\nproxyjump none\nproxycommand none\n";
        let found = SshHost::parse(text);
        assert_eq!((found.user.as_deref(), found.keys_first), (Some("git"), true));
        assert_eq!(found.keys, [PathBuf::from("/keys/work"), PathBuf::from("/keys/with space")]);
        assert_eq!(found.by_way_of, None);
        let url = found.url(&Address::of("work:shop.git"));
        assert_eq!(url.as_deref(), Some("[git@example.com:2222]:shop.git"));
        let url = found.url(&Address::of("ssh://me@work/shop.git"));
        assert_eq!(url.as_deref(), Some("ssh://me@example.com:2222/shop.git"));
        assert_eq!(
            found.url(&Address::of("ssh://git@Example.com:2222/shop.git")),
            None,
            "nothing is another"
        );

        let found = SshHost::parse("hostname h\nproxyjump bastion\n");
        assert_eq!(found.by_way_of.as_deref(), Some("bastion"));
        assert_eq!(SshHost::parse("rubbish\n\nport\n"), SshHost::default());
        assert_eq!(SshHost::usual().keys.len(), KEYS.len());
    }

    #[test]
    fn the_configured_ssh_is_asked_with_the_host_as_one_word_that_is_no_option() {
        let dir = tempfile::tempdir().unwrap();
        let mut config = Config::open(&dir.path().join("config")).unwrap();
        config.set_str("core.sshCommand", "f() { printf 'hostname %s\\n' \"$*\"; }; f").unwrap();
        let address = Address::of("ssh://me@-oProxyCommand=x$(touch y):22/a");
        let answer = ask(&address, Some(&config)).unwrap();
        // The variable of whoever runs the tests comes before the setting.
        if std::env::var_os("GIT_SSH_COMMAND").is_none() {
            assert_eq!(answer, "hostname -G -p 22 -l me -- -oproxycommand=x$(touch y)\n");
        }
        config.set_str("core.sshCommand", "false").unwrap();
        assert!(std::env::var_os("GIT_SSH_COMMAND").is_some() || ask(&address, Some(&config)).is_none());
    }
}
