"""What stands on a terminal's screen: read back through an emulator, so that wrapping and colours are real."""

from __future__ import annotations

import io
import re
from typing import Any

import pyte
import pytest
from rich.console import Console

from facilitair import events as ev
from facilitair.cli.render.narrator import Narrator
from facilitair.cli.render.terminal import TerminalPen, markdown

from .events import Script


class Screen:
    """A narrator that writes to an emulated terminal."""

    def __init__(self, columns: int = 60, *, answer_follows: bool = False) -> None:
        self.out = io.StringIO()
        self.console = Console(
            file=self.out, force_terminal=True, color_system="256", width=columns, height=200, markup=False
        )
        self.narrator = Narrator(
            TerminalPen(self.console), "full", whole_lines=False, answer_follows=answer_follows
        )
        self.columns = columns

    def show(self, *events: ev.AnyEvent, now: float = 0.0) -> None:
        for event in events:
            self.narrator.handle(event, now)

    @property
    def display(self) -> pyte.Screen:
        screen = pyte.Screen(self.columns, 200)
        pyte.Stream(screen).feed(self.out.getvalue().replace("\n", "\r\n"))
        return screen

    def style_of(self, text: str) -> Any:
        """Return the cell in which `text` ends; a wide character fills two, the second without data."""
        for row in self.display.buffer.values():
            cells = [row[column] for column in range(self.columns) if row[column].data]
            line = "".join(cell.data for cell in cells)
            if text in line:
                return cells[line.index(text) + len(text) - 1]
        raise AssertionError(f"{text!r} is not on the screen")

    @property
    def lines(self) -> list[str]:
        return "\n".join(line.rstrip() for line in self.display.display).rstrip().split("\n")


def test_text_is_on_the_screen_before_its_line_ends() -> None:
    screen, script = Screen(), Script()
    screen.show(*script.begin("coder"))
    for token in ("Hel", "lo", " wor"):
        screen.show(script.text("coder", token))
    assert screen.lines[-1] == "[00:00.04] 💻 Coder: Hello wor"


def test_names_have_colours_and_no_two_of_a_usual_cast_share_one() -> None:
    screen, script = Screen(), Script()
    names = ("architect", "coder", "reviewer", "refiner", "tester", "documenter")
    screen.show(*script.begin(*names))
    for name in names:
        screen.show(script.text(name, f"I am {name}.\n"))
    colours = {screen.style_of(f"{name.capitalize()}:").fg for name in names}
    assert len(colours) == len(names)
    assert "default" not in colours


def test_long_lines_wrap_at_words_behind_a_bar() -> None:
    screen, script = Screen(40), Script()
    screen.show(*script.begin("coder"))
    for word in ("the", "quick", "brown", "fox", "jumps", "over", "the", "lazy", "dog"):
        screen.show(script.text("coder", f"{word} "))
    screen.show(script.text("coder", "\n\n    indented\n" + "x" * 50))
    start = next(i for i, line in enumerate(screen.lines) if "Coder:" in line)
    assert screen.lines[start:] == [
        "[00:00.04] 💻 Coder: the quick brown",
        "│ fox jumps over the lazy dog",
        "│",
        "│     indented",
        "│ " + "x" * 37,
        "│ " + "x" * 13,
    ]


@pytest.mark.parametrize("columns", [1, 10, 24, 200])
def test_no_width_breaks_it(columns: int) -> None:
    screen, script = Screen(columns), Script()
    screen.show(
        *script.begin("coder"), script.text("coder", "wide 漢字 " * 20 + "\n"), *script.synthesis("x")
    )
    assert re.sub(r"\s|│", "", "".join(screen.lines)).count("漢") >= (20 if columns >= 24 else 1)


