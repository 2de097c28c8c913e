//! `logs`: what the instances of a deploy wrote, as far as they were seen; with `-f` the deploy as it goes on.

use std::{collections::BTreeMap, io};

use deploy_kit::{
    Error, ErrorKind, Result, Target,
    config::TargetConfig,
    event::{Event, EventKind, PhaseName},
    observers::{JsonLines, Observer, PlainLines},
    platform::Logs,
    report::scrub_lines,
    state::journal::{Entry, Fact},
};

use super::{grammar::Logging, session::Session};

/// The most lines of one instance.
const LINES: usize = 10_000;

pub(super) async fn logs(session: &Session<'_>, given: &Logging) -> Result<u8> {
    let config = session.one(given.target.as_deref())?;
    let target = session.target(config).await?;
    if given.follow {
        return follow(session, config, &target).await;
    }
    let deploy = match &given.deploy {
        Some(id) => id.clone(),
        None => match target.history(1).await?.first() {
            Some(deploy) => deploy.rollout.to_string(),
            None => {
                let text = format!("nothing was deployed to {} from here yet", config.name);
                return Err(Error::new(ErrorKind::NotFound, text));
            }
        },
    };
    let entries = target.journal(&deploy).await?;
    if given.errors
        && let (Some(logs), Some(first)) = (target.logs(), entries.first())
    {
        return errors(session, config, &*logs, first, &entries).await;
    }
    if session.json {
        let lines = JsonLines::new(io::stdout());
        replay(config, &entries, &lines);
    }
    let instances = instances(&entries);
    if instances.is_empty() {
        eprintln!("no instance of deploy {deploy} was seen failing; logs of the others are not read yet");
    }
    for (instance, kept) in instances {
        let lines = lines(&target, &instance, kept).await;
        for line in &lines {
            say(session, config, &entries, &instance, line);
        }
    }
    Ok(0)
}

/// What all instances wrote since the deploy began that looks like an error.
async fn errors(
    session: &Session<'_>,
    config: &TargetConfig,
    logs: &dyn Logs,
    first: &Entry,
    entries: &[Entry],
) -> Result<u8> {
    for line in scrub_lines(&logs.errors(first.at, LINES).await?) {
        let (at, rest) = line.split_once("  ").unwrap_or(("", &line));
        let (source, text) = rest.split_once("  ").unwrap_or(("", rest));
        say(session, config, entries, source, &format!("{at}  {text}"));
    }
    Ok(0)
}

/// The instances that faults name, and the lines that were kept of each.
fn instances(entries: &[Entry]) -> BTreeMap<String, Vec<String>> {
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for entry in entries {
        if let Fact::Fault { instances, log, .. } = &entry.fact {
            for (at, instance) in instances.iter().enumerate() {
                let kept = found.entry(instance.id.clone()).or_default();
                // The lines of a fault are those of the first instance that showed it.
                if at == 0 && kept.is_empty() {
                    kept.clone_from(log);
                }
            }
        }
    }
    found
}

/// What the platform still has of an instance, else what the journal kept.
async fn lines(target: &Target, instance: &str, kept: Vec<String>) -> Vec<String> {
    let Some(logs) = target.logs() else { return scrub_lines(&kept) };
    match logs.tail(instance, LINES).await {
        Ok(lines) if !lines.is_empty() => scrub_lines(&lines),
        Ok(_) => scrub_lines(&kept),
        Err(error) => {
            eprintln!("{instance}: {error}");
            scrub_lines(&kept)
        }
    }
}

fn say(session: &Session<'_>, config: &TargetConfig, entries: &[Entry], instance: &str, line: &str) {
    if !session.json {
        return session.say(&format!("{instance}  {line}\n"));
    }
    let Some(last) = entries.last() else { return };
    let kind = EventKind::Log {
        instance: instance.to_owned(),
        source: None,
        stream: None,
        line: line.to_owned(),
        cut: false,
    };
    let event = Event::live(last.at, &last.rollout, &config.name, PhaseName::Done, kind);
    JsonLines::new(io::stdout()).see(&event);
}

/// The journal as the events that it was.
fn replay(config: &TargetConfig, entries: &[Entry], observer: &dyn Observer) {
    let mut phase = PhaseName::Guard;
    for entry in entries {
        phase = phase.after(&entry.fact);
        observer.see(&Event::of(entry, &config.name, phase));
    }
}

/// The deploy that runs, from its beginning until it ends or is left.
async fn follow(session: &Session<'_>, config: &TargetConfig, target: &Target) -> Result<u8> {
    let Some(rollout) = target.active().await? else {
        eprintln!("nothing is unfinished for {}", config.name);
        return Ok(0);
    };
    let observer: Box<dyn Observer> = if session.json {
        Box::new(JsonLines::new(io::stdout()))
    } else {
        Box::new(PlainLines::new(io::stdout()))
    };
    let mut events = rollout.events();
    while let Some(event) = events.next().await {
        observer.see(&event);
    }
    rollout.outcome().await.map(|_| 0)
}
