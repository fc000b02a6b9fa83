"""Keys are never shown, and they are taken out of text that others wrote."""

from __future__ import annotations

import copy
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facilitair.keys import Secret, looks_like_key, redact

values = st.text(min_size=8, max_size=40).filter(lambda value: value not in "Secret('***')")


@given(values)
def test_a_secret_is_never_shown(value: str) -> None:
    secret = Secret(value)
    shown = [str(secret), repr(secret), f"{secret}", f"{secret!r:>20}", repr([secret]), repr({"key": secret})]

    assert secret.reveal() == value
    assert not any(value in text for text in shown)


def test_a_secret_is_not_pickled() -> None:
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(Secret("correct-horse"))
    with pytest.raises(TypeError, match="not pickled"):
        copy.deepcopy(Secret("correct-horse"))


def test_secrets_of_one_value_are_equal() -> None:
    assert Secret("a") == Secret("a")
    assert len({Secret("a"), Secret("a"), Secret("b")}) == 2
    assert Secret("a") != "a"


@given(st.text(), st.text(), st.lists(values, min_size=1, max_size=3))
def test_known_values_are_removed_wherever_they_stand(before: str, after: str, keys: list[str]) -> None:
    text = before + "".join(key + after for key in keys)

    cleaned = redact(text, [Secret(key) for key in keys])

    assert not any(key in cleaned for key in keys if not set(key) <= {"*"})


def test_a_key_inside_a_longer_key_leaves_nothing_behind() -> None:
    assert redact("x long-key-and-more y", [Secret("long-key"), Secret("long-key-and-more")]) == "x *** y"


@pytest.mark.parametrize(
    "key",
    [
        "sk-proj-abcDEF1234567890",
        "sk-or-v1-0123456789abcdef",
        "sk-ant-REDACTED".replace("REDACTED", "api03-abcdefgh"),
        "gsk_0123456789abcdef",
        "hf_abcdefghijklmnop",
        "xai-abcdefghijklmnop",
        "ghp_abcdefghijklmnop1234",
        "AIzaSyA-0123456789abcdefghijklmnopqrstu",
        "AKIAIOSFODNN7EXAMPLE",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.c2lnbmF0dXJl",
    ],
)
def test_usual_key_shapes_are_removed_unknown(key: str) -> None:
    assert looks_like_key(key)
    assert redact(f"Incorrect API key provided: {key}. See") == "Incorrect API key provided: ***. See"


def test_bearer_credentials_are_removed() -> None:
    assert redact("authorization: Bearer abc.DEF-123456=") == "authorization: Bearer ***"


@pytest.mark.parametrize(
    "text", ["sk-learn", "ask-me-anything-you-like", "a short sk-x", "the risk-free rate"]
)
def test_ordinary_words_stay(text: str) -> None:
    assert redact(text) == text
