//! What an event is that is no completion: an error in one of the shapes that providers give it, or nothing at all.
//!
//! An error that passes for nothing makes half an answer a whole one; a sign of life that passes for an error loses a
//! stream that was paid for. So an object is an error when it names one, carries a code that is no success, or says
//! something where a completion would say nothing; plain text, when its words are those of an error.

use serde_json::{Map, Value, json};

use super::json;
use super::refusal::{MESSAGES, is_reported, is_success, is_success_word};

/// Words of plain text that signs of life do not use.
const TROUBLE: [&str; 25] = [
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
    "bad gateway",
    "too many requests",
    "no healthy upstream",
    "time-out",
    "out of memory",
    "connection reset",
    "terminated",
    "rate limit",
    "quota",
    "<html",
    "<!doctype",
];
/// How messages begin that say that a server lives or works.
const LIFE: [&str; 12] = [
    "keepalive",
    "keep-alive",
    "keep alive",
    "ping",
    "pong",
    "heartbeat",
    "still alive",
    "processing",
    "loading",
    "waiting",
    "queued",
    "warming up",
];
/// States in which nothing has failed for good, whatever the message says.
const GOING_ON: [&str; 8] =
    ["processing", "queued", "pending", "running", "in_progress", "retrying", "ok", "success"];
/// Objects in which gateways wrap what a server said.
const WRAPPERS: [&str; 8] = ["response", "data", "result", "x_groq", "payload", "body", "detail", "errormsg"];
const CODES: [&str; 8] =
    ["code", "status_code", "statusCode", "error_code", "errorCode", "errcode", "err_code", "status"];

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
    match json::value(data) {
        Ok(value) => complaint(&value).map_or(Unexpected::Nothing, Unexpected::Error),
        Err(_) if data.starts_with('{') || data.starts_with("[{") => Unexpected::Malformed,
        Err(_) if sounds_bad(data) => Unexpected::Error(Value::String(data.to_owned())),
        Err(_) => Unexpected::Nothing,
    }
}

