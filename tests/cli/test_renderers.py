"""Each style has its renderer, and what is shown with it goes to its stream. The live view has `test_live.py`."""

from __future__ import annotations

import pytest

from facilitair import events as ev
from facilitair.cli.output import Output, Streams
from facilitair.cli.renderers import renderer_for

from .events import Script

CAPABLE = Streams(err_is_capable=True)


def told(output: Output) -> None:
    script = Script()
    renderer = renderer_for(output)
    for event in (*script.begin("coder"), script.text("coder", "Hi.\n"), script.completed("# Hi")):
        renderer.handle(event, now=0.0)
    renderer.close()


def test_json_goes_to_standard_output_alone(capsys: pytest.CaptureFixture[str]) -> None:
    told(Output(json=True, streams=CAPABLE))
    captured = capsys.readouterr()
    kinds = [type(ev.decode(line)) for line in captured.out.splitlines()]
    assert (kinds[0], kinds[-1]) == (ev.TaskStartedEvent, ev.TaskCompletedEvent)
    assert captured.err == ""


@pytest.mark.parametrize(
    ("output", "line"),
    [(Output(), "] Coder: Hi."), (Output(streams=CAPABLE, view="lines"), "] 💻 Coder: Hi.")],
)
def test_lines_go_to_standard_error_alone(
    output: Output, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    told(output)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert line in captured.err


@pytest.mark.parametrize("streams", [Streams(), CAPABLE])
def test_the_verbosity_is_the_outputs(streams: Streams, capsys: pytest.CaptureFixture[str]) -> None:
    told(Output(verbosity="quiet", streams=streams))
    assert capsys.readouterr().err == ""
