//! Why a stream failed.

/// The kinds of failure, as they are named to users.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorCode {
    /// The URL or a header cannot be sent.
    InvalidRequest,
    /// No connection, or it broke before the response began.
    ConnectFailed,
    /// The connect clock ran out.
    ConnectTimeout,
    /// The certificate or the handshake was refused.
    TlsFailed,
    /// Connected, but no content within its clock.
    FirstContentTimeout,
    /// Content stopped for longer than its clock.
    StallTimeout,
    /// The whole response took longer than its clock.
    TotalTimeout,
    /// A status that is not a success and has no code of its own.
    HttpStatus,
    /// 429, or a rate limit reported in the stream.
    RateLimited,
    /// 401 or 403.
    AuthFailed,
    /// The bytes ended before the response did.
    Truncated,
    /// The provider reported an error after a successful status.
    ProviderError,
    /// Bytes that are not what the protocol says.
    Malformed,
    /// One event or body above the size limit.
    TooLarge,
}

impl ErrorCode {
    /// All of them.
    pub const ALL: [Self; 14] = [
        Self::InvalidRequest,
        Self::ConnectFailed,
        Self::ConnectTimeout,
        Self::TlsFailed,
        Self::FirstContentTimeout,
        Self::StallTimeout,
        Self::TotalTimeout,
        Self::HttpStatus,
        Self::RateLimited,
        Self::AuthFailed,
        Self::Truncated,
        Self::ProviderError,
        Self::Malformed,
        Self::TooLarge,
    ];

    /// The code that users know by `name`.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|code| code.as_str() == name)
    }

    /// The name users see.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InvalidRequest => "invalid_request",
            Self::ConnectFailed => "connect_failed",
            Self::ConnectTimeout => "connect_timeout",
            Self::TlsFailed => "tls_failed",
            Self::FirstContentTimeout => "first_content_timeout",
            Self::StallTimeout => "stall_timeout",
            Self::TotalTimeout => "total_timeout",
            Self::HttpStatus => "http_status",
            Self::RateLimited => "rate_limited",
            Self::AuthFailed => "auth_failed",
            Self::Truncated => "truncated",
            Self::ProviderError => "provider_error",
            Self::Malformed => "malformed",
            Self::TooLarge => "too_large",
        }
    }

    /// Whether the same request may succeed when sent again, where no status says otherwise.
    fn retryable(self) -> bool {
        matches!(
            self,
            Self::ConnectFailed
                | Self::ConnectTimeout
                | Self::FirstContentTimeout
                | Self::StallTimeout
                | Self::RateLimited
                | Self::Truncated
                | Self::Malformed
        )
    }
}

/// Why one stream failed. Holds no header, key or request body.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{}: {message}", code.as_str())]
pub struct StreamError {
    /// The kind.
    pub code: ErrorCode,
    /// For people; already scrubbed.
    pub message: String,
    /// The HTTP status, or the numeric code of an error reported in the stream.
    pub status: Option<u16>,
    /// How long the provider asks to wait.
    pub retry_after_s: Option<f64>,
    /// Whether the same request may succeed when sent again.
    pub retryable: bool,
}

impl StreamError {
    /// An error without a status. `message` must not hold a secret; see `scrub`.
    #[must_use]
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), status: None, retry_after_s: None, retryable: code.retryable() }
    }

    /// Adds a status, which then decides whether a retry makes sense.
    #[must_use]
    pub fn with_status(mut self, status: u16) -> Self {
        self.status = Some(status);
        self.retryable = matches!(status, 408 | 409 | 429) || status >= 500;
        self
    }
}
