//! Which protocol a response is read by; everything else about a stream is the same for all.

/// The protocols that the decoder reads.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Wire {
    /// Chat completions: <https://platform.openai.com/docs/api-reference/chat/streaming>.
    #[default]
    OpenAi,
    /// The Messages API: <https://platform.claude.com/docs/en/build-with-claude/streaming>.
    Anthropic,
}

impl Wire {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::OpenAi, Self::Anthropic];

    /// The protocol that users know by `name`.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|wire| wire.as_str() == name)
    }

    /// The name users see.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::OpenAi => "openai",
            Self::Anthropic => "anthropic",
        }
    }
}

/// How a response is read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reading {
    /// The protocol.
    pub wire: Wire,
    /// Whether what content begins with between `<think>` and `</think>` is reasoning.
    pub think_tags: bool,
}

impl From<Wire> for Reading {
    fn from(wire: Wire) -> Self {
        Self { wire, think_tags: false }
    }
}
