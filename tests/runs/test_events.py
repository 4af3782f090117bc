"""The log of a stage: appended to, read back after a kill, and asked who is alive."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from autocast.runs.events import append_event, is_alive, process_start, read_events, this_process


def test_a_line_that_a_kill_cut_short_is_left_out(tmp_path: Path):
    file = tmp_path / "a" / "events.jsonl"
    append_event(file, "started", step=3)
    with file.open("a") as stream:
        stream.write('{"event": "fini')
    events = read_events(file)
    assert [event["event"] for event in events] == ["started"]
    assert events[0]["step"] == 3


def test_no_log_is_no_events(tmp_path: Path):
    assert read_events(tmp_path / "events.jsonl") == []


def test_a_process_is_known_again_by_its_number_and_its_start(tmp_path: Path):
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        started = {"event": "started", **this_process(), "pid": child.pid, "process_start": process_start(child.pid)}
        assert is_alive(started)
        assert not is_alive({**started, "process_start": "another process with its number"})
        assert not is_alive({**started, "host": "elsewhere"})
    finally:
        child.communicate(b"\n")
    assert not is_alive(started)
