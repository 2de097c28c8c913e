//! Reading a request's body, which anybody may have written.

use serde_json::{Map, Value};

use super::error::ApiError;

/// A request's parameters. A value of the wrong type is the error that AWS gives, never a panic.
#[derive(Clone, Copy, Debug)]
pub(super) struct Params<'a>(&'a Map<String, Value>);

impl<'a> Params<'a> {
    pub(super) fn new(body: &'a Value) -> Result<Self, ApiError> {
        body.as_object().map(Self).ok_or_else(|| ApiError::serialization("Start of structure expected."))
    }

    pub(super) fn all(self) -> &'a Map<String, Value> {
        self.0
    }

    /// The value, unless it is absent or null: the protocols do not tell those apart.
    pub(super) fn get(self, key: &str) -> Option<&'a Value> {
        self.0.get(key).filter(|v| !v.is_null())
    }

    pub(super) fn str(self, key: &str) -> Result<Option<&'a str>, ApiError> {
        self.typed(key, Value::as_str, "string")
    }

    /// A string that must be there and not be empty.
    pub(super) fn need(self, key: &str) -> Result<&'a str, ApiError> {
        self.str(key)?
            .filter(|s| !s.is_empty())
            .ok_or_else(|| ApiError::invalid(format!("{key} can not be blank.")))
    }

    pub(super) fn int(self, key: &str) -> Result<Option<i64>, ApiError> {
        self.typed(key, Value::as_i64, "integer")
    }

    pub(super) fn bool(self, key: &str) -> Result<bool, ApiError> {
        Ok(self.typed(key, Value::as_bool, "boolean")?.unwrap_or(false))
    }

    pub(super) fn list(self, key: &str) -> Result<&'a [Value], ApiError> {
        Ok(self.typed(key, Value::as_array, "list")?.map(Vec::as_slice).unwrap_or_default())
    }

    pub(super) fn strings(self, key: &str) -> Result<Vec<&'a str>, ApiError> {
        self.list(key)?
            .iter()
            .map(|v| {
                v.as_str().ok_or_else(|| ApiError::serialization(format!("{key} must be a list of strings.")))
            })
            .collect()
    }

    /// Whether the list `include` names `what`.
    pub(super) fn includes(self, what: &str) -> Result<bool, ApiError> {
        Ok(self.strings("include")?.contains(&what))
    }

    /// The names or ARNs in `key`, at most `limit` of them.
    pub(super) fn up_to(self, key: &str, limit: usize) -> Result<Vec<&'a str>, ApiError> {
        let names = self.strings(key)?;
        if names.len() > limit {
            return Err(ApiError::invalid(format!("{key} cannot have more than {limit} elements.")));
        }
        Ok(names)
    }

    fn typed<T>(
        self,
        key: &str,
        read: fn(&'a Value) -> Option<T>,
        name: &str,
    ) -> Result<Option<T>, ApiError> {
        match self.get(key) {
            None => Ok(None),
            Some(value) => read(value)
                .map(Some)
                .ok_or_else(|| ApiError::serialization(format!("{key} must be of type {name}."))),
        }
    }
}

/// The number inside nested objects, such as `deploymentConfiguration` / `maximumPercent`. No number of the API is
/// larger than a thousand million, or negative: within that, sums and products of two of them stay in range.
pub(super) fn int_at(value: &Value, pointer: &str) -> Option<i64> {
    value.pointer(pointer).and_then(Value::as_i64).map(|n| n.clamp(0, 1_000_000_000))
}

/// The part of an ARN or path after its last slash: how ECS lets names and ARNs be used alike.
pub(super) fn last_part(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

/// One page of `items`, and the token of the next one. Tokens are positions; a client must not read them.
pub(super) fn page<T>(
    items: Vec<T>,
    params: Params<'_>,
    default_limit: i64,
    most: i64,
) -> Result<(Vec<T>, Option<String>), ApiError> {
    let limit = params.int("maxResults")?.unwrap_or(default_limit);
    if limit < 1 || limit > most {
        return Err(ApiError::invalid(format!("maxResults must be between 1 and {most}.")));
    }
    let start = match params.str("nextToken")? {
        None | Some("") => 0,
        Some(token) => token
            .strip_prefix("page-")
            .and_then(|n| usize::from_str_radix(n, 16).ok())
            .ok_or_else(|| ApiError::invalid("Invalid token."))?,
    };
    let limit = usize::try_from(limit).unwrap_or(1);
    let next = start.saturating_add(limit);
    let token = (next < items.len()).then(|| format!("page-{next:08x}"));
    Ok((items.into_iter().skip(start).take(limit).collect(), token))
}

/// `{key: items}` with `nextToken` if there is one.
pub(super) fn listed(key: &str, items: Vec<Value>, token: Option<String>) -> Value {
    let mut answer = Map::new();
    answer.insert(key.to_owned(), Value::Array(items));
    if let Some(token) = token {
        answer.insert("nextToken".to_owned(), Value::String(token));
    }
    Value::Object(answer)
}

/// A time as the JSON protocol of ECS and ECR writes it: seconds since the epoch, with a fraction.
#[expect(clippy::cast_precision_loss, reason = "milliseconds since the epoch fit in 53 bits")]
pub(super) fn time(ms: i64) -> Value {
    Value::from(ms as f64 / 1000.0)
}

/// A length as the API's numbers are.
pub(super) fn count(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}
