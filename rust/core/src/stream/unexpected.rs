//! What an event is that is no completion: an error in one of the shapes that providers give it, or nothing at all.
//!
//! An error that passes for nothing makes half an answer a whole one; a sign of life that passes for an error loses a
//! stream that was paid for. So an object is an error when it names one, carries a code that is no success, or says
//! something where a completion would say nothing; plain text, when its words are those of an error.

use serde_json::{Map, Value, json};

use super::refusal::is_reported;

/// Words of plain text that signs of life do not use.
const TROUBLE: [&str; 14] = [
    "error",
    "exception",
    "fail",
    "unavailable",
    "timeout",
    "timed out",
    "denied",
    "unauthorized",
    "forbidden",
    "exceeded",
    "invalid",
    "overloaded",
    "not found",
    "aborted",
]; // fmt: skip
const SUCCESS: [&str; 7] = ["", "success", "succeeded", "ok", "okay", "true", "none"];
const CODES: [&str; 8] =
    ["code", "status_code", "statusCode", "error_code", "errorCode", "errcode", "err_code", "status"];
const MESSAGES: [&str; 3] = ["message", "detail", "msg"];

/// What it is to the reader.
#[derive(Debug, PartialEq)]
pub(super) enum Unexpected {
    /// The provider says what went wrong.
    Error(Value),
    /// Nothing that matters.
    Nothing,
    /// The beginning of an object, which may have held anything.
    Malformed,
}

/// What data is that says nothing of a completion.
pub(super) fn read(data: &str) -> Unexpected {
    match serde_json::from_str::<Value>(data) {
        Ok(value) => complaint(&value).map_or(Unexpected::Nothing, Unexpected::Error),
        Err(_) if data.starts_with('{') || data.starts_with("[{") => Unexpected::Malformed,
        Err(_) if sounds_bad(data) => Unexpected::Error(Value::String(data.to_owned())),
        Err(_) => Unexpected::Nothing,
    }
}

/// What a value that is no completion complains of.
pub(super) fn complaint(value: &Value) -> Option<Value> {
    match value {
        Value::Object(object) => {
            named(object).or_else(|| (coded(object) || told(object)).then(|| value.clone()))
        }
        Value::Array(items) => items.iter().find_map(complaint),
        Value::String(text) => sounds_bad(text).then(|| value.clone()),
        _ => None,
    }
}

/// What an object calls an error; such a thing is one beside a completion, too.
pub(super) fn named(object: &Map<String, Value>) -> Option<Value> {
    let whole = || Value::Object(object.clone());
    let word = |name: &str| object.get(name).and_then(Value::as_str).unwrap_or_default();
    let said =
        ["error", "errors", "Error"].iter().find_map(|name| object.get(*name).filter(|e| is_reported(e)));
    if let Some(error) = said {
        return Some(error.clone());
    }
    if ["object", "type"].into_iter().any(|name| word(name).to_ascii_lowercase().ends_with("error")) {
        return Some(whole());
    }
    if let Some(response) = object.get("base_resp").filter(|response| is_failure(response)) {
        let said = response.get("status_msg").cloned().unwrap_or_default();
        return Some(json!({"code": response.get("status_code"), "message": said}));
    }
    (object.get("success") == Some(&Value::Bool(false))).then(whole)
}

/// MiniMax: <https://platform.minimax.io/docs/api-reference/text-openai-api>.
pub(super) fn is_failure(base_resp: &Value) -> bool {
    base_resp.get("status_code").is_some_and(|code| !is_success(code))
}

fn coded(object: &Map<String, Value>) -> bool {
    CODES.iter().any(|name| match object.get(*name) {
        // A state, such as "queued", unless it is a bad one.
        Some(Value::String(state)) if *name == "status" && state.parse::<i64>().is_err() => sounds_bad(state),
        Some(code) => !is_success(code),
        None => false,
    })
}

fn is_success(code: &Value) -> bool {
    let number = |number: i64| number == 0 || (100..400).contains(&number);
    match code {
        Value::Number(code) => code.as_i64().is_some_and(number),
        Value::String(code) => match code.parse::<i64>() {
            Ok(code) => number(code),
            Err(_) => SUCCESS.contains(&code.to_ascii_lowercase().as_str()),
        },
        _ => true,
    }
}

/// Whether it says something, and not what kind of thing that is: so do gateways that died.
fn told(object: &Map<String, Value>) -> bool {
    let is_typed = object.contains_key("type") || object.contains_key("object");
    MESSAGES.iter().any(|name| match object.get(*name) {
        Some(Value::String(text)) => {
            sounds_bad(text)
                || !is_typed
                    && !object.keys().any(|key| CODES.contains(&key.as_str()))
                    && !SUCCESS.contains(&text.to_ascii_lowercase().as_str())
        }
        Some(Value::Array(items)) => *name == "detail" && !items.is_empty(),
        _ => false,
    })
}

fn sounds_bad(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    TROUBLE.iter().any(|word| text.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_in_all_their_shapes() {
        for data in [
            r#"{"object":"error","message":"m","code":500}"#,
            r#"{"object":"error","message":"m","code":null}"#,
            r#"{"type":"error","message":"m"}"#,
            r#"{"type":"api_error","message":"m"}"#,
            r#"{"error":"m"}"#,
            r#"{"errors":[{"message":"m"}]}"#,
            r#"[{"error":{"code":429,"message":"m"}}]"#,
            r#"{"code":500,"message":"m"}"#,
            r#"{"code":"InvalidParameter","message":"m","request_id":"r"}"#,
            r#"{"code":"1301","message":"m"}"#,
            r#"{"error_code":336003,"error_msg":"m"}"#,
            r#"{"base_resp":{"status_code":1004,"status_msg":"m"}}"#,
            r#"{"success":false,"message":"m"}"#,
            r#"{"message":"Internal server error"}"#,
            r#"{"message":"m"}"#,
            r#"{"detail":"m"}"#,
            r#"{"detail":[{"loc":["body"],"msg":"m"}]}"#,
            r#"{"type":"about:blank","title":"Bad Gateway","status":502,"detail":"m"}"#,
            r#"{"status":"failed"}"#,
            r#""upstream error""#,
            "[ERROR] upstream died",
            "Internal Server Error",
        ] {
            assert!(matches!(read(data), Unexpected::Error(_)), "{data}");
        }
    }

    #[test]
    fn signs_of_life_are_nothing() {
        for data in [
            ": keepalive",
            "ping",
            "[KEEPALIVE]",
            "null",
            "{}",
            "[]",
            "0",
            "true",
            r#""keep-alive""#,
            r#"{"type":"ping"}"#,
            r#"{"status":"queued","message":"waiting for a GPU"}"#,
            r#"{"type":"info","message":"warming up"}"#,
            r#"{"code":0,"message":"success"}"#,
            r#"{"code":"200","message":"whatever"}"#,
            r#"{"base_resp":{"status_code":0,"status_msg":"success"}}"#,
            r#"{"id":"x","object":"chat.completion.chunk","choices":[]}"#,
            r#"{"error":null,"error_code":0}"#,
        ] {
            assert_eq!(read(data), Unexpected::Nothing, "{data}");
        }
    }

    #[test]
    fn half_an_object_is_malformed() {
        for data in ["{oops", r#"{"choices":[{"del"#, r#"[{"error":"#] {
            assert_eq!(read(data), Unexpected::Malformed, "{data}");
        }
    }
}
