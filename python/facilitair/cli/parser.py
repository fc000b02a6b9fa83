"""The arguments of every command. argparse, because nothing else starts as fast; only the command that was asked
for is built.

Each command has its own parser instead of a sub-parser, because only a parser of its own lets options stand
between the positional arguments (`collaborate TASK --language go CONTEXT`).
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, NoReturn, TypeVar

from .exit_codes import ExitCode

_N = TypeVar("_N", int, float)
_MARK: Final = "\0"
_COMMANDS_HELP: Final = """\
commands:
  collaborate   let several models work on one task while you watch
  replay        show a recorded run again
  serve         let others run and watch collaborations over HTTP
  attach        watch a run of a server
  doctor        check the configuration and ask each provider for one token
  simulate      serve scripted models that cost nothing

`facilitair COMMAND --help` tells about one of them.

example:
  facilitair collaborate "Write a rate limiter" --language python
"""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(ExitCode.USAGE, f"facilitair: {_unmarked(message)} (see `{self.prog} --help`)\n")


class _Version(argparse.Action):
    """Prints the version; the compiled module is only loaded for that."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from facilitair_rust import __version__

        print(f"facilitair {__version__}")  # noqa: T201
        parser.exit()


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Return the arguments; `command` names what to do. Raises `SystemExit` as argparse does."""
    name, rest = (argv[0], argv[1:]) if argv else ("", ())
    if name == "help":  # as git and cargo have it
        name, rest = rest[0] if rest else "--help", ("--help",)
    if name in PARSERS:
        args = PARSERS[name]().parse_intermixed_args(_marked(rest))
        args.command = name
        return args
    top = top_parser()
    if not argv:
        top.error(f"a command is missing: {', '.join(PARSERS)}")
    if not name.startswith("-"):
        top.error(_no_command(name))
    return top.parse_args([name, *rest])


def _no_command(name: str) -> str:
    from difflib import get_close_matches  # only where something is wrong

    near = get_close_matches(name.lower(), PARSERS, n=1)
    if near:
        return f"there is no command {name!r}; did you mean `facilitair {near[0]}`?"
    if " " in name:
        return 'to give a task, name the command: `facilitair collaborate "..."`'
    return f"there is no command {name!r}; there are {', '.join(PARSERS)}"


def _marked(argv: Sequence[str]) -> list[str]:
    """Return `argv` without `--`, and what follows it marked as no option: this way of parsing forgets it.

    The mark is what no argument of a process can hold.
    """
    if "--" not in argv:
        return list(argv)
    end = argv.index("--")
    return [*argv[:end], *(_MARK + argument for argument in argv[end + 1 :])]


def _unmarked(text: str) -> str:
    return text.replace(_MARK, "")


def top_parser() -> argparse.ArgumentParser:
    """Return the parser for a call without a known command."""
    parser = _Parser(
        prog="facilitair",
        usage="facilitair [-h] [--version] COMMAND ...",
        description="Several language models work on one task at the same time, and you watch every one think.",
        epilog=_COMMANDS_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version")
    parser.add_argument("command", choices=list(PARSERS), metavar="COMMAND", help=argparse.SUPPRESS)
    return parser


def _command(name: str, sentence: str, example: str) -> argparse.ArgumentParser:
    return _Parser(
        prog=f"facilitair {name}",
        description=sentence,
        epilog=f"example:\n  {example}\n",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )


def collaborate_parser() -> argparse.ArgumentParser:
    """Return the parser of `facilitair collaborate`."""
    parser = _command(
        "collaborate",
        "Let several models work on one task at the same time; the answer goes to standard output.",
        'git diff | facilitair collaborate "Review this change" --language python --max-cost 0.10',
    )
    add = parser.add_argument
    add(
        "task",
        nargs="?",
        type=_unmarked,
        metavar="TASK",
        help="what to do; standard input is joined to it, `-` is that alone",
    )
    add(
        "context_json", nargs="?", type=_unmarked, metavar="CONTEXT_JSON", help="the context as a JSON object"
    )
    context = parser.add_argument_group("context")
    add = context.add_argument
    add("--language", metavar="NAME", help="programming language the answer is for")
    add("--framework", action="append", default=[], metavar="NAME", help="framework in use (repeatable)")
    add("--context", action="append", default=[], metavar="KEY=VALUE", help="more context; VALUE may be JSON")
    add = parser.add_argument_group("how it works").add_argument
    add(
        "--strategy",
        metavar="NAME",
        help="which graph of agents: balanced, pipeline, single, or one of your own",
    )
    add("--preset", metavar="NAME", help="which models the roles get: fast, balanced, quality, budget")
    add(
        "--model",
        action="append",
        default=[],
        metavar="[ROLE=]PROVIDER/MODEL",
        help="model for all roles, or for one (repeatable)",
    )
    add(
        "--simulate",
        action="store_true",
        help="scripts of the built-in simulator instead of models; costs nothing",
    )
    add(
        "--section", action="append", default=[], metavar="TITLE", help="a section of the answer (repeatable)"
    )
    add(
        "--cache",
        action=argparse.BooleanOptionalAction,
        help="take a stored answer and store this one, or neither (default: as configured)",
    )
    add = parser.add_argument_group("limits").add_argument
    add("--max-cost", type=_positive(float, "dollars"), metavar="USD", help="stop before this cost")
    add("--max-tokens", type=_positive(int, "tokens"), metavar="N", help="stop before this many tokens")
    add("--timeout", type=_positive(float, "seconds"), metavar="S", help="stop after this many seconds")
    _add_server(parser.add_argument_group("where").add_argument)
    _add_output(parser.add_argument_group("output").add_argument)
    return parser


def attach_parser() -> argparse.ArgumentParser:
    """Return the parser of `facilitair attach`."""
    parser = _command(
        "attach",
        "Watch a run of a server, from its beginning or from an event on; Ctrl-C leaves it running.",
        "facilitair attach 3f2a9c5d0e1b4f7a8c6d2e9b0a1f3c5d --server http://127.0.0.1:8420",
    )
    parser.add_argument("id", type=_unmarked, metavar="ID", help="what the server named the run")
    parser.add_argument(
        "--after",
        type=_sequence,
        default=0,
        metavar="SEQ",
        help="only what came after this event (default 0)",
    )
    _add_server(parser.add_argument)
    _add_output(parser.add_argument)
    return parser


def serve_parser() -> argparse.ArgumentParser:
    """Return the parser of `facilitair serve`."""
    parser = _command(
        "serve",
        "Let others run and watch collaborations over HTTP, until Ctrl-C or SIGTERM.",
        "facilitair serve --port 8420",
    )
    parser.add_argument("--host", metavar="ADDRESS", help="address to listen on (default 127.0.0.1)")
    parser.add_argument(
        "--port", type=_port, metavar="N", help="port to listen on (default 8420); 0 takes a free one"
    )
    parser.add_argument(
        "--allowed-host",
        action="append",
        default=[],
        metavar="NAME",
        help="a name by which the server may be called (repeatable)",
    )
    parser.add_argument(
        "--simulate", action="store_true", help="scripts of the built-in simulator instead of models"
    )
    parser.add_argument("--log-format", choices=("text", "json"), help="how it logs (default text)")
    parser.add_argument(
        "--log-level", choices=("debug", "info", "warning", "error"), help="what it logs (default warning)"
    )
    return parser


def replay_parser() -> argparse.ArgumentParser:
    """Return the parser of `facilitair replay`."""
    parser = _command(
        "replay",
        "Show a recorded run again, at the speed it had or faster.",
        "facilitair replay run.jsonl --speed 4",
    )
    parser.add_argument("file", type=_path, metavar="FILE", help="what `collaborate --record` wrote")
    parser.add_argument(
        "--speed", type=_speed, default=1.0, metavar="N|max", help="times the recorded speed (default 1)"
    )
    _add_view(parser.add_argument)
    return parser


def doctor_parser() -> argparse.ArgumentParser:
    """Return the parser of `facilitair doctor`."""
    parser = _command(
        "doctor",
        "Check the configuration, the extension and each provider with a stream of one token.",
        "facilitair doctor --probe",
    )
    parser.add_argument(
        "--probe",
        action="store_true",
        help="also ask each model that runs would ask for a few tokens, to see whether it goes on from its own text; "
        "says first what that costs",
    )
    return parser


def simulate_parser() -> argparse.ArgumentParser:
    """Return the parser of `facilitair simulate`."""
    parser = _command(
        "simulate",
        "Serve scripted models over the OpenAI protocol on loopback, faults on demand.",
        "facilitair simulate --port 8090 --speed 10",
    )
    parser.add_argument(
        "--port", type=_port, default=0, metavar="N", help="port to listen on (default: any free)"
    )
    parser.add_argument(
        "--speed",
        type=_positive(float, "times"),
        default=1.0,
        metavar="N",
        help="times the natural speed of writing (default 1)",
    )
    return parser


PARSERS: Final[dict[str, Callable[[], argparse.ArgumentParser]]] = {
    "collaborate": collaborate_parser,
    "replay": replay_parser,
    "serve": serve_parser,
    "attach": attach_parser,
    "doctor": doctor_parser,
    "simulate": simulate_parser,
}


def _add_server(add: Callable[..., Any]) -> None:
    add(
        "--server",
        metavar="URL",
        help="the server that runs it (default: FAC_API_BASE; `none`: no server); its key is FAC_API_KEY",
    )


def _add_output(add: Callable[..., Any]) -> None:
    add("--output", type=Path, metavar="FILE", help="write the answer to FILE as well")
    add("--write", type=Path, metavar="DIR", help="write the files of the answer into DIR")
    add("--force", action="store_true", help="with --write: over files that are there")
    add("--record", type=Path, metavar="FILE", help="record the events in FILE, for `facilitair replay`")
    _add_view(add)


def _add_view(add: Callable[..., Any]) -> None:
    add("--json", action="store_true", help="one event a line on standard output, instead of the answer")
    add(
        "--verbosity",
        choices=("full", "filtered", "quiet"),
        default="full",
        help="everything; without the agents' raw text; errors only (default full)",
    )
    add(
        "--view",
        choices=("auto", "live", "lines"),
        default="auto",
        help="all agents side by side, or lines one after the other (default auto: live on a terminal)",
    )


def _positive(kind: Callable[[str], _N], unit: str) -> Callable[[str], _N]:
    def convert(text: str) -> _N:
        try:
            value = kind(text)
        except ValueError:
            value = kind("0")
        if not 0 < value < math.inf:  # `math.isfinite` cannot take every int
            raise argparse.ArgumentTypeError(f"{text!r} is not a number of {unit} above 0")
        return value

    return convert


def _path(text: str) -> Path:
    return Path(_unmarked(text))


def _speed(text: str) -> float:
    return math.inf if text == "max" else _positive(float, "times")(text)


def _sequence(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 16):
        raise argparse.ArgumentTypeError(f"{text!r} is not the number of an event")
    return int(text)


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) < 65536):
        raise argparse.ArgumentTypeError(f"{text!r} is not a port between 0 and 65535")
    return int(text)
