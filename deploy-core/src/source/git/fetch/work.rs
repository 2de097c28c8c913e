//! One fetch, on its own thread.

use std::{cell::RefCell, path::Path};

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use git2::{
    AutotagOption, CertificateCheckStatus, Config, Direction, ErrorCode, FetchOptions, FetchPrune, Oid,
    ProxyOptions, Reference, Remote, RemoteCallbacks, RemoteUpdateFlags, Repository,
};

use super::{Fetched, GivenUp, fault::fault};
use crate::{
    error::{Error, ErrorKind, Result},
    model::Secret,
    source::git::{
        address::{Address, Scheme},
        cannot_open, cannot_read, commit, history,
        login::Login,
        names::remote_of,
        ssh::SshHost,
    },
};

pub(super) fn fetch(path: &Path, branch: &str, token: Option<Secret>, given_up: &GivenUp) -> Result<Fetched> {
    let opened = Repository::open(path).map_err(|error| cannot_open(path, error))?;
    // A linked work tree shares all but its own head; libgit2 would look for `shallow` only there.
    let common = opened.commondir();
    let repository = Repository::open(common).map_err(|error| cannot_open(common, error))?;
    let source = format!("refs/heads/{branch}");
    if !Reference::is_valid_name(&source) || branch.contains('*') {
        let text = format!("`{}` is no name of a branch", branch.escape_debug());
        return Err(Error::new(ErrorKind::Invalid, text).next("name one branch of the remote"));
    }
    let name = remote_of(&repository, branch);
    let configured = find(&repository, &name)?;
    let address = Address::of(configured.url().unwrap_or_default());
    if address.scheme == Scheme::Local && history::is_shallow(&repository) {
        let text = format!("libgit2 cannot fetch from the path {} into a shallow clone", address.shown);
        return Err(Error::new(ErrorKind::Unsupported, text).next(format!("git fetch {name}")));
    }
    let config = repository.config().ok();
    let ssh = match address.scheme {
        Scheme::Ssh => SshHost::of(&address, config.as_ref()),
        _ => SshHost::default(),
    };
    if let Some(way) = &ssh.by_way_of {
        let text = format!(
            "{} is reached by way of `{}`, which libgit2 cannot do",
            address.shown,
            way.escape_debug()
        );
        return Err(Error::new(ErrorKind::Unsupported, text).next(format!("git fetch {name}")));
    }
    // libgit2 would take a path from the working directory of this process.
    let relative = address.relative_path().map(|path| opened.workdir().unwrap_or(common).join(path));
    let other_url = match relative {
        Some(path) => Some(path.to_string_lossy().into_owned()),
        None => ssh.url(&address),
    };
    let mut remote = match other_url {
        Some(url) => repository.remote_anonymous(&url).map_err(|error| cannot_read(&name, error))?,
        None => configured,
    };
    let secret = token.clone();
    let login = RefCell::new(Login::new(address.clone(), token, &ssh));
    let line = Line { login: &login, config: config.as_ref(), given_up, ssh: address.scheme == Scheme::Ssh };
    let tracking = format!("refs/remotes/{name}/{branch}");
    let moved = line
        .fetch(&mut remote, &format!("+{source}:{tracking}"))
        .map_err(|error| fault(&error, &name, &address, &login.borrow(), secret.as_ref(), given_up))?;
    let Some((before, tip)) = moved else {
        let text = format!("{name} ({}) has no branch {}", address.shown, branch.escape_debug());
        return Err(Error::new(ErrorKind::NotFound, text)
            .next(format!("check the spelling, or git push {name} {}", branch.escape_debug())));
    };
    let before = (!before.is_zero()).then(|| before.to_string());
    Ok(Fetched { remote: name, tip: commit(&repository, tip)?, before })
}

fn find<'r>(repository: &'r Repository, name: &str) -> Result<Remote<'r>> {
    repository.find_remote(name).map_err(|error| match error.code() {
        ErrorCode::NotFound => Error::new(ErrorKind::NotFound, format!("there is no remote `{name}`"))
            .next(format!("git remote add {name} URL")),
        _ => cannot_read(name, error),
    })
}

/// What the callbacks of one connection share.
#[derive(Clone, Copy)]
struct Line<'l> {
    login: &'l RefCell<Login>,
    config: Option<&'l Config>,
    given_up: &'l GivenUp,
    ssh: bool,
}

impl<'l> Line<'l> {
    /// Where the branch pointed and where it points now; none if the remote has no such branch.
    fn fetch(self, remote: &mut Remote<'_>, refspec: &str) -> Result<Option<(Oid, Oid)>, git2::Error> {
        let mut options = FetchOptions::new();
        options
            .remote_callbacks(self.callbacks())
            .proxy_options(proxy())
            .prune(FetchPrune::Off)
            .download_tags(AutotagOption::Auto);
        let mut connection = remote.connect_auth(Direction::Fetch, Some(self.callbacks()), Some(proxy()))?;
        self.go_on()?;
        connection.remote().download(&[refspec], Some(&mut options))?;
        drop(connection);
        // From here on it is a matter of this machine alone.
        self.go_on()?;
        let mut moved = None;
        let mut callbacks = RemoteCallbacks::new();
        callbacks.update_tips(|_, before, tip| {
            moved = Some((before, tip));
            true
        });
        // Tags come without a callback: git2 panics in it on names that are not UTF-8.
        let even_if_unchanged = RemoteUpdateFlags::REPORT_UNCHANGED;
        remote.update_tips(Some(&mut callbacks), even_if_unchanged, AutotagOption::None, Some("fetch"))?;
        drop(callbacks);
        if moved.is_some() {
            remote.update_tips(None, RemoteUpdateFlags::empty(), AutotagOption::Auto, Some("fetch"))?;
        }
        Ok(moved)
    }

    fn go_on(self) -> Result<(), git2::Error> {
        match self.given_up.is_set() {
            true => Err(git2::Error::from_str("given up")),
            false => Ok(()),
        }
    }

    fn callbacks(self) -> RemoteCallbacks<'l> {
        let mut callbacks = RemoteCallbacks::new();
        callbacks.credentials(move |url, user, allowed| {
            self.go_on()?;
            self.login.borrow_mut().next(self.config, url, user, allowed)
        });
        callbacks.transfer_progress(move |_| !self.given_up.is_set());
        callbacks.sideband_progress(move |_| !self.given_up.is_set());
        // Of https libgit2 would no longer say that it is the certificate.
        if self.ssh {
            callbacks.certificate_check(move |key, _| {
                let hash = key.as_hostkey().and_then(|key| key.hash_sha256());
                self.login.borrow_mut().host_key =
                    hash.map(|hash| format!("SHA256:{}", STANDARD_NO_PAD.encode(hash)));
                // libgit2's own verdict, from known_hosts, stands.
                Ok(CertificateCheckStatus::CertificatePassthrough)
            });
        }
        callbacks
    }
}

/// As git's own configuration says.
fn proxy() -> ProxyOptions<'static> {
    let mut proxy = ProxyOptions::new();
    proxy.auto();
    proxy
}
