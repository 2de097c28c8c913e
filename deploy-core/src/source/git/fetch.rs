//! Fetching a branch with the user's own credentials.

mod fault;
mod work;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use super::Repo;
use crate::{
    clock::{Clock, SystemClock},
    context::{LocalSecrets, Secrets},
    error::{Error, ErrorKind, Result},
    model::{Secret, SecretRef, millis},
    report::duration_words,
    source::Commit,
    task,
};

/// How long a fetch may take if nothing else is said.
const WITHIN: Duration = Duration::from_secs(120);

/// How often it is tried.
const TRIES: u32 = 3;
/// The pause before the second try; it doubles.
const PAUSE: Duration = Duration::from_millis(500);

/// What is fetched, and how.
#[derive(Debug, Clone)]
pub struct Fetch {
    branch: String,
    token: Option<SecretRef>,
    within: Duration,
    clock: Arc<dyn Clock>,
}

impl Fetch {
    /// This branch, as the remote names it.
    pub fn branch(name: impl Into<String>) -> Self {
        Self { branch: name.into(), token: None, within: WITHIN, clock: SystemClock::shared() }
    }

    /// Logs in over https with this token alone, and not with what git's credential helpers have. The user name
    /// that goes with it is the URL's, or else the one that the host asks for. It is sent to the remote's own
    /// server and nowhere else, and never over http but to this machine.
    #[must_use]
    pub fn token(mut self, token: SecretRef) -> Self {
        self.token = Some(token);
        self
    }

    /// How long it may take. Default: two minutes.
    #[must_use]
    pub fn within(mut self, time: Duration) -> Self {
        self.within = time;
        self
    }

    /// The clock that its time is measured with. Default: the machine's own.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }
}

/// What a fetch brought.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Fetched {
    /// The name of the remote.
    pub remote: String,
    /// The tip of the branch there.
    pub tip: Commit,
    /// The full id of what was known as its tip before, if anything was.
    pub before: Option<String>,
}

/// Whoever waits for a fetch has gone.
#[derive(Debug, Clone, Default)]
struct GivenUp(Arc<AtomicBool>);

impl GivenUp {
    fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Sets it when the fetch's future ends, however it does.
struct Waiting(GivenUp);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.0.store(true, Ordering::Relaxed);
    }
}

impl Repo {
    /// Brings the remote's branch of [`tip`](crate::source::Source::tip) up to date: its commits, the tags on
    /// them that are not here yet, and where it points. Nothing is pruned, no tag is moved, no local branch and no
    /// file is touched. May be called again at any time.
    ///
    /// It logs in as git does, each way once:
    /// - ssh: with the keys of the agent and those that ssh's configuration names (`ssh -G`, where there is an
    ///   ssh), but not with keys that have a passphrase and are not in the agent. The server's key has to be in
    ///   `~/.ssh/known_hosts`; no other file is looked at, and certificates of hosts are not.
    /// - https: with the token, if there is one, else with what git's credential helpers have.
    ///
    /// A server that cannot be reached, is too busy or has a fault, and a repository that somebody else writes to, are tried
    /// three times within the time; what is refused is not tried again.
    ///
    /// Costs one connection a try, a thread for its time, and a process for each helper that is asked. Dropping the
    /// future ends it at the next thing that the server sends. A server that sends nothing is given up at the
    /// deadline; its thread ends with the connection or the process, and points to nothing new any more.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if there is no such remote, repository or branch;
    /// [`ErrorKind::Unauthenticated`] if nothing of what there is was accepted, and
    /// [`ErrorKind::PermissionDenied`] if it was and does not suffice; [`ErrorKind::Invalid`] if the server's key
    /// or certificate is not known, or the branch's name is none; [`ErrorKind::Unavailable`] if the server cannot
    /// be reached or has a fault; [`ErrorKind::Throttled`]; [`ErrorKind::TimedOut`];
    /// [`ErrorKind::Unsupported`] for a kind of remote that only git itself can fetch from.
    pub async fn fetch(&self, what: &Fetch) -> Result<Fetched> {
        let token = match &what.token {
            Some(reference) => Some(LocalSecrets.resolve(reference).await?),
            None => None,
        };
        let given_up = GivenUp::default();
        let _waiting = Waiting(given_up.clone());
        tokio::select! {
            fetched = self.try_to_fetch(what, token.as_ref(), &given_up) => fetched,
            () = what.clock.sleep(what.within) => Err(self.too_late(what)),
        }
    }

    async fn try_to_fetch(
        &self,
        what: &Fetch,
        token: Option<&Secret>,
        given_up: &GivenUp,
    ) -> Result<Fetched> {
        let (mut pause, mut tries) = (PAUSE, 1);
        loop {
            let (path, branch) = (self.path().to_owned(), what.branch.clone());
            let (token, given_up) = (token.cloned(), given_up.clone());
            let fetching = task::thread("git fetch", move || work::fetch(&path, &branch, token, &given_up))?;
            let fetched = fetching.await.unwrap_or_else(|_| {
                Err(Error::new(ErrorKind::Unexpected, "fetching was broken off by a defect"))
            });
            let passes = |error: &Error| {
                matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Throttled | ErrorKind::Conflict)
            };
            match fetched {
                Err(error) if tries < TRIES && passes(&error) => {}
                ended => return ended,
            }
            what.clock.sleep(pause).await;
            pause *= 2;
            tries += 1;
        }
    }

    fn too_late(&self, what: &Fetch) -> Error {
        let (branch, path) = (what.branch.escape_debug(), self.path().display());
        let time = duration_words(millis(what.within));
        Error::new(ErrorKind::TimedOut, format!("{branch} was not fetched into {path} within {time}"))
            .next(format!("try `git fetch` in {path}"))
    }
}