def test_lines_of_two_agents_never_mix() -> None:
    screen, script = Screen(200), Script()
    screen.show(*script.begin("coder", "tester"))
    for number in range(40):
        screen.show(script.text("coder", "c" * 7), script.text("tester", "t" * 5), now=number / 10)
    screen.show(script.done("coder", ""), script.done("tester", ""), now=9.0)
    text = "\n".join(screen.lines)
    assert not re.search(r"c[^\n]*ttttt|ttt[^\n]*cccc", text.replace("Architect", ""))
    assert text.count("c" * 7) == 40
    assert text.count("t" * 5) == 40


def test_a_retraction_strikes_out_what_was_shown() -> None:
    screen, script = Screen(100), Script()
    screen.show(*script.begin("coder"), script.text("coder", "Right. Wrong."))
    screen.show(script.retracted("coder", 6, "s1/coder.1#2"), script.text("coder", " Better."))
    assert screen.lines[-3:] == [
        "[00:00.04] 💻 Coder: Right. Wrong.",
        "[00:00.05] 💻 Coder takes back 1 fragment (it is wrong): Wrong.",
        "[00:00.06] 💻 Coder: Better.",
    ]
    assert screen.style_of("(it is wrong): Wrong.").strikethrough
    assert not screen.style_of("Right. Wrong.").strikethrough


def test_news_about_others_waits_for_the_end_of_a_sentence_but_not_long() -> None:
    screen, script = Screen(100), Script()
    screen.show(*script.begin("coder", "tester"))
    screen.show(script.text("coder", "One"), script.reaction("tester", "s1/coder.1#1"), now=1.0)
    screen.show(script.text("coder", " two"), now=1.1)
    assert screen.lines[-1].endswith("Coder: One two")
    screen.show(script.text("coder", " three"), now=1.5)
    assert screen.lines[-2].endswith("Coder: One two three")
    assert "considers" in screen.lines[-1]


def test_a_synthesis_stands_in_a_box_as_markdown() -> None:
    screen, script = Screen(), Script()
    screen.show(*script.begin("coder"), *script.synthesis("Use **this**.\n\n- one\n- two"))
    box = screen.lines[screen.lines.index(next(line for line in screen.lines if line.startswith("╭"))) :]
    assert "Synthesis of “Design”" in box[0]
    assert [line.strip("│ ") for line in box[1:-1]] == [
        "Use this.",
        "",
        "• one",
        "• two",
        "confidence 0.71 (uncalibrated): after exposure 0.71",
    ]
    assert {box[0][0], box[-1][0]} == {"╭", "╰"}


def test_a_synthesis_that_is_the_whole_answer_is_not_shown_twice() -> None:
    screen, script = Screen(answer_follows=True), Script()
    screen.show(*script.begin("coder"), *script.synthesis("Use this."))
    box = "\n".join(line for line in screen.lines if line.startswith("│ "))
    assert "2 words; the answer follows below" in box


def test_markup_and_emoji_codes_are_text() -> None:
    screen, script = Screen(), Script()
    screen.show(
        *script.begin("coder"), script.text("coder", "[red]x[/red] :smile: [link=file:///]y[/link]\n")
    )
    assert screen.lines[-2].endswith("Coder: [red]x[/red] :smile:")
    assert screen.lines[-1] == "│ [link=file:///]y[/link]"


@pytest.mark.parametrize(
    "written",
    [
        "[bank](https://evil.example)",
        "![picture](https://evil.example/x.png)",
        "<https://evil.example>",
        "a &#x202e;b &#27;[2J c &#x9b;2J",
        "`\x1b]8;;https://evil.example\x1b\\x\x1b]8;;\x1b\\`",
        "```python\nx = '\x1b[2J'\n```",
    ],
)
def test_markdown_gives_a_terminal_nothing_but_colours(written: str) -> None:
    out = io.StringIO()
    Console(file=out, force_terminal=True, color_system="truecolor", width=80).print(markdown(written))
    rest = re.sub(r"\x1b\[[0-9;]*m", "", out.getvalue())
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", rest)


def test_a_link_shows_where_it_leads() -> None:
    out = io.StringIO()
    Console(file=out, width=80).print(markdown("[bank](https://evil.example)"))
    assert "https://evil.example" in out.getvalue()