/// What a value that is no completion complains of.
pub(super) fn complaint(value: &Value) -> Option<Value> {
    match value {
        Value::Object(object) => named(object)
            .or_else(|| called(object))
            .or_else(|| (coded(object) || told(object)).then(|| value.clone())),
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
        return Some(with_code(error, object));
    }
    if let Some(error) = object.get("x_groq").and_then(|groq| groq.get("error")).filter(|e| is_reported(e)) {
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

/// What has the name of an error somewhere, in an object that is no completion.
fn called(object: &Map<String, Value>) -> Option<Value> {
    let whole = || Value::Object(object.clone());
    for (name, value) in object.iter().filter(|(_, value)| is_reported(value)) {
        let lower = name.to_ascii_lowercase();
        if ["error", "errors", "exception", "fault"].iter().any(|end| lower.ends_with(end)) {
            return Some(with_type(with_code(value, object), name));
        }
        if WRAPPERS.contains(&&*lower)
            && let Value::Object(inner) = value
            && let Some(said) = named(inner)
                .or_else(|| called(inner))
                .or_else(|| (lower == "errormsg").then(|| value.clone()))
        {
            return Some(said);
        }
    }
    let kind = |name: &str| object.get(name).and_then(Value::as_str).unwrap_or_default().to_ascii_lowercase();
    let is_bad = |kind: String| {
        ["error", "exception", "failed", "failure"].iter().any(|end| kind.ends_with(end))
            || ["abort", "cancel"].iter().any(|part| kind.contains(part))
    };
    let is_refused = object.get("ok") == Some(&Value::Bool(false));
    (is_refused || ["type", "event", "status"].into_iter().any(|name| is_bad(kind(name)))).then(|| {
        let data = object.get("data").filter(|data| data.is_object());
        data.map_or_else(whole, |data| with_code(data, object))
    })
}

/// An error that does not say its kind has the name under which it stood.
fn with_type(error: Value, name: &str) -> Value {
    match error {
        Value::Object(mut error) if name.to_ascii_lowercase().ends_with("exception") => {
            error.entry("type").or_insert_with(|| name.into());
            Value::Object(error)
        }
        other => other,
    }
}

/// An error with the code that stands beside it, and the message, where it says less than these.
fn with_code(error: &Value, beside: &Map<String, Value>) -> Value {
    let error = match error {
        Value::Array(items) => items.iter().find(|item| is_reported(item)).unwrap_or(error),
        _ => error,
    };
    let Value::Object(object) = error else { return Value::Object(beside.clone()) };
    let mut whole = match object.get("error").filter(|inner| inner.is_object()) {
        Some(inner) => match with_code(inner, object) {
            Value::Object(inner) => inner,
            _ => object.clone(),
        },
        None => object.clone(),
    };
    let missing = |names: &[&str], of: &Map<String, Value>| !names.iter().any(|name| of.contains_key(*name));
    for names in [&CODES[..], &MESSAGES[..]] {
        if missing(names, &whole) {
            let found = names.iter().find_map(|name| Some((*name, beside.get(*name)?)));
            whole.extend(found.map(|(name, value)| (name.to_owned(), value.clone())));
        }
    }
    Value::Object(whole)
}

/// MiniMax: <https://platform.minimax.io/docs/api-reference/text-openai-api>.
pub(super) fn is_failure(base_resp: &Value) -> bool {
    base_resp.get("status_code").is_some_and(|code| !is_success(code))
}

fn coded(object: &Map<String, Value>) -> bool {
    let says_success = || said(object).any(is_success_word);
    CODES.iter().any(|name| match object.get(*name) {
        // A state, such as "queued", unless it is a bad one.
        Some(Value::String(state)) if *name == "status" && state.parse::<i64>().is_err() => {
            sounds_bad(state) || state.to_ascii_lowercase().contains("rate_limit")
        }
        Some(code) => !is_success(code) && !says_success(),
        None => false,
    })
}

fn said(object: &Map<String, Value>) -> impl Iterator<Item = &str> {
    MESSAGES.iter().filter_map(|name| object.get(*name)?.as_str())
}

/// Whether it says something, and not what kind of thing that is: so do gateways that died.
fn told(object: &Map<String, Value>) -> bool {
    let state = object.get("status").and_then(Value::as_str).unwrap_or_default();
    if object.get("success") == Some(&Value::Bool(true)) || is_any(state, &GOING_ON) {
        return false;
    }
    let is_typed = ["type", "object", "choices"].iter().any(|name| object.contains_key(*name))
        || object.keys().any(|key| CODES.contains(&key.as_str()));
    said(object).any(|text| sounds_bad(text) || !is_typed && !is_success_word(text) && !sounds_alive(text))
        || object.get("detail").is_some_and(|detail| match detail {
            Value::Array(items) => !items.is_empty(),
            Value::Object(_) => is_reported(detail),
            _ => false,
        })
}

fn is_any(word: &str, words: &[&str]) -> bool {
    words.iter().any(|known| known.eq_ignore_ascii_case(word))
}

fn sounds_alive(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    let ends = |rest: &str| !rest.starts_with(|c: char| c.is_ascii_alphanumeric());
    LIFE.iter().any(|words| text.trim_start().strip_prefix(words).is_some_and(ends))
}

fn sounds_bad(text: &str) -> bool {
    let text = text.to_ascii_lowercase().replace("no error", "");
    TROUBLE.iter().any(|word| text.contains(word)) && !is_setting(&text)
}

/// A name and a number, such as "timeout: 15".
fn is_setting(text: &str) -> bool {
    let rest = text.trim_start_matches(|c: char| c.is_ascii_alphabetic() || c == '_' || c == '-');
    let number = rest.trim_start_matches([' ', '=', ':']);
    rest.len() < text.len()
        && number.len() < rest.len()
        && !number.is_empty()
        && number.trim_end_matches(['s', 'm']).bytes().all(|byte| byte.is_ascii_digit())
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
            r#"{"message":"An issue came up while processing your request"}"#,
            r#"{"message":"dropping you"}"#,
            r#"{"detail":"m"}"#,
            r#"{"detail":[{"loc":["body"],"msg":"m"}]}"#,
            r#"{"type":"about:blank","title":"Bad Gateway","status":502,"detail":"m"}"#,
            r#"{"status":"failed"}"#,
            r#"{"errorMessage":"m","errorType":"Runtime.ExitError"}"#,
            r#"{"error_msg":"m"}"#,
            r#"{"detail":{"error":"m"}}"#,
            r#"{"throttlingException":{"message":"m"}}"#,
            r#"{"x_groq":{"id":"r","error":"m"},"choices":[]}"#,
            r#"{"fault":{"faultstring":"m"}}"#,
            r#"{"type":"response.failed","response":{"error":{"message":"m"}}}"#,
            r#"{"result":{"error":"m"}}"#,
            r#"{"type":"exception","message":"m"}"#,
            r#"{"type":"abort","reason":"m"}"#,
            r#"{"status":"rate_limited"}"#,
            r#"{"status":"cancelled"}"#,
            r#"{"ok":false,"description":"m"}"#,
            r#"{"ERROR":{"message":"m"}}"#,
            r#"{"event":"error","data":{"message":"m"}}"#,
            r#"{"code":500,"message":"m","choices":[]}"#,
            r#"{"error":{"message":"half \ud83d an emoji"}}"#,
            r#"{"error":{"code":0,"message":"m"}}"#,
            "Bad Gateway",
            "429 Too Many Requests",
            "no healthy upstream",
            "CUDA out of memory",
            "<html><head><title>502</title></head></html>",
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
            r#"{"code":0,"message":"no error"}"#,
            r#"{"error":"null"}"#,
            r#"{"error":{"code":200,"message":"success"}}"#,
            "heartbeat, no errors",
            r#"{"message":"keepalive"}"#,
            r#"{"msg":"heartbeat"}"#,
            r#"{"success":true,"message":"retry after a failed upstream"}"#,
            r#"{"status":"processing","message":"the previous attempt failed, retrying"}"#,
            r#"{"code":20000,"message":"ok"}"#,
            r#"{"code":10000,"msg":"success","choices":[]}"#,
            r#"{"status":"ok","message":"Success."}"#,
            r#"{"choices":[],"message":"Model loaded"}"#,
            r#"{"type":"rate_limits.updated","rate_limits":[]}"#,
            r#"{"type":"error_count","value":0}"#,
            "timeout: 15",
            "timeout=30",
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
