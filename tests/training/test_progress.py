import re
import time

import pytest
from rich.console import Console

from autocast.training.progress import Display, Throughput


def printed(train, tmp_path, **console):
    with (tmp_path / "out.txt").open("w") as stream:
        train(max_epochs=3, display=Display(Console(file=stream, width=120, **console)))
    return (tmp_path / "out.txt").read_text()


def test_a_pipe_gets_one_plain_line_per_epoch(train, tmp_path):
    lines = printed(train, tmp_path).splitlines()
    assert len(lines) == 3
    for epoch, line in enumerate(lines, 1):
        assert line.startswith(f"epoch {epoch}/3  train/loss ")
        assert re.search(
            r"val/objective [\d.]+ .*s/step · \d+ samples/s · data wait \d+ % · [\d.]+ GB · ETA \d+:\d\d", line
        )
        assert "\x1b" not in line


def test_a_terminal_gets_a_bar(train, tmp_path):
    text = printed(train, tmp_path, force_terminal=True)
    assert "━" in text
    assert "100 %" in text
    assert re.search(r"val/objective [\d.]+ \(best, epoch 3\)", text)


def test_a_narrow_bar_cuts_nothing(train, tmp_path):
    with (tmp_path / "out.txt").open("w") as stream:
        train(max_epochs=2, display=Display(Console(file=stream, width=80, force_terminal=True)))
    text = (tmp_path / "out.txt").read_text()
    assert "ETA" in text
    assert "…" not in text


@pytest.mark.parametrize("variables", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_no_bar_where_it_is_not_wanted(variables, monkeypatch):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert not Display(Console(force_terminal=True, width=100)).live


def test_narrow_terminals_get_lines():
    assert not Display(Console(force_terminal=True, width=40)).live


def test_nothing_but_progress_is_printed(train, tmp_path, capfd):
    printed(train, tmp_path)
    captured = capfd.readouterr()
    assert captured.out == captured.err == ""


def test_throughput_tells_waiting_from_working(monkeypatch):
    clock = iter([0.0, 0.0, 1.0, 4.0, 4.0, 7.0])
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    meter = Throughput()
    meter.start()
    meter.batch_arrived()
    meter.batch_done(6, stepped=True)
    meter.batch_arrived()
    meter.batch_done(8, stepped=True)
    assert meter.summary() == "3.5 s/step · 2 samples/s · data wait 14 %"
