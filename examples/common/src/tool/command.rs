//! Commands to a deploy that another process runs: they travel through the store.

use deploy_kit::{
    Error, ErrorKind, Result, Rollout, Target, config::TargetConfig, event::EventKind, state::journal::Fact,
};

use super::session::Session;

/// The unfinished deploy that a living process runs.
struct Running<'s> {
    config: &'s TargetConfig,
    target: Target,
    rollout: Rollout,
    /// The last entry before the command.
    last: u64,
}

impl<'s> Running<'s> {
    async fn of(session: &'s Session<'_>, name: Option<&str>, must_live: bool) -> Result<Self> {
        let config = session.one(name)?;
        let target = session.target(config).await?;
        let Some(rollout) = target.active().await? else {
            return Err(Error::new(ErrorKind::Refused, format!("nothing is unfinished for {}", config.name)));
        };
        if must_live && !target.status().await?.driven {
            let text = format!(
                "deploy {} of {} is unfinished, and nobody runs it",
                rollout.id().short(),
                config.name
            );
            let next = session.command(&format!("resume {}", config.name));
            return Err(Error::new(ErrorKind::Refused, text).next(next));
        }
        let last = target.journal(rollout.id().as_str()).await?.last().map_or(0, |entry| entry.seq);
        Ok(Self { config, target, rollout, last })
    }

    /// What became of the command: it is journaled, obeyed or not. `None`: the deploy ended or was left before.
    async fn answer(&self, word: &str) -> Option<bool> {
        let mut events = self.rollout.events();
        while let Some(event) = events.next().await {
            if event.seq.is_some_and(|seq| seq > self.last)
                && let EventKind::Fact(fact) = &event.kind
                && let Fact::Command { command, accepted, .. } = &**fact
                && command.word() == word
            {
                return Some(*accepted);
            }
        }
        None
    }

    async fn told(&self, session: &Session<'_>, word: &str, done: &str) -> Result<u8> {
        match self.answer(word).await {
            Some(true) => {
                let line = format!("{done}  {} deploy {}\n", self.config.name, self.rollout.id().short());
                if session.json {
                    eprint!("{line}")
                } else {
                    session.say(&line)
                }
                Ok(0)
            }
            Some(false) => {
                let text = format!("the deploy {} cannot {word} where it is", self.rollout.id().short());
                Err(Error::new(ErrorKind::Refused, text))
            }
            None => {
                let text = format!("the deploy {} ended before it could {word}", self.rollout.id().short());
                Err(Error::new(ErrorKind::Refused, text))
            }
        }
    }
}

pub(super) async fn pause(session: &Session<'_>, name: Option<&str>, reason: Option<String>) -> Result<u8> {
    let running = Running::of(session, name, true).await?;
    running.rollout.pause(reason.unwrap_or_else(|| "asked for".into())).await?;
    let go_on = session.command(&format!("resume {}", running.config.name));
    running.told(session, "pause", "PAUSED").await.inspect(|_| eprintln!("go on with `{go_on}`"))
}

pub(super) async fn promote(session: &Session<'_>, name: Option<&str>) -> Result<u8> {
    let running = Running::of(session, name, true).await?;
    running.rollout.promote().await?;
    running.told(session, "promote", "PROMOTED").await
}

/// Stops it and waits until it is back, whoever goes back: if nobody runs it, this process does.
pub(super) async fn abort(session: &Session<'_>, name: Option<&str>, reason: Option<String>) -> Result<u8> {
    let running = Running::of(session, name, false).await?;
    running.rollout.abort(reason.unwrap_or_else(|| "asked for".into())).await?;
    let mut rollout = running.rollout.clone();
    loop {
        match rollout.outcome().await {
            Ok(outcome) => {
                let line = outcome.to_string() + "\n";
                if session.json {
                    eprint!("{line}")
                } else {
                    session.say(&line)
                }
                let asked = outcome.ended == deploy_kit::model::Ended::Aborted;
                return Ok(if asked { 0 } else { outcome.exit() });
            }
            // Its process went away meanwhile: the command is stored, and whoever goes on obeys it.
            Err(_) => match running.target.resume().await? {
                Some(resumed) => rollout = resumed,
                None => {
                    let text = format!("the deploy {} is over", rollout.id().short());
                    return Err(Error::new(ErrorKind::Refused, text));
                }
            },
        }
    }
}

pub(super) async fn pin(session: &Session<'_>, name: Option<&str>, reason: &str) -> Result<u8> {
    let config = session.one(name)?;
    let target = session.target(config).await?;
    target.pin(reason).await?;
    let now = target.status().await?.now;
    session.say(&format!("PINNED  {} is {}\n", config.name, session.backend.place(&now)));
    Ok(0)
}
