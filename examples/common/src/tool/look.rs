//! Commands that look: status, history, config.

use deploy_kit::{
    Error, Result, Status,
    clock::{Clock, SystemClock},
    config::TargetConfig,
    model::{Ended, Outcome, Serving, Side, Timestamp},
    report::{StatusRow, Zone, healthy, scrub_line, status_screen},
};
use serde_json::json;

use super::{envelope, session::Session};

/// So many deploys are looked at for what serves since when.
const DEPLOYS: usize = 10;

pub(super) async fn status(session: &Session<'_>, pattern: Option<&str>) -> Result<u8> {
    let (mut rows, mut code) = (Vec::new(), 0);
    let configs = session.some(pattern)?;
    let alone = configs.len() == 1;
    for config in configs {
        match row(session, config).await {
            Ok(row) => rows.push(row),
            Err(error) if alone && super::exit_of(&error) == 2 => return Err(error),
            Err(error) => {
                code = 5;
                rows.push(unseen(session, config, &error));
            }
        }
    }
    if !session.json {
        session.say(&status_screen(&rows, SystemClock.now(), &Zone::utc()));
    }
    Ok(code)
}

async fn row(session: &Session<'_>, config: &TargetConfig) -> Result<StatusRow> {
    let target = session.target(config).await?;
    let status = target.status().await?;
    let deploys = target.history(DEPLOYS).await?;
    let last = deploys.first().and_then(|deploy| deploy.outcome.as_ref());
    let name = &status.now.serving.name;
    let put = |outcome: &&Outcome| outcome.serving.revision.as_ref() == Some(name);
    // What a refusal leaves has been there before.
    let changed = deploys.iter().filter_map(|deploy| deploy.outcome.as_ref());
    let since = changed.filter(|outcome| outcome.ended != Ended::Refused).take_while(put).last();
    let line = line(session, &status, last);
    if session.json {
        let data = envelope::status(&status, last);
        let unfinished = status.unfinished.as_ref();
        session.say(&envelope::line("status", status.now.at, &config.name, unfinished, &line, data));
    }
    Ok(StatusRow {
        target: config.name.clone(),
        commit: status.now.serving.commit.clone(),
        revision: Some(crate::rows::with_digest(&status.now.serving)),
        counts: status.now.counts,
        since: since.map(|outcome| outcome.ended_at),
        note: note(&status, last),
        line: Some(line),
    })
}

fn note(status: &Status, last: Option<&Outcome>) -> String {
    let mut notes = Vec::new();
    if let Some(id) = &status.unfinished {
        let who = match (&status.holder, status.driven) {
            (Some(holder), true) => format!("{holder} runs it"),
            _ => "nobody runs it".into(),
        };
        notes.push(format!("deploy {} is unfinished: {who}", id.short()));
    }
    if !status.now.steady && status.unfinished.is_none() {
        notes.push("not steady".into());
    }
    if let Some(last) = last.filter(|last| last.needs_person()) {
        notes.push(last.to_string());
    }
    notes.join("; ")
}

/// The one line, of what was seen now.
fn line(session: &Session<'_>, status: &Status, last: Option<&Outcome>) -> String {
    let now = &status.now;
    let counts = now.counts.map_or_else(String::new, |counts| format!(", {}", healthy(counts)));
    let serves = format!("{} serves {}{counts}", status.target, now.serving.short());
    if status.unfinished.is_some() {
        let what = if status.driven {
            session.command(&format!("logs {} -f", status.target))
        } else {
            session.command(&format!("resume {}", status.target))
        };
        return format!("UNFINISHED  {serves}. {what}");
    }
    let Some(last) = last else { return format!("NEW  {serves}. Nothing was deployed from here yet.") };
    if last.serving.revision.as_deref() != Some(now.serving.name.as_str()) {
        return format!("OUTSIDE  {serves}. It was changed by others since the last deploy.");
    }
    let mut seen = last.clone();
    let mut serving = Serving::new(Side::Other, now.at);
    serving.side = if last.serving.side == Side::Unknown { Side::Other } else { last.serving.side };
    serving.commit.clone_from(&now.serving.commit);
    serving.revision = Some(now.serving.name.clone());
    serving.counts = now.counts;
    seen.serving = serving;
    seen.to_string()
}

/// A target that cannot be seen.
fn unseen(session: &Session<'_>, config: &TargetConfig, error: &Error) -> StatusRow {
    let why = scrub_line(error.message());
    let line = format!("UNKNOWN  {}: cannot see it ({why}).", config.name);
    if session.json {
        let data = json!({ "error": why });
        session.say(&envelope::line("status", SystemClock.now(), &config.name, None, &line, data));
    }
    StatusRow {
        target: config.name.clone(),
        commit: None,
        revision: None,
        counts: None,
        since: None,
        note: format!("cannot see it: {why}"),
        line: Some(line),
    }
}

pub(super) async fn history(session: &Session<'_>, name: Option<&str>, limit: usize) -> Result<u8> {
    let config = session.one(name)?;
    let target = session.target(config).await?;
    let deploys = target.history(limit).await?;
    if !session.json {
        // Without a look the deploys can be shown still.
        let now = target.status().await.map(|status| status.now).inspect_err(|error| eprintln!("{error}"));
        session.say(&crate::rows::history_since(&deploys, now.ok().as_ref(), SystemClock.now()));
        return Ok(0);
    }
    for deploy in &deploys {
        let (at, id) = (deploy.started_at, &deploy.rollout);
        let message = format!("{deploy}  {}", crate::rows::note(deploy));
        let data = envelope::entry(deploy);
        session.say(&envelope::line("entry", at, &config.name, Some(id), message.trim_end(), data));
    }
    Ok(0)
}

pub(super) fn config(session: &Session<'_>, pattern: Option<&str>) -> Result<u8> {
    for (at, config) in session.some(pattern)?.into_iter().enumerate() {
        if session.json {
            let values = config.values().map(|(key, value, origin)| {
                let of = json!({
                    "value": value, "file": origin.file, "line": origin.line, "section": origin.section,
                });
                (key.to_owned(), of)
            });
            let data = json!({ "values": values.collect::<serde_json::Map<_, _>>() });
            let now: Timestamp = SystemClock.now();
            session.say(&envelope::line("config", now, &config.name, None, &config.name.to_string(), data));
            continue;
        }
        let wide = |of: fn((&str, &str)) -> usize| {
            config.values().map(|(key, value, _)| of((key, value))).max().unwrap_or(0)
        };
        let (keys, values) = (wide(|(key, _)| key.len()), wide(|(_, value)| value.len()));
        let mut text = if at == 0 { String::new() } else { "\n".into() };
        text += &format!("{}\n", config.name);
        for (key, value, origin) in config.values() {
            text += &format!("  {key:keys$}  {value:values$}  {origin}  [{}]\n", origin.section);
        }
        session.say(&text);
    }
    Ok(0)
}
