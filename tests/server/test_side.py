"""What chat programs ask beside a conversation: known by its form, answered by one cheap model, and nothing else is."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from facilitair.config import ServerConfig
from facilitair.server.side import is_side_request, side_options
from tests.live import brain

from .harness import Served, served

CHAT = "USER: Design a rate limiter\nASSISTANT: A token bucket does it.\nUSER: And across two servers?"
QUOTED = f"### Chat History:\n<chat_history>\n{CHAT}\n</chat_history>"
# The programs' own words, shortened.
OPEN_WEBUI = {
    "title": "### Task:\nGenerate a concise, 3-5 word title with an emoji summarizing the chat history.\n### Output:\n"
    f'JSON format: {{ "title": "your concise title here" }}\n{QUOTED}',
    "tags": "### Task:\nGenerate 1-3 broad tags categorizing the main themes of the chat history.\n### Output:\n"
    f'JSON format: {{ "tags": ["tag1", "tag2"] }}\n{QUOTED}',
    "follow-ups": "### Task:\nSuggest 3-5 relevant follow-up questions that the user might naturally ask next.\n"
    f'### Output:\nJSON format: {{ "follow_ups": ["Question 1?"] }}\n{QUOTED}',
    "queries": "### Task:\nAnalyze the chat history to determine the necessity of generating search queries.\n"
    f'Return: {{ "queries": ["query1"] }}, only the JSON object.\n{QUOTED}',
    "image": "### Task:\nGenerate a detailed prompt for am image generation task based on the given context.\n"
    f'### Output:\nStrictly return in JSON format: {{ "prompt": "..." }}\n{QUOTED}',
    "autocompletion": "### Task:\nYou are an autocompletion system. Continue it.\n<text>How do I</text>",
    "in German": "### Aufgabe:\nErzeuge einen knappen Titel mit höchstens fünf Wörtern.\n"
    f'JSON: {{ "title": "..." }}\n{QUOTED}',
}
LIBRECHAT = {
    "short title": "Provide a concise, 5-word-or-less title for the conversation, using title case conventions. "
    f"Only return the title itself.\n\nConversation:\n{CHAT}",
    "language and title": "Analyze this conversation and provide:\n1. The detected language of the conversation\n"
    f"2. A concise title in the detected language (5 words or less, no punctuation)\n\n{CHAT}",
}
TASKS = {
    "plain": "Design a rate limiter",
    "a title": "Write a title component in React. Return only the code.",
    "for an essay": "Generate a concise title for my essay about whales, at most 8 words.",
    "of documents": "### Task:\nRespond to the user query using the provided context.\n"
    "<context>a document about JSON</context>\n<user_query>Which tags are there?</user_query>",
    "about a chat": f"Analyse how well the assistant answered, in depth.\n{QUOTED}",
    "of a chat as JSON": f"Write a parser in Go that turns such a file into JSON, only with the library.\n{QUOTED}",
    "a chat program": "Write a chat program that shows titles and tags of conversations, only in Go, as JSON.",
}


def user(text: str) -> list[tuple[str, str]]:
    return [("user", text)]


@pytest.mark.parametrize("text", [*OPEN_WEBUI.values(), *LIBRECHAT.values()], ids=[*OPEN_WEBUI, *LIBRECHAT])
def test_a_request_beside_the_conversation_is_known(text: str) -> None:
    assert is_side_request(user(text))
    assert is_side_request([("system", "You are helpful."), *user(text)])


@pytest.mark.parametrize("text", TASKS.values(), ids=TASKS)
def test_a_task_is_no_such_request(text: str) -> None:
    assert not is_side_request(user(text))
    talked = [("user", "Hello"), ("assistant", "What shall I do?"), *user(text)]
    assert not is_side_request(talked)


def test_a_title_may_be_wanted_behind_the_conversation_itself() -> None:
    wish = "Please generate a four to five word title summarizing our conversation without any punctuation."
    assert is_side_request([("user", "Design a queue"), ("assistant", "A ring buffer."), ("user", wish)])
    assert not is_side_request(user(wish))  # there was none


def test_a_long_text_is_read_once() -> None:
    assert not is_side_request(user("<chat_history>" * 20_000))
    assert not is_side_request(user("generate a concise " * 20_000))


def test_one_cheap_model_alone_answers() -> None:
    assert side_options({"max_cost": 1.0}, "auto") == {
        "preset": "budget",
        "strategy": "single",
        "max_cost": 1.0,
    }
    assert side_options({}, "openai/small") == {"models": "openai/small", "strategy": "single"}
    named = side_options({"models": "openai/mine", "strategy": "balanced"}, "auto")
    assert named == {"models": "openai/mine", "strategy": "single"}


def ask(at: Served, text: str, model: str = "facilitair/balanced", **more: Any) -> Any:
    body = {"model": model, "messages": [{"role": "user", "content": text}], **more}
    return at.http.post("/v1/chat/completions", json=body)


@pytest.mark.parametrize("side_model", ["auto", "openai/coder", "off"])
def test_a_side_request_costs_one_answer(side_model: str) -> None:
    async def run() -> None:
        settings = ServerConfig(port=0, side_model=side_model)
        async with served(settings, brain(), speed=200) as at:
            title = (await ask(at, OPEN_WEBUI["title"])).json()
            state = await at.runs.directory.records()[0].log.state()
            assert (len(state.chunks) == 1) == (side_model != "off")
            assert title["model"] == "facilitair/balanced"
            assert title["choices"][0]["message"]["content"] == state.content
            if side_model != "off":
                assert "**answerer**" not in title["choices"][0]["message"]["reasoning_content"]
            if "/" in side_model:
                assert [f"openai/{agent.model}" for agent in state.agents] == [side_model]

    asyncio.run(run())
