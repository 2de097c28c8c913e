//! The user's own credentials, each tried once.

use std::{collections::VecDeque, fs::File, io::Read, path::PathBuf};

use git2::{Config, Cred, CredentialType, ErrorClass, ErrorCode};

use super::{
    address::{Address, Scheme},
    ssh::SshHost,
};
use crate::model::Secret;

/// The most keys that are tried: servers close the connection after about as many.
const KEYS_MAX: usize = 5;
/// Whoever has given this many keys may be cut off for it.
const KEYS_PATIENCE: usize = 3;
/// No private key is longer, in bytes.
const KEY_BYTES_MAX: u64 = 64 * 1024;

/// What the agent's keys are called.
const AGENT: &str = "the keys of the ssh agent";

/// Something to log in with.
#[derive(Debug)]
enum Way {
    Token(Secret),
    Helper,
    Agent,
    Key(PathBuf),
}

/// What was tried at one remote. libgit2 asks again for as long as it is given something, so each way is given
/// once, and then an error.
#[derive(Debug)]
pub(super) struct Login {
    address: Address,
    ssh_user: Option<String>,
    ways: VecDeque<Way>,
    /// What the server was given.
    tried: Vec<String>,
    /// What could not be given, and why.
    passed_over: Vec<String>,
    /// The server asked for more than there is.
    pub(super) is_exhausted: bool,
    /// What an ssh server showed, as OpenSSH writes it.
    pub(super) host_key: Option<String>,
}

impl Login {
    pub(super) fn new(address: Address, token: Option<Secret>, ssh: &SshHost) -> Self {
        let mut login = Self {
            ssh_user: ssh.user.clone(),
            ways: VecDeque::new(),
            tried: Vec::new(),
            passed_over: Vec::new(),
            is_exhausted: false,
            host_key: None,
            address,
        };
        match (login.address.scheme, token) {
            (Scheme::Ssh, _) => login.ways = login.ssh_ways(ssh),
            // Who names a token does not mean whatever else is stored here.
            (Scheme::Https, Some(token)) => login.ways.push_back(Way::Token(token)),
            (Scheme::Http, Some(token)) if login.address.is_loopback() => {
                login.ways.push_back(Way::Token(token))
            }
            (Scheme::Http, Some(_)) => {
                login.passed_over.push("the token is not sent over http, where others can read it".into());
            }
            _ => login.ways.push_back(Way::Helper),
        }
        login
    }

    fn ssh_ways(&mut self, ssh: &SshHost) -> VecDeque<Way> {
        let mut keys = Vec::new();
        for path in &ssh.keys {
            match key(path) {
                Key::Usable => keys.push(Way::Key(path.clone())),
                Key::Locked => {
                    self.passed_over.push(format!("{} has a passphrase (ssh-add it)", path.display()));
                }
                Key::None => {}
            }
        }
        keys.truncate(KEYS_MAX);
        let agent = std::env::var_os("SSH_AUTH_SOCK").filter(|path| !path.is_empty()).map(|_| Way::Agent);
        match ssh.keys_first {
            true => keys.into_iter().chain(agent).collect(),
            false => agent.into_iter().chain(keys).collect(),
        }
    }

    /// What is given to the server next.
    pub(super) fn next(
        &mut self,
        config: Option<&Config>,
        url: &str,
        user: Option<&str>,
        allowed: CredentialType,
    ) -> Result<Cred, git2::Error> {
        let user = user.or(self.address.user.as_deref()).or(self.ssh_user.as_deref());
        if allowed.contains(CredentialType::USERNAME) {
            return Cred::username(user.unwrap_or("git"));
        }
        let asked = Address::of(url);
        while let Some(way) = self.ways.pop_front() {
            let wanted = match way {
                Way::Token(_) | Way::Helper => CredentialType::USER_PASS_PLAINTEXT,
                Way::Agent | Way::Key(_) => CredentialType::SSH_KEY,
            };
            if !allowed.contains(wanted) {
                continue;
            }
            match way {
                Way::Token(token) => {
                    if !asked.is_same_server(&self.address) {
                        let text = format!("the token is not for {}, where the server led on to", asked.host);
                        self.passed_over.push(text);
                        continue;
                    }
                    self.tried.push("the token".into());
                    let user = user.unwrap_or_else(|| token_user(&self.address.host));
                    return Cred::userpass_plaintext(user, token.expose());
                }
                Way::Helper => {
                    let found = config.map(|config| Cred::credential_helper(config, url, user));
                    match found {
                        Some(Ok(cred)) => {
                            self.tried.push("what git's credential helper has".into());
                            return Ok(cred);
                        }
                        _ => self.passed_over.push("git's credential helpers have nothing for it".into()),
                    }
                }
                Way::Agent => {
                    self.tried.push(AGENT.into());
                    return Cred::ssh_key_from_agent(user.unwrap_or("git"));
                }
                Way::Key(path) => {
                    self.tried.push(path.display().to_string());
                    return Cred::ssh_key(user.unwrap_or("git"), None, &path, None);
                }
            }
        }
        self.is_exhausted = true;
        Err(git2::Error::new(ErrorCode::Auth, ErrorClass::Callback, "no more credentials"))
    }

    /// The server may have had enough of it: an agent gives all keys that it has.
    pub(super) fn has_tried_many(&self) -> bool {
        self.tried.len() >= KEYS_PATIENCE || self.tried.iter().any(|way| way == AGENT)
    }

