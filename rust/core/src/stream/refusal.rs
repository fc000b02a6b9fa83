//! What a provider says went wrong: the head of a refused request, an error body, an error in the stream.
//!
//! Providers agree on little: `{"error": {"message", "code", "type"}}`, `{"error": "..."}`,
//! `{"message"}`, `{"detail"}`, a list around any of these, or plain text. Pages of HTML are dropped. Which event is an
//! error at all is in [`super::unexpected`].

use std::time::SystemTime;

use serde_json::Value;

use super::error::{ErrorCode, StreamError};
use super::json;
use super::scrub::Scrubber;

/// A provider that asks for more is as good as gone; callers cap further.
const LONGEST_RETRY_AFTER_S: f64 = 86_400.0;

/// The headers that matter.
#[derive(Debug, Default)]
pub(super) struct Head {
    retry_after_s: Option<f64>,
    retry: Option<bool>,
    location: Option<String>,
    encoding: Option<String>,
}

impl Head {
    pub(super) fn read<'h>(headers: impl IntoIterator<Item = (&'h str, &'h str)>) -> Self {
        let mut head = Self::default();
        let (mut retry_after, mut retry_after_ms, mut date) = (None, None, None);
        for (name, value) in headers {
            match name.to_ascii_lowercase().as_str() {
                "retry-after" => retry_after = Some(value),
                "retry-after-ms" => retry_after_ms = value.trim().parse::<f64>().ok().map(|ms| ms / 1000.0),
                "date" => date = httpdate::parse_http_date(value).ok(),
                // OpenAI's and Anthropic's own clients obey it.
                "x-should-retry" => head.retry = value.trim().parse().ok(),
                "location" => head.location = Some(public_part(value)),
                "content-encoding" if is_compression(value) => {
                    head.encoding =
                        Some(value.trim().chars().filter(char::is_ascii_graphic).take(20).collect());
                }
                _ => {}
            }
        }
        let is_wait = |seconds: &f64| seconds.is_finite() && *seconds >= 0.0;
        head.retry_after_s = retry_after_ms
            .filter(is_wait)
            .or_else(|| retry_after.and_then(|value| seconds(value, date)).filter(is_wait))
            .map(|seconds| seconds.min(LONGEST_RETRY_AFTER_S));
        head
    }

    /// How long the provider asks to wait.
    pub(super) fn retry_after_s(&self) -> Option<f64> {
        self.retry_after_s
    }

    /// How the body is compressed, if it is.
    pub(super) fn encoding(&self) -> Option<&str> {
        self.encoding.as_deref().filter(|encoding| !encoding.is_empty())
    }

    /// The error of a status that is not a success; [`explain`] adds what the body says.
    pub(super) fn error(self, status: u16) -> StreamError {
        let message = match (status, self.location) {
            (300..=399, Some(to)) => format!(
                "redirected to {to} (HTTP {status}); a redirect is not followed, as the key would go with it"
            ),
            _ => format!("HTTP {status}"),
        };
        let mut error =
            StreamError::new(status_code(status, ErrorCode::HttpStatus), message).with_status(status);
        error.retry_after_s = self.retry_after_s;
        error.retryable = self.retry.unwrap_or(error.retryable);
        error
    }
}

/// Applications say "none" and worse there to keep proxies from compressing.
fn is_compression(encoding: &str) -> bool {
    const KNOWN: [&str; 7] = ["gzip", "x-gzip", "deflate", "br", "zstd", "compress", "x-compress"];
    encoding.split(',').any(|part| KNOWN.iter().any(|known| part.trim().eq_ignore_ascii_case(known)))
}

/// Neither what asks nor who asks: both may be secret.
fn public_part(location: &str) -> String {
    let bare = location.split(['?', '#']).next().unwrap_or("");
    match bare.split_once("//") {
        None => bare.to_owned(),
        Some((scheme, rest)) => {
            let (authority, path) = rest.split_at(rest.find(['/', '\\']).unwrap_or(rest.len()));
            let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
            format!("{scheme}//{host}{path}")
        }
    }
}

/// Seconds, or an HTTP date against the provider's own clock where it sent it.
fn seconds(value: &str, date: Option<SystemTime>) -> Option<f64> {
    let value = value.trim();
    if let Ok(seconds) = value.parse::<f64>() {
        return Some(seconds);
    }
    let until = httpdate::parse_http_date(value).ok()?;
    let now = date.unwrap_or_else(SystemTime::now);
    Some(until.duration_since(now).map_or(0.0, |wait| wait.as_secs_f64()))
}

fn status_code(status: u16, otherwise: ErrorCode) -> ErrorCode {
    match status {
        401 | 403 => ErrorCode::AuthFailed,
        429 => ErrorCode::RateLimited,
        _ => otherwise,
    }
}

