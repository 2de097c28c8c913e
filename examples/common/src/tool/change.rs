//! Commands that change something: deploy, rollback, resume.

use std::sync::{Arc, Mutex, PoisonError};

use deploy_kit::{
    Error, ErrorKind, Request, Result, Rollout, Target,
    config::TargetConfig,
    event::{Event, EventKind},
    model::Revision,
    observers::Observer,
    report::unfinished_line,
    state::journal::{Decision, Fact},
};

use super::{
    grammar::{Deploying, RollingBack},
    not_built,
    session::{Session, one_line},
    wish::Wish,
};
use crate::follow::{Followed, LEFT, Stop, follow};

pub(super) async fn deploy(session: &Session<'_>, given: &Deploying) -> Result<u8> {
    let mut stop = Stop::new();
    let wish = Wish::of(session, &given.wished).await?;
    let mut run = Run::of(session, wish.config).await?;
    if let Some(text) = &wish.refused {
        return run.refuse("image", text, &[], &mut stop).await;
    }
    if let Some(code) = run.crossed(&mut stop).await? {
        return Ok(code);
    }
    for guard in &given.overrides {
        let reason = given.reason.clone().unwrap_or_default();
        run.target = run.target.override_guard(guard, reason);
    }
    let mut request = run.target.deploy(wish.release);
    if let Some(reason) = &given.reason {
        request = request.reason(reason);
    }
    if let Some(hash) = &given.plan {
        request = request.approved(hash);
    }
    run.start(request, &mut stop).await
}

pub(super) async fn rollback(session: &Session<'_>, given: &RollingBack) -> Result<u8> {
    if given.across.is_some() {
        return Err(not_built("--across: going back over a migration"));
    }
    let mut stop = Stop::new();
    let run = Run::of(session, session.one(given.target.as_deref())?).await?;
    if let Some(code) = run.crossed(&mut stop).await? {
        return Ok(code);
    }
    let mut request = run.target.rollback();
    if let Some(to) = &given.to {
        request = request.to(to);
    }
    if let Some(reason) = &given.reason {
        request = request.reason(reason);
    }
    run.start(request, &mut stop).await
}

/// "Go on", whoever stopped it. Without a target: with whatever is unfinished.
pub(super) async fn resume(session: &Session<'_>, target: Option<&str>) -> Result<u8> {
    let mut stop = Stop::new();
    let configs = match target {
        Some(name) => vec![session.one(Some(name))?],
        None => session.some(None)?,
    };
    let mut code = 0;
    for config in configs {
        let run = Run::of(session, config).await?;
        run.unpause().await?;
        match run.target.resume().await? {
            Some(rollout) => code = code.max(run.follow(rollout, &mut stop).await?),
            None if session.json => eprintln!("nothing is unfinished for {}", config.name),
            None => session.say(&format!("nothing is unfinished for {}\n", config.name)),
        }
        if code == LEFT {
            break;
        }
    }
    Ok(code)
}

/// Refuses by itself what is asked for, with everything that a refusal shows.
pub(super) async fn refuse(
    session: &Session<'_>,
    config: &TargetConfig,
    guard: &str,
    text: &str,
    next: &[String],
) -> Result<u8> {
    Run::of(session, config).await?.refuse(guard, text, next, &mut Stop::new()).await
}

/// One change of one target, watched.
struct Run<'s, 'b> {
    session: &'s Session<'b>,
    config: &'s TargetConfig,
    target: Target,
    seen: Seen,
}

impl<'s, 'b> Run<'s, 'b> {
    async fn of(session: &'s Session<'b>, config: &'s TargetConfig) -> Result<Self> {
        let seen = Seen::default();
        let target = session.watched(session.target(config).await?).observe(seen.clone());
        Ok(Self { session, config, target, seen })
    }

