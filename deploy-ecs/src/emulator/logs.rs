//! CloudWatch Logs: what tasks wrote, and the calls that read it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::config::Config;
use super::error::ApiError;
use super::lifecycle::fill;
use super::params::Params;

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Line {
    at: i64,
    text: String,
}

/// A group; tasks make the groups that they write to, as with `awslogs-create-group`.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Group {
    created_at: i64,
    retention_days: Option<i64>,
    streams: BTreeMap<String, Vec<Line>>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Logs(BTreeMap<String, Group>);

impl Logs {
    pub(super) fn write(&mut self, group: &str, stream: &str, at: i64, lines: &[&str]) {
        let stream = self.group_at(group, at).streams.entry(stream.to_owned()).or_default();
        stream.extend(lines.iter().map(|text| Line { at, text: (*text).to_owned() }));
    }

    fn group_at(&mut self, name: &str, now: i64) -> &mut Group {
        let made = || Group { created_at: now, retention_days: None, streams: BTreeMap::new() };
        self.0.entry(name.to_owned()).or_insert_with(made)
    }

    pub(super) fn call(
        &mut self,
        config: &Config,
        now: i64,
        action: &str,
        params: Params<'_>,
    ) -> Result<Value, ApiError> {
        match action {
            "CreateLogGroup" => {
                let name = params.need("logGroupName")?;
                if self.0.contains_key(name) {
                    return Err(already("The specified log group already exists"));
                }
                self.group_at(name, now);
                Ok(json!({}))
            }
            "CreateLogStream" => {
                let name = params.need("logStreamName")?.to_owned();
                let group = self.group_mut(params)?;
                if group.streams.insert(name, Vec::new()).is_some() {
                    return Err(already("The specified log stream already exists"));
                }
                Ok(json!({}))
            }
            "PutRetentionPolicy" => {
                self.group_mut(params)?.retention_days = params.int("retentionInDays")?;
                Ok(json!({}))
            }
            "DeleteLogGroup" => {
                self.group_mut(params)?;
                self.0.remove(params.need("logGroupName")?);
                Ok(json!({}))
            }
            "GetLogEvents" => self.get_log_events(params),
            "FilterLogEvents" => self.filter_log_events(params),
            "DescribeLogStreams" => self.describe_log_streams(config, params),
            "DescribeLogGroups" => self.describe_log_groups(config, params),
            _ => Err(ApiError::unknown_operation(action)),
        }
    }

    fn group(&self, params: Params<'_>) -> Result<&BTreeMap<String, Vec<Line>>, ApiError> {
        self.0.get(group_name(params)?).map(|group| &group.streams).ok_or_else(no_group)
    }

    fn group_mut(&mut self, params: Params<'_>) -> Result<&mut Group, ApiError> {
        self.0.get_mut(group_name(params)?).ok_or_else(no_group)
    }

    fn describe_log_groups(&self, config: &Config, params: Params<'_>) -> Result<Value, ApiError> {
        let prefix = params.str("logGroupNamePrefix")?.unwrap_or("");
        let pattern = params.str("logGroupNamePattern")?.unwrap_or("");
        let limit = params.int("limit")?.and_then(|n| usize::try_from(n).ok()).unwrap_or(50);
        let start = params.str("nextToken")?.and_then(|t| t.parse::<usize>().ok()).unwrap_or(0);
        let named = |name: &str| name.starts_with(prefix) && name.contains(pattern);
        let known: Vec<_> = self.0.iter().filter(|(name, _)| named(name)).collect();
        let views = known.iter().skip(start).take(limit).map(|(name, group)| {
            let mut view = json!({
                "logGroupName": name,
                "arn": arn(config, name, None),
                "logGroupArn": arn(config, name, None).trim_end_matches(":*"),
                "creationTime": group.created_at,
                "metricFilterCount": 0,
                "storedBytes": 0,
                "logGroupClass": "STANDARD",
            });
            fill(&mut view, "retentionInDays", group.retention_days);
            view
        });
        let mut answer = json!({"logGroups": views.collect::<Vec<_>>()});
        let end = start.saturating_add(limit);
        fill(&mut answer, "nextToken", (end < known.len()).then(|| end.to_string()));
        Ok(answer)
    }