/// Adds the provider's own words to the error of its status.
pub(super) fn explain(mut error: StreamError, body: &[u8], is_cut: bool, scrubber: &Scrubber) -> StreamError {
    let text = String::from_utf8_lossy(body);
    let said = match json::value(&text).or_else(|error| streamed(&text).ok_or(error)) {
        Ok(value) => {
            if is_out_of_quota(&value) {
                error.retryable = false;
            }
            message(&value)
        }
        Err(cause) => plain(&text, is_cut || cause.is_eof()),
    };
    let said = said.filter(|said| !said.trim().is_empty());
    // Google and xAI call a wrong key a bad request.
    if error.status == Some(400) && said.as_deref().is_some_and(names_the_key) {
        error.code = ErrorCode::AuthFailed;
    }
    error.message = scrubber.clean(&match said {
        Some(said) => format!("{}: {said}", error.message),
        None => error.message,
    });
    error
}

/// What a body says that is an event stream although the status says no.
fn streamed(body: &str) -> Option<Value> {
    let data = |line: &str| json::value(line.trim_ascii().strip_prefix("data:")?.trim_ascii()).ok();
    body.lines().filter_map(data).find(|value| message(value).is_some())
}

fn names_the_key(said: &str) -> bool {
    let said = said.to_ascii_lowercase();
    ["api key not valid", "incorrect api key", "invalid api key"].iter().any(|words| said.contains(words))
}

/// The last word of a body that was cut is dropped: it may be the beginning of a key.
fn plain(text: &str, is_cut: bool) -> Option<String> {
    let end = if is_cut { text.rfind(char::is_whitespace).unwrap_or(0) } else { text.len() };
    (!text.trim_start().starts_with('<')).then(|| text[..end].to_owned())
}

/// Whether the `error` field of an event reports anything. Some gateways send one with every good chunk, empty or with
/// the code 0.
pub(super) fn is_reported(error: &Value) -> bool {
    match error {
        Value::Null | Value::Bool(false) => false,
        Value::String(text) => !is_success_word(text),
        Value::Array(items) => items.iter().any(is_reported),
        Value::Number(code) => code.as_i64() != Some(0),
        Value::Bool(true) => true,
        Value::Object(object) => {
            let code = object.get("code").filter(|code| !code.is_null());
            let says = |name: &str| object.get(name).is_some_and(is_reported);
            match code {
                Some(code) if is_success(code) => says("message"),
                _ => object.values().any(is_reported),
            }
        }
    }
}

const SUCCESS: [&str; 8] = ["", "success", "succeeded", "ok", "okay", "true", "none", "null"];

/// Whether a word says that nothing went wrong.
pub(super) fn is_success_word(word: &str) -> bool {
    let word = word.trim_matches(|c: char| c.is_ascii_whitespace() || c.is_ascii_punctuation());
    SUCCESS.iter().any(|known| known.eq_ignore_ascii_case(word))
}

/// Whether a code, as a number or in words, is that of a success.
pub(super) fn is_success(code: &Value) -> bool {
    let number = |number: i64| number == 0 || (100..400).contains(&number);
    match code {
        Value::Number(code) => code.as_i64().is_some_and(number),
        Value::String(code) => code.parse::<i64>().map_or_else(|_| is_success_word(code), number),
        _ => true,
    }
}

/// The error of an `event: error`.
pub(super) fn reported_text(data: &str, scrubber: &Scrubber) -> StreamError {
    match json::value(data) {
        Ok(value @ Value::Object(_)) => {
            reported(&super::unexpected::complaint(&value).unwrap_or(value), scrubber)
        }
        _ => reported(&Value::String(data.to_owned()), scrubber),
    }
}

/// An error object or string that came after a successful status.
pub(super) fn reported(error: &Value, scrubber: &Scrubber) -> StreamError {
    let said = message(error).filter(|said| !said.trim().is_empty());
    let said = scrubber.clean(said.as_deref().unwrap_or("the provider reported an error without a message"));
    let status = STATUSES.iter().find_map(|name| numeric_status(error.get(name)?));
    let has = |parts: &[&str]| labels(error).any(|label| parts.iter().any(|part| label.contains(part)));
    let named_key = names_the_key(&said);
    let mut failure = StreamError::new(ErrorCode::ProviderError, said);
    failure.retryable = !is_permanent(error);
    if let Some(status) = status {
        failure.code = status_code(status, ErrorCode::ProviderError);
        failure = failure.with_status(status);
    } else if has(&RATES) {
        failure.code = ErrorCode::RateLimited;
    }
    if failure.code == ErrorCode::ProviderError && (named_key || status.is_none() && has(&AUTH)) {
        failure.code = ErrorCode::AuthFailed;
        failure.retryable = false;
    }
    if is_out_of_quota(error) {
        failure.retryable = false;
    }
    failure
}

