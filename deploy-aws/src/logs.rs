//! Lines of CloudWatch log streams: the last ones of one, and those of many since some time.

use deploy_core::{Result, model::Timestamp, platform::LogLine};

use crate::{Aws, Limit, sdk};

/// GetLogEvents, per account and region (<https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/cloudwatch_limits_cwl.html>).
const READ: Limit = Limit { name: "logs: get", burst: 10, per_second: 10 };
/// FilterLogEvents.
const SEARCH: Limit = Limit { name: "logs: filter", burst: 5, per_second: 5 };
/// Which lines are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum LogLines {
    /// All of them.
    All,
    /// Those that look like errors.
    Errors,
}

/// What a line of an error has, in CloudWatch's filter syntax: any of these words.
const ERRORS: &str = "?ERROR ?Error ?error ?FATAL ?Fatal ?fatal ?CRITICAL ?Exception ?panic ?Traceback";
/// How many pages of a search are read: CloudWatch may answer with empty ones.
const PAGES: usize = 10;

/// A log stream.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LogPlace {
    /// The group.
    pub group: String,
    /// The stream.
    pub stream: String,
    /// The region, where it is not the connection's.
    pub region: Option<String>,
}

impl LogPlace {
    /// A stream of a group.
    pub fn new(group: impl Into<String>, stream: impl Into<String>, region: Option<String>) -> Self {
        Self { group: group.into(), stream: stream.into(), region }
    }
}

/// The last `limit` lines (at most 10,000), oldest first, each `time  line`. One `GetLogEvents`.
///
/// # Errors
/// What CloudWatch Logs says: [`NotFound`](deploy_core::ErrorKind::NotFound) while nothing has been written yet.
pub async fn tail(aws: &Aws, place: &LogPlace, limit: usize) -> Result<Vec<String>> {
    let client = client(aws, place);
    let limit = i32::try_from(limit.clamp(1, 10_000)).unwrap_or(10_000);
    aws.pace(&READ).await;
    let call = client.get_log_events().log_group_name(&place.group).log_stream_name(&place.stream);
    let answer = Box::pin(call.start_from_head(false).limit(limit).send()).await;
    let doing = || format!("GetLogEvents {} {}", place.group, place.stream);
    let answer = answer.map_err(|error| aws.noted(&READ, sdk::map(&doing(), sdk::Sent::Read, error)))?;
    let lines = answer.events().iter().map(|event| {
        let at = Timestamp::from_millis(event.timestamp().unwrap_or(0));
        format!("{at}  {}", event.message().unwrap_or("").trim_end())
    });
    Ok(lines.collect())
}

/// Lines of a log from somewhere on.
#[cfg(feature = "codebuild")]
#[derive(Debug, Default)]
pub(crate) struct LogPage {
    pub(crate) lines: Vec<String>,
    /// Where it goes on; the same as before at its end.
    pub(crate) next: Option<String>,
}

/// The lines after `from`, or from the beginning. One `GetLogEvents`; no line while nothing has been written yet.
#[cfg(feature = "codebuild")]
pub(crate) async fn next(aws: &Aws, place: &LogPlace, from: Option<String>) -> Result<LogPage> {
    let client = client(aws, place);
    aws.pace(&READ).await;
    let call = client.get_log_events().log_group_name(&place.group).log_stream_name(&place.stream);
    let answer = Box::pin(call.start_from_head(true).set_next_token(from).send()).await;
    let doing = || format!("GetLogEvents {} {}", place.group, place.stream);
    let answer = answer.map_err(|error| aws.noted(&READ, sdk::map(&doing(), sdk::Sent::Read, error)))?;
    let messages = answer.events().iter().filter_map(|event| event.message());
    let lines = messages.flat_map(|text| text.split(['\n', '\r'])).map(str::to_owned).collect();
    Ok(LogPage { lines, next: answer.next_forward_token().map(str::to_owned) })
}

/// Up to `limit` lines since then, oldest first, of all streams whose names begin with the place's; their source is the stream. Up to ten `FilterLogEvents`.
///
/// # Errors
/// What CloudWatch Logs says.
pub async fn search(
    aws: &Aws,
    place: &LogPlace,
    which: LogLines,
    since: Timestamp,
    limit: usize,
) -> Result<Vec<LogLine>> {
    let pattern = (which == LogLines::Errors).then(|| ERRORS.to_owned());
    let client = client(aws, place);
    let (mut lines, mut page) = (Vec::new(), None);
    for _ in 0..PAGES {
        aws.pace(&SEARCH).await;
        let call = client.filter_log_events().log_group_name(&place.group);
        let call = call.set_filter_pattern(pattern.clone());
        let call = call.log_stream_name_prefix(&place.stream).start_time(since.as_millis());
        let answer = Box::pin(call.set_next_token(page).send()).await;
        let doing = || format!("FilterLogEvents {} {}", place.group, place.stream);
        let answer =
            answer.map_err(|error| aws.noted(&SEARCH, sdk::map(&doing(), sdk::Sent::Read, error)))?;
        lines.extend(answer.events().iter().map(|event| {
            let at = Timestamp::from_millis(event.timestamp().unwrap_or(0));
            let (stream, line) = (event.log_stream_name().unwrap_or(""), event.message().unwrap_or(""));
            LogLine::new(at, stream, line.trim_end())
        }));
        page = answer.next_token().map(str::to_owned);
        if page.is_none() || lines.len() >= limit {
            break;
        }
    }
    lines.truncate(limit);
    Ok(lines)
}

fn client(aws: &Aws, place: &LogPlace) -> aws_sdk_cloudwatchlogs::Client {
    let mut config = aws_sdk_cloudwatchlogs::config::Builder::from(aws.sdk_config());
    if let Some(region) = &place.region {
        config = config.region(aws_sdk_cloudwatchlogs::config::Region::new(region.clone()));
    }
    aws_sdk_cloudwatchlogs::Client::from_conf(config.build())
}