    /// A living holder that was told to pause is told to go on; without one, going on is part of taking over.
    async fn unpause(&self) -> Result<()> {
        let target = self.session.target(self.config).await?;
        let Some(rollout) = target.active().await? else { return Ok(()) };
        let mut paused = false;
        for entry in target.journal(rollout.id().as_str()).await? {
            if let Fact::Decision { decision, .. } = &entry.fact {
                paused = *decision == Decision::Pause || paused && *decision != Decision::GoOn;
            }
        }
        if paused && target.status().await?.driven { rollout.go_on().await } else { Ok(()) }
    }

    /// Refuses a configuration that is that of another place, before anything else.
    async fn crossed(&self, stop: &mut Stop) -> Result<Option<u8>> {
        let now = self.target.status().await?.now;
        let Some(crossing) = self.session.backend.crossing(&self.session.config, self.config, &now) else {
            return Ok(None);
        };
        eprint!("{}", crossing.screen);
        self.refuse("identity", &crossing.text, &crossing.next, stop).await.map(Some)
    }

    async fn refuse(&self, guard: &str, text: &str, next: &[String], stop: &mut Stop) -> Result<u8> {
        let rollout = self.target.refuse(guard, text, next).await?;
        self.follow(rollout, stop).await
    }

    async fn start(&self, request: Request, stop: &mut Stop) -> Result<u8> {
        let rollout = request.start().await?;
        self.follow(rollout, stop).await
    }

    async fn follow(&self, rollout: Rollout, stop: &mut Stop) -> Result<u8> {
        let resume = self.session.command(&format!("resume {}", self.config.name));
        match follow(&rollout, stop, &resume).await {
            Followed::Ended(outcome) => {
                // Observers have seen the last event, unless one of them is very slow.
                if !self.session.json {
                    let line = self.seen.with(|seen| seen.one_line.clone());
                    self.session.say(&(line.unwrap_or_else(|| outcome.to_string()) + "\n"));
                }
                Ok(outcome.exit())
            }
            Followed::Left(error) if error.kind() == ErrorKind::Interrupted || self.seen.began() => {
                self.left(&error, &resume).await;
                Ok(LEFT)
            }
            Followed::Left(error) => Err(error),
        }
    }

    /// What serves while nobody goes on, from a look made now.
    async fn left(&self, error: &Error, resume: &str) {
        let sides = self.seen.with(|seen| seen.sides.clone());
        let serves = match self.target.status().await {
            Ok(status) => {
                let now = status.now.serving.short().to_owned();
                let mixed = status.now.counts.is_some_and(|counts| counts.old > 0);
                match sides {
                    Some((from, to)) if mixed => {
                        let other =
                            if status.now.serving.name == from.name { to.short().to_owned() } else { now };
                        vec![from.short().to_owned(), other]
                    }
                    _ => vec![now],
                }
            }
            Err(_) => Vec::new(),
        };
        let line = unfinished_line(&self.config.name, &serves, resume);
        eprintln!("  left   {}", error.message());
        if self.session.json {
            eprintln!("{line}");
        } else {
            self.session.say(&(line + "\n"));
        }
    }
}

/// What the last line needs of the events.
#[derive(Debug, Clone, Default)]
struct Seen(Arc<Mutex<Kept>>);

#[derive(Debug, Default)]
struct Kept {
    sides: Option<(Revision, Revision)>,
    one_line: Option<String>,
}

impl Seen {
    fn with<T>(&self, work: impl FnOnce(&mut Kept) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn began(&self) -> bool {
        self.with(|seen| seen.sides.is_some())
    }
}

impl Observer for Seen {
    fn see(&self, event: &Event) {
        let line = one_line(event);
        self.with(|seen| {
            if let EventKind::Fact(fact) = &event.kind
                && let Fact::Started { from, to, .. } = &**fact
            {
                seen.sides = Some((from.clone(), to.clone()));
            }
            if line.is_some() {
                seen.one_line = line;
            }
        });
    }
}