/// Parts of the names of errors that another key would mend.
const AUTH: [&str; 4] = ["authentication", "permission", "unauthorized", "api_key"];
/// Parts of the names of errors that time mends.
const RATES: [&str; 5] = ["rate_limit", "ratelimit", "too_many_requests", "toomanyrequests", "throttl"];
/// Fields in which an HTTP status is repeated.
const STATUSES: [&str; 9] = [
    "code",
    "status",
    "status_code",
    "statusCode",
    "http_status",
    "error_code",
    "errorCode",
    "originalStatusCode",
    "error",
];

fn numeric_status(code: &Value) -> Option<u16> {
    let number = code.as_f64().or_else(|| code.as_str()?.parse().ok())?;
    (400..600).find(|status| f64::from(*status) == number)
}

/// The machine-readable names an error gives itself.
fn labels(error: &Value) -> impl Iterator<Item = String> + '_ {
    ["code", "type", "status", "__type", "error"]
        .into_iter()
        .filter_map(|name| Some(error.get(name)?.as_str()?.to_ascii_lowercase().replace([' ', '-'], "_")))
}

fn is_permanent(error: &Value) -> bool {
    const PERMANENT: [&str; 8] =
        ["invalid", "auth", "permission", "not_found", "context_length", "content", "policy", "too_large"];
    labels(error).any(|label| PERMANENT.iter().any(|part| label.contains(part)))
}

/// OpenAI answers 429 when the account is empty; waiting does not help.
fn is_out_of_quota(error: &Value) -> bool {
    let inner = error.get("error").unwrap_or(error);
    labels(inner).any(|label| label.contains("insufficient_quota") || label.contains("billing"))
}

/// Fields in which an error is told.
pub(super) const MESSAGES: [&str; 13] = [
    "message",
    "detail",
    "msg",
    "error_msg",
    "errmsg",
    "error_message",
    "errorMessage",
    "Message",
    "exception",
    "err",
    "faultstring",
    "Msg",
    "ErrorMessage",
];