    fn get_log_events(&self, params: Params<'_>) -> Result<Value, ApiError> {
        let name = params.need("logStreamName")?;
        let lines = self.group(params)?.get(name).ok_or_else(|| {
            ApiError::client("ResourceNotFoundException", "The specified log stream does not exist.")
        })?;
        let lines: Vec<&Line> = within(lines, params)?.collect();
        let limit = limit(params)?;
        let (start, end) = match params.str("nextToken")? {
            Some(token) => {
                let bad = || ApiError::invalid("The specified nextToken is invalid.");
                let (way, at) = token.split_once('/').ok_or_else(bad)?;
                let at = at.parse::<usize>().map_err(|_| bad())?.min(lines.len());
                match way {
                    "f" => (at, at.saturating_add(limit).min(lines.len())),
                    "b" => (at.saturating_sub(limit), at),
                    _ => return Err(bad()),
                }
            }
            None if params.bool("startFromHead")? => (0, limit.min(lines.len())),
            None => (lines.len().saturating_sub(limit), lines.len()),
        };
        let events: Vec<Value> = lines
            .get(start..end)
            .unwrap_or_default()
            .iter()
            .map(|l| json!({"timestamp": l.at, "ingestionTime": l.at, "message": l.text}))
            .collect();
        Ok(json!({
            "events": events,
            "nextForwardToken": format!("f/{end:056}"),
            "nextBackwardToken": format!("b/{start:056}"),
        }))
    }

    fn filter_log_events(&self, params: Params<'_>) -> Result<Value, ApiError> {
        let group = self.group(params)?;
        let names = params.strings("logStreamNames")?;
        let prefix = params.str("logStreamNamePrefix")?;
        let pattern = Pattern::parse(params.str("filterPattern")?.unwrap_or(""))?;
        let mut found = Vec::new();
        for (stream, lines) in group {
            if !names.is_empty() && !names.contains(&stream.as_str())
                || prefix.is_some_and(|p| !stream.starts_with(p))
            {
                continue;
            }
            for (at, line) in within(lines, params)?.enumerate() {
                if pattern.matches(&line.text) {
                    found.push((line.at, stream, at, &line.text));
                }
            }
        }
        found.sort();
        let start = match params.str("nextToken")? {
            None => 0,
            Some(token) => token
                .parse::<usize>()
                .map_err(|_| ApiError::invalid("The specified nextToken is invalid."))?,
        };
        let end = start.saturating_add(limit(params)?);
        let events: Vec<Value> = found
            .iter()
            .enumerate()
            .skip(start)
            .take(end - start)
            .map(|(n, (at, stream, _, text))| {
                json!({
                    "logStreamName": stream, "timestamp": at, "ingestionTime": at, "message": text,
                    "eventId": format!("{at:020}{n:036}"),
                })
            })
            .collect();
        let mut answer = json!({"events": events, "searchedLogStreams": []});
        if end < found.len() {
            answer["nextToken"] = end.to_string().into();
        }
        Ok(answer)
    }

    fn describe_log_streams(&self, config: &Config, params: Params<'_>) -> Result<Value, ApiError> {
        let group = self.group(params)?;
        let group_name = group_name(params)?;
        let prefix = params.str("logStreamNamePrefix")?.unwrap_or("");
        let mut streams: Vec<(&String, &Vec<Line>)> =
            group.iter().filter(|(name, _)| name.starts_with(prefix)).collect();
        if params.str("orderBy")? == Some("LastEventTime") {
            streams.sort_by_key(|(_, lines)| lines.last().map(|l| l.at));
        }
        if params.bool("descending")? {
            streams.reverse();
        }
        let limit = params.int("limit")?.and_then(|n| usize::try_from(n).ok()).unwrap_or(50);
        let start = params.str("nextToken")?.and_then(|t| t.parse::<usize>().ok()).unwrap_or(0);
        let end = start.saturating_add(limit);
        let page: Vec<Value> = streams
            .iter()
            .skip(start)
            .take(limit)
            .map(|(name, lines)| {
                json!({
                    "logStreamName": name,
                    "arn": arn(config, group_name, Some(name)),
                    "creationTime": lines.first().map(|l| l.at),
                    "firstEventTimestamp": lines.first().map(|l| l.at),
                    "lastEventTimestamp": lines.last().map(|l| l.at),
                    "lastIngestionTime": lines.last().map(|l| l.at),
                    "storedBytes": 0,
                })
            })
            .collect();
        let mut answer = json!({ "logStreams": page });
        if end < streams.len() {
            answer["nextToken"] = end.to_string().into();
        }
        Ok(answer)
    }
}

