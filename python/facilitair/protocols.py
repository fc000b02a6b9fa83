"""How providers are spoken to: the words for it in the table of providers, the configuration and requests."""

from __future__ import annotations

from typing import Literal

# The protocol of a request and its response: chat completions, or the Messages API of Anthropic.
Wire = Literal["openai", "anthropic"]
# How a server of chat completions takes text that the model shall go on from.
Dialect = Literal["trailing", "vllm", "llamacpp", "deepseek", "mistral"]
# What the limit of an answer is called in a chat completion.
MaxTokensField = Literal["max_tokens", "max_completion_tokens"]
