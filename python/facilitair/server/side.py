"""Requests that chat programs make beside a conversation: its title, tags, follow-up questions, search queries.

Open WebUI, LibreChat and others send them after every turn to the model of the conversation, where each would be a
whole debate. They are known by what they have in common: the conversation is quoted as material (or stands before),
and something small is wanted about it, in a form of its own. Where it is not certain, the debate is held.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from ..options import RunOptions

STRATEGY: Final = "single"
AUTO: Final = "auto"
OFF: Final = "off"
_LONGEST: Final = 4_000  # characters that say what is wanted; the conversation comes on top
_HEAD: Final = 600  # of these, as many as name the thing
_HISTORY: Final = re.compile(
    r"<(?P<tag>chat_history|conversation|history|messages)>"
    r"|^(?:#+[ ]*)?(?:conversation|chat history|history|messages)[ ]*:[ ]*$"
    r"|^(?:user|human)[ ]*:",
    re.I | re.M,
)
_VERB: Final = r"\b(?:analy[sz]e|create|determine|generate|give|propose|provide|suggest|summari[sz]e|write)\b"
_ABOUT_IT: Final = re.compile(
    _VERB + r".{0,200}?\b(?:titles?|tags|follow-?ups?|search quer(?:y|ies)|emojis?|prompt for \w+ image)\b",
    re.I | re.S,
)
_ITS_TITLE: Final = re.compile(
    _VERB + r".{0,80}?\b(?:title|topic)\b.{0,80}?\b(?:chat|conversation|dialogue|discussion)\b", re.I | re.S
)
_IN_A_FORM: Final = re.compile(
    r"\bjson\b|\bonly (?:the|return|respond|output|reply)|\b(?:return|respond with|output|reply with) only\b"
    r"|\bconcise\b|\bwords?\b|\bcharacters\b|\bwithout any\b",
    re.I,
)
_TEMPLATE: Final = re.compile(r'\{\s*"\w+"\s*:')  # of the JSON that is wanted
_AUTOCOMPLETION: Final = re.compile(r"\s*(?:#+ task:\s*)?you are an autocompletion system\b", re.I)


def is_side_request(turns: Sequence[tuple[str, str]]) -> bool:
    """Return whether a request, as role and text of its messages, wants something small about a conversation."""
    last = next((i for i in reversed(range(len(turns))) if turns[i][0] == "user"), None)
    if last is None:
        return False
    text = turns[last][1]
    if _AUTOCOMPLETION.match(text):
        return True
    history = _HISTORY.search(text)
    wish = text if history is None else _without(text, history)
    if len(wish) > _LONGEST or _IN_A_FORM.search(wish) is None:
        return False
    if history is None:
        talked = any(role == "assistant" for role, _ in turns[:last])
        return talked and _ITS_TITLE.search(wish[:_HEAD]) is not None
    if text.rstrip().endswith("</chat_history>") and _TEMPLATE.search(wish):
        return True  # whatever language it is asked in
    return _ABOUT_IT.search(wish[:_HEAD]) is not None


def side_options(options: RunOptions, side_model: str) -> RunOptions:
    """Return what a side request is run with: one model alone, the cheapest there is unless one is named."""
    cheap: RunOptions = {"preset": "budget"} if side_model == AUTO else {"models": side_model}
    return {**({} if options.get("models") else cheap), **options, "strategy": STRATEGY}


def _without(text: str, history: re.Match[str]) -> str:
    """Return a text without the conversation that it quotes."""
    closing = f"</{history['tag']}>" if history["tag"] else ""
    end = text.lower().find(closing.lower(), history.end()) if closing else -1
    return text[: history.start()] + (text[end + len(closing) :] if end >= 0 else "")