fn group_name(params: Params<'_>) -> Result<&str, ApiError> {
    match (params.str("logGroupName")?, params.str("logGroupIdentifier")?) {
        (Some(name), _) => Ok(name),
        // An identifier may be an ARN, whose last part is the name.
        (None, Some(id)) => Ok(id.split_once(":log-group:").map_or(id, |(_, name)| name)),
        (None, None) => Err(ApiError::invalid("logGroupName can not be blank.")),
    }
}

fn no_group() -> ApiError {
    ApiError::client("ResourceNotFoundException", "The specified log group does not exist.")
}

fn already(message: &str) -> ApiError {
    ApiError::client("ResourceAlreadyExistsException", message)
}

fn within<'a>(lines: &'a [Line], params: Params<'_>) -> Result<impl Iterator<Item = &'a Line>, ApiError> {
    let from = params.int("startTime")?.unwrap_or(i64::MIN);
    // Exclusive at the end, as documented.
    let to = params.int("endTime")?.unwrap_or(i64::MAX);
    Ok(lines.iter().filter(move |l| l.at >= from && l.at < to))
}

fn limit(params: Params<'_>) -> Result<usize, ApiError> {
    let limit = params.int("limit")?.unwrap_or(10_000);
    match usize::try_from(limit) {
        Ok(limit @ 1..=10_000) => Ok(limit),
        _ => Err(ApiError::invalid("limit must be between 1 and 10000.")),
    }
}

fn arn(config: &Config, group: &str, stream: Option<&str>) -> String {
    let group = format!("arn:aws:logs:{}:{}:log-group:{group}", config.region, config.account);
    stream.map_or_else(|| format!("{group}:*"), |s| format!("{group}:log-stream:{s}"))
}
/// A filter pattern for unstructured lines: words and quoted phrases that must be in a line, `-` before those that must
/// not, `?` before those of which one is enough (where nothing must be there).
#[derive(Debug, Default)]
struct Pattern {
    all: Vec<String>,
    any: Vec<String>,
    none: Vec<String>,
}

impl Pattern {
    fn parse(text: &str) -> Result<Self, ApiError> {
        let text = text.trim();
        if text.starts_with(['{', '[', '%']) {
            return Err(ApiError::invalid("Only filter patterns for unstructured lines are known here."));
        }
        let (mut pattern, mut rest) = (Self::default(), text);
        while !rest.is_empty() {
            let (kind, term) = match rest.strip_prefix('?') {
                Some(term) => (&mut pattern.any, term),
                None => match rest.strip_prefix('-') {
                    Some(term) => (&mut pattern.none, term),
                    None => (&mut pattern.all, rest),
                },
            };
            let (word, after) = match term.strip_prefix('"') {
                Some(phrase) => phrase
                    .split_once('"')
                    .ok_or_else(|| ApiError::invalid("Invalid filter pattern: a quote is not closed."))?,
                None => term.split_once(char::is_whitespace).unwrap_or((term, "")),
            };
            kind.push(word.to_owned());
            rest = after.trim_start();
        }
        Ok(pattern)
    }

    fn matches(&self, line: &str) -> bool {
        let has = |word: &String| line.contains(word.as_str());
        let any = self.any.is_empty() || !self.all.is_empty() || self.any.iter().any(has);
        self.all.iter().all(has) && any && !self.none.iter().any(has)
    }
}

#[cfg(test)]
mod tests {
    use super::Pattern;

    #[test]
    fn patterns_for_unstructured_lines() {
        for (pattern, line, matches) in [
            ("", "anything", true),
            ("ERROR", "an ERROR", true),
            ("ERROR", "an error", false),
            ("left right", "right then left", true),
            ("left right", "right alone", false),
            ("?ERROR ?error", "an error", true),
            ("?ERROR ?error", "all is well", false),
            ("\"not found\"", "page not found", true),
            ("\"not found\"", "found it not", false),
            ("ERROR -Exiting", "ERROR Exiting", false),
            ("ERROR -Exiting", "ERROR here", true),
        ] {
            let parsed = Pattern::parse(pattern).expect(pattern);
            assert_eq!(parsed.matches(line), matches, "{pattern} on {line}");
        }
        for wrong in ["{ $.level = 1 }", "[a, b]", "%regex%", "\"open"] {
            assert!(Pattern::parse(wrong).is_err(), "{wrong}");
        }
    }
}
