//! What the first bytes of a successful response say that it is; content types do not, as proxies set them at will.

use super::error::{ErrorCode, StreamError};
use super::sse::BOM;

/// How compressed bodies begin whose header does not say that they are.
const MAGIC: [(&str, &[u8]); 4] =
    [("gzip", b"\x1f\x8b"), ("zstd", b"\x28\xb5"), ("deflate", b"\x78\x9c"), ("deflate", b"\x78\xda")];

/// What a body is.
#[derive(Debug, PartialEq)]
pub(super) enum Opening {
    /// Too little has come to say it.
    Unclear,
    Json,
    WebPage,
    Compressed(&'static str),
    Events,
}

impl Opening {
    /// What a body is that begins with `bare` bytes.
    pub(super) fn of(bare: &[u8]) -> Self {
        let may_become = |whole: &[u8]| whole.starts_with(bare);
        if let Some((name, _)) = MAGIC.iter().find(|(_, magic)| bare.starts_with(magic)) {
            return Self::Compressed(name);
        }
        match bare {
            [b'{' | b'[', ..] => Self::Json,
            [b'<', ..] => Self::WebPage,
            _ if may_become(BOM) || MAGIC.iter().any(|(_, magic)| may_become(magic)) => Self::Unclear,
            _ => Self::Events,
        }
    }
}

/// The body without the byte order mark and the blanks before it, of which there may be any number.
pub(super) fn bare(body: &[u8]) -> &[u8] {
    let body = body.trim_ascii_start();
    body.strip_prefix(BOM).unwrap_or(body).trim_ascii_start()
}

pub(super) fn web_page() -> StreamError {
    let message = "the response is a web page where a completion was expected; check the URL";
    StreamError { retryable: false, ..StreamError::new(ErrorCode::Malformed, message) }
}

pub(super) fn compressed(encoding: &str) -> StreamError {
    let message = format!(
        "the response is compressed ({encoding}), which nobody asked for: a proxy or gateway in front of the provider \
         must not compress event streams"
    );
    StreamError { retryable: false, ..StreamError::new(ErrorCode::Malformed, message) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_bytes_decide_as_soon_as_they_can() {
        for (body, what) in [
            (&b"data: x"[..], Opening::Events),
            (b"xylophone", Opening::Events),
            (b"\xef\xbb\xbf\n {", Opening::Json),
            (b" <html>", Opening::WebPage),
            (b"\x1f\x8b", Opening::Compressed("gzip")),
            (b"\x1f", Opening::Unclear),
            (b"\xef\xbb", Opening::Unclear),
            (b" \n \n", Opening::Unclear),
        ] {
            assert_eq!(Opening::of(bare(body)), what, "{body:?}");
        }
        assert!(bare(&[b' '; 100]).is_empty());
    }
}
