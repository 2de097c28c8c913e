//! The wire: which call an HTTP request is, and how answers are written.

use std::fmt::Write as _;

use aws_smithy_types::date_time::{DateTime, Format};
use serde_json::{Map, Value, json};

use super::error::ApiError;
use super::world::Api;

/// A request, as far as it matters here.
#[derive(Debug, Default)]
pub(super) struct WireRequest {
    pub(super) target: Option<String>,
    pub(super) authorization: Option<String>,
    pub(super) agent: Option<String>,
    /// `X-Amz-Date`: when it was signed.
    pub(super) date: Option<String>,
    pub(super) path: String,
    pub(super) query: Option<String>,
    pub(super) host: Option<String>,
    pub(super) body: Vec<u8>,
}

#[derive(Debug)]
pub(super) struct WireAnswer {
    pub(super) status: u16,
    pub(super) content_type: &'static str,
    pub(super) error_code: Option<String>,
    pub(super) body: String,
}

#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) api: Api,
    pub(super) action: String,
    pub(super) body: Value,
    /// Who sends it.
    pub(super) agent: String,
    /// When it was signed, by its sender's clock.
    pub(super) signed_ms: Option<i64>,
    /// Where it was sent to: what URLs in its answer begin with.
    pub(super) endpoint: String,
}

/// Reads a request. The JSON services name their action in a header; the query protocol has it in the form.
pub(super) fn parse(request: &WireRequest) -> Result<Call, WireAnswer> {
    let agent = request.agent.clone().unwrap_or_default();
    let signed_ms = request.date.as_deref().and_then(signed_ms);
    let endpoint = format!("http://{}", request.host.as_deref().unwrap_or("localhost"));
    if let Some(target) = &request.target {
        let (service, action) = target.split_once('.').unwrap_or((target, ""));
        let api = match service {
            "AmazonEC2ContainerServiceV20141113" => Api::Ecs,
            "Logs_20140328" => Api::Logs,
            "AmazonEC2ContainerRegistry_V20150921" => Api::Ecr,
            _ => return Err(write(Api::Ecs, "", Err(ApiError::unknown_operation(target)))),
        };
        let body = if request.body.iter().all(u8::is_ascii_whitespace) {
            Value::Object(Map::new())
        } else {
            serde_json::from_slice(&request.body)
                .map_err(|e| write(api, action, Err(ApiError::serialization(e.to_string()))))?
        };
        return Ok(Call { api, action: action.to_owned(), body, agent, signed_ms, endpoint });
    }
    let form = String::from_utf8_lossy(&request.body);
    let pairs = request.query.as_deref().unwrap_or_default().split('&').chain(form.split('&'));
    let fields: Map<String, Value> = pairs
        .filter_map(|pair| pair.split_once('='))
        .map(|(key, value)| (decode(key), Value::String(decode(value))))
        .collect();
    // The scope of the signature tells the service even when the request says nothing else.
    let scope = request.authorization.as_deref().unwrap_or_default();
    let action = fields.get("Action").and_then(Value::as_str).unwrap_or_default().to_owned();
    if action.is_empty() || (scope.contains("/aws4_request") && !scope.contains("/sts/aws4_request")) {
        return Err(write(Api::Ecs, "", Err(ApiError::unknown_operation(&action))));
    }
    Ok(Call { api: Api::Sts, action, body: Value::Object(fields), agent, signed_ms, endpoint })
}

/// `20260101T120000Z` in milliseconds since the epoch.
fn signed_ms(date: &str) -> Option<i64> {
    let part = |range| date.get(range);
    let (year, month, day) = (part(0..4)?, part(4..6)?, part(6..8)?);
    let (hour, minute, second) = (part(9..11)?, part(11..13)?, part(13..15)?);
    let text = format!("{year}-{month}-{day}T{hour}:{minute}:{second}Z");
    DateTime::from_str(&text, Format::DateTime).ok()?.to_millis().ok()
}

fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let digits = rest.as_slice_hex();
        match (byte, digits) {
            (b'+', _) => bytes.push(b' '),
            (b'%', Some(value)) => {
                bytes.push(value);
                rest.nth(1);
            }
            _ => bytes.push(byte),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Looks at the two hex digits that come next, if they do.
trait Hex {
    fn as_slice_hex(&self) -> Option<u8>;
}

impl Hex for std::str::Bytes<'_> {
    fn as_slice_hex(&self) -> Option<u8> {
        let mut ahead = self.clone();
        let digit = |b: u8| char::from(b).to_digit(16).and_then(|d| u8::try_from(d).ok());
        Some(digit(ahead.next()?)? * 16 + digit(ahead.next()?)?)
    }
}

/// The answer to the download of a layer.
pub(super) fn layer(found: Option<String>) -> WireAnswer {
    match found {
        Some(body) => {
            WireAnswer { status: 200, content_type: "application/octet-stream", error_code: None, body }
        }
        None => WireAnswer { status: 404, content_type: "text/plain", error_code: None, body: String::new() },
    }
}

/// An answer in the protocol of its service.
pub(super) fn write(api: Api, action: &str, answer: Result<Value, ApiError>) -> WireAnswer {
    if api == Api::Sts {
        return write_xml(action, answer);
    }
    let content_type = "application/x-amz-json-1.1";
    match answer {
        Ok(value) => WireAnswer { status: 200, content_type, error_code: None, body: value.to_string() },
        Err(error) => {
            let mut body = json!({"__type": error.code, "message": error.message});
            if !error.resource_ids.is_empty() {
                body["resourceIds"] = error.resource_ids.into();
            }
            let (status, error_code) = (error.status, Some(error.code));
            WireAnswer { status, content_type, error_code, body: body.to_string() }
        }
    }
}

const REQUEST_ID: &str = "00000000-0000-4000-8000-000000000000";

fn write_xml(action: &str, answer: Result<Value, ApiError>) -> WireAnswer {
    let content_type = "text/xml";
    let space = "https://sts.amazonaws.com/doc/2011-06-15/";
    match answer {
        Ok(value) => {
            let mut body = format!("<{action}Response xmlns=\"{space}\"><{action}Result>");
            elements(&mut body, &value);
            let _ = write!(
                body,
                "</{action}Result><ResponseMetadata><RequestId>{REQUEST_ID}</RequestId></ResponseMetadata></{action}Response>"
            );
            WireAnswer { status: 200, content_type, error_code: None, body }
        }
        Err(error) => WireAnswer {
            status: error.status,
            content_type,
            error_code: None,
            body: format!(
                "<ErrorResponse xmlns=\"{space}\"><Error><Type>Sender</Type><Code>{}</Code><Message>{}</Message></Error>\
                 <RequestId>{REQUEST_ID}</RequestId></ErrorResponse>",
                escape(&error.code),
                escape(&error.message)
            ),
        },
    }
}

fn elements(body: &mut String, value: &Value) {
    for (key, value) in value.as_object().into_iter().flatten() {
        // Writing to a string cannot fail.
        let _ = write!(body, "<{key}>");
        match value.as_str() {
            Some(text) => body.push_str(&escape(text)),
            None => elements(body, value),
        }
        let _ = write!(body, "</{key}>");
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_signing_is_read() {
        assert_eq!(signed_ms("20260101T000001Z"), Some(1_767_225_601_000));
        for odd in ["", "2026", "yesterday, at noon", "20261301T000000Z"] {
            assert_eq!(signed_ms(odd), None, "{odd}");
        }
    }

    #[test]
    fn forms_are_decoded_and_garbage_is_not_fatal() {
        assert_eq!(decode("a%20b+c%2"), "a b c%2");
        assert_eq!(decode("%zz%"), "%zz%");
        let request = WireRequest { body: vec![0xff, b'=', b'&'], ..WireRequest::default() };
        assert_eq!(parse(&request).map(|_| ()).map_err(|a| a.status), Err(400));
        let request = WireRequest {
            target: Some("AmazonEC2ContainerServiceV20141113.ListTasks".to_owned()),
            body: b"{nonsense".to_vec(),
            ..request
        };
        assert_eq!(parse(&request).map(|_| ()).map_err(|a| a.status), Err(400));
    }
}
