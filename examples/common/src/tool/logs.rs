//! `logs`: what the instances of a deploy wrote, as far as they were seen; with `-f` the deploy as it goes on.

use std::{collections::BTreeMap, io, time::Duration};

use deploy_kit::{
    Error, ErrorKind, Result, Target,
    clock::{Clock, SystemClock},
    config::TargetConfig,
    event::{Event, EventKind, PhaseName},
    model::Timestamp,
    observers::{JsonLines, Observer, PlainLines},
    platform::{LogLine, Logs},
    report::{scrub_line, scrub_lines},
    state::journal::{Entry, Fact},
};

use super::{grammar::Logging, session::Session};

/// The most lines of one instance.
const LINES: usize = 10_000;
/// How often new lines are asked for while a deploy is followed.
const FOLLOW: Duration = Duration::from_secs(3);

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
    if let (true, Some(logs), Some(first)) = (instances.is_empty(), target.logs(), entries.first()) {
        let mut written = Written::since(first.at);
        return written.show(session, config, &*logs, &entries).await.map(|()| 0);
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
    say_all(session, config, entries, &logs.errors(first.at, LINES).await?);
    Ok(0)
}

/// Lines of many instances, by instance: what spans several lines of one is scrubbed as a whole.
fn say_all(session: &Session<'_>, config: &TargetConfig, entries: &[Entry], lines: &[LogLine]) {
    let mut sources: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for line in lines {
        sources.entry(&line.source).or_default().push(format!("{}  {}", line.at, line.text));
    }
    for (source, lines) in sources {
        for line in scrub_lines(&lines) {
            say(session, config, entries, &scrub_line(source), &line);
        }
    }
}

/// What all instances write, each line once.
struct Written {
    since: Timestamp,
    /// The lines of that time, which the next answer has again.
    shown: Vec<LogLine>,
}

impl Written {
    fn since(since: Timestamp) -> Self {
        Self { since, shown: Vec::new() }
    }

    async fn show(
        &mut self,
        session: &Session<'_>,
        config: &TargetConfig,
        logs: &dyn Logs,
        entries: &[Entry],
    ) -> Result<()> {
        let mut lines = logs.written(self.since, LINES).await?;
        lines.retain(|line| !self.shown.contains(line));
        say_all(session, config, entries, &lines);
        for line in lines {
            if line.at > self.since {
                self.since = line.at;
                self.shown.clear();
            }
            self.shown.push(line);
        }
        Ok(())
    }
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

/// The deploy that runs, from its beginning until it ends or is left, and what its instances write meanwhile.
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
    let entries = target.journal(rollout.id().as_str()).await?;
    let logs = target.logs().zip(entries.first());
    let mut written = logs.as_ref().map(|(_, first)| Written::since(first.at));
    let mut events = rollout.events();
    loop {
        tokio::select! {
            event = events.next() => match event {
                Some(event) => observer.see(&event),
                None => break,
            },
            () = SystemClock.sleep(FOLLOW), if written.is_some() => {
                let (Some(lines), Some((logs, _))) = (&mut written, &logs) else { continue };
                if let Err(error) = lines.show(session, config, &**logs, &entries).await {
                    eprintln!("{error}");
                    written = None;
                }
            }
        }
    }
    if let (Some(lines), Some((logs, _))) = (&mut written, &logs) {
        lines.show(session, config, &**logs, &entries).await?;
    }
    rollout.outcome().await.map(|_| 0)
}
