//! What the members of ECS's requests are: a value of another type is refused as ECS's protocol refuses it.
//!
//! `shapes.txt` has one structure a line, actions first: `Name member=type ...`. A type is `s` (text, with its words
//! after a colon if only some are allowed), `i` (whole number), `f` (number), `b`, `t` (time), `[type` (list), `{type`
//! (map from text) or a structure's name. Members that are not listed pass: ECS ignores what it does not know.

use std::collections::HashMap;
use std::sync::LazyLock;

use serde_json::{Map, Value};

use super::error::ApiError;

type Members = HashMap<&'static str, &'static str>;

static SHAPES: LazyLock<HashMap<&'static str, Members>> = LazyLock::new(|| {
    let lines = include_str!("shapes.txt").lines();
    lines
        .filter_map(|line| {
            let mut words = line.split(' ');
            let name = words.next()?;
            Some((name, words.filter_map(|word| word.split_once('=')).collect()))
        })
        .collect()
});

/// Refuses a request in which a known member has the wrong type, or none of its words.
pub(super) fn check(action: &str, body: &Map<String, Value>) -> Result<(), ApiError> {
    members(action, body).map_err(|wrong| match wrong {
        Wrong::Type(message) => ApiError::serialization(message),
        Wrong::Word(message) if action.ends_with("TaskDefinition") => ApiError::client_exception(message),
        Wrong::Word(message) => ApiError::invalid(message),
    })
}

enum Wrong {
    Type(String),
    Word(String),
}

fn members(shape: &str, body: &Map<String, Value>) -> Result<(), Wrong> {
    let Some(known) = SHAPES.get(shape) else { return Ok(()) };
    for (name, value) in body {
        if let Some(expected) = known.get(name.as_str()) {
            matches(expected, name, value)?;
        }
    }
    Ok(())
}

fn matches(expected: &str, name: &str, value: &Value) -> Result<(), Wrong> {
    let kind = match value {
        Value::Null => return Ok(()),
        Value::Bool(_) => "TRUE_VALUE",
        Value::Number(_) => "NUMBER_VALUE",
        Value::String(_) => "STRING_VALUE",
        Value::Array(_) => "Start of list",
        Value::Object(_) => "Start of structure or map",
    };
    let cannot = |to: &str| Err(Wrong::Type(format!("{kind} can not be converted to {to} (member {name})")));
    if let Some(element) = expected.strip_prefix('[') {
        let Some(list) = value.as_array() else { return cannot("a List") };
        return list.iter().try_for_each(|value| matches(element, name, value));
    }
    if let Some(element) = expected.strip_prefix('{') {
        let Some(map) = value.as_object() else { return cannot("a Map") };
        return map.values().try_for_each(|value| matches(element, name, value));
    }
    match expected {
        "s" if value.is_string() => Ok(()),
        "s" => cannot("a String"),
        "i" if value.is_i64() => Ok(()),
        "i" => cannot("an Integer"),
        "f" | "t" if value.is_number() => Ok(()),
        "f" | "t" => cannot("a Number"),
        "b" if value.is_boolean() => Ok(()),
        "b" => cannot("a Boolean"),
        _ => match (expected.strip_prefix("s:"), value) {
            (Some(words), Value::String(word)) if words.split('|').any(|one| one == word) => Ok(()),
            (Some(words), Value::String(word)) => Err(Wrong::Word(format!(
                "'{word}' is no value of {name}: it can be {}.",
                words.replace('|', ", ")
            ))),
            (Some(_), _) => cannot("a String"),
            (None, Value::Object(body)) => members(expected, body),
            (None, _) => cannot("a Structure"),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_that_is_used_is_known() {
        let base = |shape: &'static str| shape.trim_start_matches(['[', '{']);
        let plain = |shape: &str| ["s", "i", "f", "b", "t"].contains(&shape) || shape.starts_with("s:");
        assert!(SHAPES.len() > 100, "{} structures", SHAPES.len());
        for (name, members) in SHAPES.iter() {
            for (member, expected) in members {
                let expected = base(expected);
                assert!(plain(expected) || SHAPES.contains_key(expected), "{name}.{member}: {expected}");
            }
        }
    }

    #[test]
    fn wrong_types_and_words_are_refused_wherever_they_are() {
        let container = |body: Value| serde_json::json!({"containerDefinitions": [body]});
        let rows = [
            ("UpdateService", serde_json::json!({"desiredCount": "2"}), "SerializationException"),
            ("UpdateService", serde_json::json!({"desiredCount": 1.5}), "SerializationException"),
            ("UpdateService", serde_json::json!({"forceNewDeployment": "yes"}), "SerializationException"),
            ("DescribeServices", serde_json::json!({"services": "chat"}), "SerializationException"),
            ("DescribeServices", serde_json::json!({"services": [1]}), "SerializationException"),
            ("CreateService", serde_json::json!({"launchType": "LAMBDA"}), "InvalidParameterException"),
            ("RegisterTaskDefinition", serde_json::json!({"networkMode": "wifi"}), "ClientException"),
            ("RegisterTaskDefinition", container(serde_json::json!("app")), "SerializationException"),
            (
                "RegisterTaskDefinition",
                container(serde_json::json!({"environment": [{"name": "A", "value": 1}]})),
                "SerializationException",
            ),
            (
                "RegisterTaskDefinition",
                container(serde_json::json!({"dockerLabels": {"a": 1}})),
                "SerializationException",
            ),
        ];
        for (action, body, code) in rows {
            let answer = check(action, body.as_object().unwrap());
            assert_eq!(answer.unwrap_err().code, code, "{action} {body}");
        }
        let fine =
            serde_json::json!({"desiredCount": 2, "tomorrow": [1], "cluster": null, "launchType": "EC2"});
        assert_eq!(check("UpdateService", fine.as_object().unwrap()), Ok(()));
    }
}