fn message(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Array(items) => items.iter().find_map(message),
        Value::Object(object) => {
            // Beside a message, an error that is a word is the name of its kind.
            let holds =
                |name: &str| object.get(name).is_some_and(|inner| inner.is_object() || inner.is_array());
            let first = ["error", "errors"].into_iter().filter(|name| holds(name));
            let said = first
                .chain(MESSAGES)
                .chain(["error", "errors", "title", "description", "reason"])
                .find_map(|name| object.get(name).filter(|inner| is_reported(inner)).and_then(message))?;
            // OpenRouter's own message is generic; the upstream's stands in the metadata.
            match value.pointer("/metadata/raw").and_then(Value::as_str) {
                Some(raw) => Some(format!("{said}: {raw}")),
                None => Some(said),
            }
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn explained(status: u16, headers: &[(&str, &str)], body: &str) -> StreamError {
        let head = Head::read(headers.iter().copied());
        explain(head.error(status), body.as_bytes(), false, &Scrubber::default())
    }

    #[test]
    fn statuses() {
        for (status, code, retryable) in [
            (400, ErrorCode::HttpStatus, false),
            (401, ErrorCode::AuthFailed, false),
            (403, ErrorCode::AuthFailed, false),
            (408, ErrorCode::HttpStatus, true),
            (409, ErrorCode::HttpStatus, true),
            (429, ErrorCode::RateLimited, true),
            (503, ErrorCode::HttpStatus, true),
        ] {
            let error = explained(status, &[], "");
            assert_eq!((error.code, error.retryable, error.status), (code, retryable, Some(status)));
            assert_eq!(error.message, format!("HTTP {status}"));
        }
    }

    #[test]
    fn messages_in_all_their_forms() {
        for (body, said) in [
            (r#"{"error":{"message":"m","code":"c"}}"#, "HTTP 400: m"),
            (r#"{"error":"m"}"#, "HTTP 400: m"),
            (r#"{"object":"error","message":"m"}"#, "HTTP 400: m"),
            (r#"{"detail":[{"loc":["body"],"msg":"m"}]}"#, "HTTP 400: m"),
            (r#"[{"error":{"message":"m"}}]"#, "HTTP 400: m"),
            (r#"{"error":{"message":"m","metadata":{"raw":"up"}}}"#, "HTTP 400: m: up"),
            ("plain\nwords", "HTTP 400: plain words"),
            ("<html>no</html>", "HTTP 400"),
            ("", "HTTP 400"),
        ] {
            assert_eq!(explained(400, &[], body).message, said);
        }
    }

    #[test]
    fn retry_after_in_all_its_forms() {
        let wait = |headers: &[(&str, &str)]| explained(429, headers, "").retry_after_s;
        assert_eq!(wait(&[("Retry-After", "7")]), Some(7.0));
        assert_eq!(wait(&[("retry-after", "7"), ("retry-after-ms", "250")]), Some(0.25));
        let date = ("date", "Sat, 21 Nov 2026 08:00:00 GMT");
        assert_eq!(wait(&[("retry-after", "7"), ("retry-after-ms", "nan")]), Some(7.0));
        assert_eq!(wait(&[date, ("retry-after", "Sat, 21 Nov 2026 08:00:30 GMT")]), Some(30.0));
        assert_eq!(wait(&[date, ("retry-after", "Sat, 21 Nov 2026 07:00:00 GMT")]), Some(0.0));
        assert_eq!(wait(&[("retry-after", "soon")]), None);
        assert_eq!(wait(&[("retry-after", "-1")]), None);
        assert_eq!(wait(&[("retry-after", "1e300")]), Some(LONGEST_RETRY_AFTER_S));
    }

    #[test]
    fn an_empty_account_is_not_retried() {
        let body = r#"{"error":{"message":"pay","code":"insufficient_quota"}}"#;
        assert!(!explained(429, &[], body).retryable);
    }

    #[test]
    fn a_provider_that_says_whether_to_retry_is_believed() {
        assert!(!explained(429, &[("x-should-retry", "false")], "").retryable);
        assert!(explained(400, &[("x-should-retry", "true")], "").retryable);
        assert!(explained(429, &[("x-should-retry", "?")], "").retryable);
    }

    #[test]
    fn a_redirect_says_why_it_is_refused() {
        let error = explained(307, &[("location", "https://me:hunter2@other/x?token=1")], "");
        assert!(error.message.contains("redirected to https://other/x (HTTP 307)"), "{}", error.message);
        assert!(!error.retryable);
    }

    #[test]
    fn the_beginning_of_a_key_at_a_cut_is_dropped() {
        let cut = |body: &str| {
            let head = Head::default().error(400);
            explain(head, body.as_bytes(), true, &Scrubber::default()).message
        };
        assert_eq!(cut("the key zq9-Sec"), "HTTP 400: the key");
        assert_eq!(cut("zq9-Sec"), "HTTP 400");
        assert_eq!(explained(400, &[], r#"{"error": "key zq9-Sec"#).message, r#"HTTP 400: {"error": "key"#);
    }

    #[test]
    fn errors_in_the_stream() {
        let read = |data: &str| reported_text(data, &Scrubber::default());
        let error = read(r#"{"error":{"code":502,"message":"bad gateway"}}"#);
        assert_eq!((error.code, error.status, error.retryable), (ErrorCode::ProviderError, Some(502), true));
        let error = read(r#"{"message":"slow down","code":"rate_limit_exceeded"}"#);
        assert_eq!((error.code, error.retryable), (ErrorCode::RateLimited, true));
        let error = read(r#"{"error":{"type":"invalid_request_error","message":"no"}}"#);
        assert!(!error.retryable);
        assert_eq!(read("boom").message, "boom");
    }

    #[test]
    fn errors_of_anthropic() {
        let read = |kind: &str| {
            let data =
                format!(r#"{{"type":"error","error":{{"type":"{kind}","message":"m"}},"request_id":"r"}}"#);
            let error = reported_text(&data, &Scrubber::default());
            assert_eq!(error.message, "m");
            (error.code, error.retryable)
        };
        assert_eq!(read("overloaded_error"), (ErrorCode::ProviderError, true));
        assert_eq!(read("api_error"), (ErrorCode::ProviderError, true));
        assert_eq!(read("timeout_error"), (ErrorCode::ProviderError, true));
        assert_eq!(read("rate_limit_error"), (ErrorCode::RateLimited, true));
        assert_eq!(read("authentication_error"), (ErrorCode::AuthFailed, false));
        assert_eq!(read("permission_error"), (ErrorCode::AuthFailed, false));
        assert_eq!(read("invalid_request_error"), (ErrorCode::ProviderError, false));
        assert_eq!(read("request_too_large"), (ErrorCode::ProviderError, false));
        assert_eq!(read("billing_error"), (ErrorCode::ProviderError, false));
        let body = r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#;
        let error = explained(529, &[("retry-after", "3")], body);
        assert_eq!((error.status, error.retryable, error.retry_after_s), (Some(529), true, Some(3.0)));
        assert_eq!(error.message, "HTTP 529: Overloaded");
    }
}
