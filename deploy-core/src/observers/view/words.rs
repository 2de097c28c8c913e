//! What a look says, seen from both sides of the deploy.

use serde_json::Value;

use crate::{
    model::Observation,
    observers::message::{motion, not_healthy},
    report::scrub_line,
};

/// `new 1/2 healthy (1 starting), old 2 serving`; on the way back `old 1/2 healthy (1 starting), new 1 left`.
pub(in crate::observers) fn watched(back: bool, seen: &Observation) -> String {
    let (wanted, others, doing) = if back { ("old", "new", "left") } else { ("new", "old", "serving") };
    let Some(counts) = seen.counts else {
        return format!("{wanted} {}", motion(&seen.motion, false));
    };
    let mut text = format!("{wanted} {}{}", crate::report::healthy(counts), not_healthy(counts, seen));
    if counts.old > 0 {
        text += &format!(", {others} {} {doing}", counts.old);
    }
    text + &motion(&seen.motion, true)
}

/// What a step returned, if that is one word: a revision's name.
pub(super) fn output(output: &Value) -> String {
    let named = |name: &str| output.get(name).and_then(Value::as_str);
    let made = output.get("revision").and_then(|made| made.get("name")).and_then(Value::as_str);
    let text = output.as_str().or(made).or_else(|| named("revision")).or_else(|| named("name"));
    scrub_line(text.filter(|text| text.len() <= 60).unwrap_or_default())
}
