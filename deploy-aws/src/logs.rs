//! The last lines of a CloudWatch log stream.

use deploy_core::{Result, model::Timestamp};

use crate::{Aws, sdk};

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
    let mut config = aws_sdk_cloudwatchlogs::config::Builder::from(aws.sdk_config());
    if let Some(region) = &place.region {
        config = config.region(aws_sdk_cloudwatchlogs::config::Region::new(region.clone()));
    }
    let client = aws_sdk_cloudwatchlogs::Client::from_conf(config.build());
    let limit = i32::try_from(limit.clamp(1, 10_000)).unwrap_or(10_000);
    let call = client.get_log_events().log_group_name(&place.group).log_stream_name(&place.stream);
    let answer = Box::pin(call.start_from_head(false).limit(limit).send()).await;
    let doing = || format!("GetLogEvents {} {}", place.group, place.stream);
    let answer = answer.map_err(|error| sdk::map(&doing(), sdk::Sent::Read, error))?;
    let lines = answer.events().iter().map(|event| {
        let at = Timestamp::from_millis(event.timestamp().unwrap_or(0));
        format!("{at}  {}", event.message().unwrap_or("").trim_end())
    });
    Ok(lines.collect())
}
