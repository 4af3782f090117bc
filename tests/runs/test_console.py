"""What is printed on a terminal, in a pipe and for scripts."""

from __future__ import annotations

import json
import sys

import pytest

from autocast.runs.console import Screen, ago, duration, file_size, problems_text
from autocast.runs.problems import Problem

ROWS = [("data", "waves · 4 → 1 steps"), ("on", "cpu")]


def pretend_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Standard output is a capable terminal of 80 columns; called inside a test, where output is captured."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)


def test_a_panel_is_a_box_on_a_terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    pretend_a_terminal(monkeypatch)
    Screen().panel("epd  outputs/rd/00", ROWS)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("╭─ epd  outputs/rd/00 ─")
    assert "data   waves · 4 → 1 steps" in lines[1]
    assert {len(line) for line in lines} == {80}


@pytest.mark.parametrize(("variable", "value"), [("COLUMNS", "50"), ("NO_COLOR", "1"), ("TERM", "dumb")])
def test_a_panel_is_plain_lines_elsewhere(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], variable: str, value: str
):
    pretend_a_terminal(monkeypatch)
    monkeypatch.setenv(variable, value)
    Screen().panel("epd  outputs/rd/00", ROWS)
    assert capsys.readouterr().out == "epd  outputs/rd/00\n  data   waves · 4 → 1 steps\n  on     cpu\n"


def test_a_pipe_gets_plain_lines_however_long(capsys: pytest.CaptureFixture[str]):
    screen = Screen()
    screen.panel("title", [("word", "x" * 300)])
    screen.line("[not markup] " + "y" * 300)
    assert capsys.readouterr().out.splitlines() == ["title", "  word   " + "x" * 300, "[not markup] " + "y" * 300]


def test_problems_are_aligned_and_counted():
    text = problems_text([Problem("a=1", "no such key."), Problem("--dataset nope", "not there.")])
    assert text.splitlines() == [
        "2 problems, nothing was started:",
        "  a=1              no such key.",
        "  --dataset nope   not there.",
    ]
    assert problems_text([Problem("a", "b")]).startswith("1 problem, nothing")


def test_a_document_is_alone_on_standard_output(capsys: pytest.CaptureFixture[str]):
    screen = Screen(as_json=True)
    screen.panel("title", ROWS)
    with screen.standard_output_kept():
        print("somebody else's words")
    screen.document({"state": "done"})
    out, err = capsys.readouterr()
    assert json.loads(out) == {"state": "done"}
    assert "title" in err
    assert "somebody else's words" in err


@pytest.mark.parametrize(("seconds", "text"), [(9.2, "9 s"), (352, "5:52"), (3723, "1:02:03")])
def test_durations(seconds: float, text: str):
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(3, "just now"), (130, "2 min ago"), (7300, "2 h ago"), (2e5, "2 days ago")]
)
def test_ages(seconds: float, text: str):
    assert ago(seconds) == text


@pytest.mark.parametrize(("n_bytes", "text"), [(12, "12 B"), (13_900_000, "13.9 MB"), (5e12, "5.0 TB")])
def test_file_sizes(n_bytes: float, text: str):
    assert file_size(n_bytes) == text