    /// What was tried and what was not, for people.
    pub(super) fn told(&self) -> String {
        let tried = match self.tried.as_slice() {
            [] => "there was nothing to log in with".to_owned(),
            tried => format!("tried {}", tried.join(", ")),
        };
        [vec![tried], self.passed_over.clone()].concat().join("; ")
    }
}

/// The user name that goes with a token where the URL has none. GitHub and GitLab take any; Bitbucket does not:
/// <https://support.atlassian.com/bitbucket-cloud/docs/using-access-tokens/>
fn token_user(host: &str) -> &'static str {
    match host {
        "bitbucket.org" => "x-token-auth",
        _ => "x-access-token",
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Key {
    Usable,
    Locked,
    None,
}

/// A key with a passphrase would end the whole login with an error of its own, so it is not tried.
fn key(path: &PathBuf) -> Key {
    // The start of an unencrypted key in OpenSSH's own format: its magic and the cipher `none`, in Base64.
    const UNLOCKED: &str = "b3BlbnNzaC1rZXktdjEAAAAABG5vbmU";
    let Ok(file) = File::open(path) else { return Key::None };
    let mut text = String::new();
    if file.take(KEY_BYTES_MAX).read_to_string(&mut text).is_err() {
        return Key::None;
    }
    let Some((_, body)) = text.split_once("PRIVATE KEY-----") else { return Key::None };
    let locked = match text.contains("BEGIN OPENSSH PRIVATE KEY") {
        true => !body.trim_start().starts_with(UNLOCKED),
        false => text.contains("ENCRYPTED"),
    };
    if locked { Key::Locked } else { Key::Usable }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_cannot_be_used_are_told_from_those_that_can() {
        let dir = tempfile::tempdir().unwrap();
        let begin = |kind: &str| format!("-----BEGIN {kind}PRIVATE KEY-----\n");
        for (name, text, expected) in [
            ("open", begin("OPENSSH ") + "b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQAAAA\n", Key::Usable),
            ("locked", begin("OPENSSH ") + "b3BlbnNzaC1rZXktdjEAAAAACmFlczI1Ni1jdHIAAAAGYmNy\n", Key::Locked),
            ("pem", begin("RSA ") + "MIIEpAIBAAKCAQEA\n", Key::Usable),
            ("pem-locked", begin("RSA ") + "Proc-Type: 4,ENCRYPTED\n", Key::Locked),
            ("pkcs8-locked", begin("ENCRYPTED ") + "MIIFHDBOBgkqhkiG9w0B\n", Key::Locked),
            ("public", "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAA me\n".into(), Key::None),
            ("empty", String::new(), Key::None),
        ] {
            let path = dir.path().join(name);
            std::fs::write(&path, text).unwrap();
            assert_eq!(key(&path), expected, "{name}");
        }
        assert_eq!(key(&dir.path().join("absent")), Key::None);
        assert_eq!(key(&dir.path().to_owned()), Key::None, "a directory");
    }

    fn login(url: &str, token: Option<&str>, ssh: &SshHost) -> Login {
        Login::new(Address::of(url), token.map(Secret::new), ssh)
    }

    #[test]
    fn each_way_is_given_once_and_only_to_the_server_it_is_for() {
        let (url, basic) = ("https://example.com/a", CredentialType::USER_PASS_PLAINTEXT);
        let mut with_token = login(url, Some("hunter2"), &SshHost::default());
        assert!(with_token.next(None, url, None, basic).unwrap().has_username());
        assert_eq!(with_token.next(None, url, None, basic).err().unwrap().code(), ErrorCode::Auth);
        assert!(with_token.is_exhausted && with_token.told().contains("tried the token"));
        assert!(!format!("{with_token:?} {}", with_token.told()).contains("hunter2"));

        let mut led_on = login(url, Some("hunter2"), &SshHost::default());
        assert!(led_on.next(None, "https://evil.test/a", None, basic).is_err());
        assert!(led_on.told().contains("not for evil.test"), "{}", led_on.told());

        let mut open = login("http://example.com/a", Some("hunter2"), &SshHost::default());
        assert!(open.next(None, "http://example.com/a", None, basic).is_err());
        assert!(open.told().contains("over http"), "{}", open.told());

        let mut none = login(url, None, &SshHost::default());
        assert!(none.next(None, url, None, basic).is_err());
        assert!(none.told().contains("nothing to log in with"), "{}", none.told());
    }

    #[test]
    fn keys_of_the_configuration_are_tried_in_order_and_not_too_many() {
        let dir = tempfile::tempdir().unwrap();
        let keys: Vec<PathBuf> = (0..9).map(|index| dir.path().join(format!("key{index}"))).collect();
        for key in &keys[1..] {
            std::fs::write(key, "-----BEGIN RSA PRIVATE KEY-----\nMIIE\n").unwrap();
        }
        let mut ssh = SshHost::default();
        (ssh.keys, ssh.keys_first) = (keys, true);
        let mut login = login("ssh://example.com/a", None, &ssh);
        login.ways.retain(|way| matches!(way, Way::Key(_)));
        let url = "ssh://example.com/a";
        assert!(login.next(None, url, None, CredentialType::USERNAME).is_ok(), "the name is no try");
        let mut given = 0;
        while login.next(None, url, Some("git"), CredentialType::SSH_KEY).is_ok() {
            given += 1;
        }
        assert_eq!(given, KEYS_MAX);
        assert!(login.told().contains("key1") && !login.told().contains("key0"), "{}", login.told());
        assert!(login.has_tried_many());
        login.tried.truncate(KEYS_PATIENCE - 1);
        assert!(!login.has_tried_many());
        login.tried.push(AGENT.into());
        assert!(login.has_tried_many());
    }
}
