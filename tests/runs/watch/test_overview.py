"""`autocast status` as it is seen: a table, a document, what is left out, and how little it costs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from autocast.errors import ConfigError
from autocast.runs.directory import NoSuchRunError
from autocast.runs.events import append_event
from autocast.runs.watch import overview
from autocast.runs.watch.stages import Stage

LAUNCHED = ("launched", {"action": "start", "uid": "cafe0001", "argv": []})
FAILED = ("failed", {"error": "ValueError", "message": "no", "traceback": "", "code": 1, "rank": 0})
HEAVY = {"torch", "lightning", "hydra", "omegaconf", "submitit", "numpy", "pandas", "wandb", "rich.live"}


def shown(base: Path, *names: str, watch: bool = False, all_of_them: bool = False, json: bool = False) -> int:
    return overview.show(names, watch=watch, all_of_them=all_of_them, json=json, output_base=base)


def aged(stage: Stage, days: float) -> Stage:
    """The same, as if it had ended so long ago."""
    then = time.time() - days * 86400
    events = stage.directory.events_file(stage.kind, stage.stage)
    told = [{**json.loads(line), "time": then} for line in events.read_text().splitlines()]
    events.write_text("".join(json.dumps(event) + "\n" for event in told))
    if stage.is_done:
        os.utime(stage.directory.done_file(stage.kind, stage.stage), (then, then))
    return stage


def test_a_table_in_a_pipe(stage_with: Callable[..., Stage], tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    stage_with(LAUNCHED, FAILED)
    stage_with(LAUNCHED, run="rd/01", done=True)
    assert shown(tmp_path) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["run", "stage", "state", "progress", "left", "elapsed", "attempt", "why"]
    assert lines[1].split()[:4] == ["rd/00", "epd", "train", "failed"]
    assert lines[1].endswith("ValueError: no")
    assert lines[2].split()[:4] == ["rd/01", "epd", "train", "done"]
    assert lines[3] == f"next   autocast why {tmp_path}/rd/00"


def test_what_ended_long_ago_is_counted(
    stage_with: Callable[..., Stage], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    aged(stage_with(LAUNCHED, done=True), 3)
    aged(stage_with(LAUNCHED, FAILED, run="rd/01"), 3)
    stage_with(LAUNCHED, run="rd/02", done=True)
    shown(tmp_path)
    out = capsys.readouterr().out
    assert ("rd/00" in out, "rd/01" in out, "rd/02" in out) == (False, False, True)
    assert "2 older stages: autocast status --all" in out
    shown(tmp_path, all_of_them=True)
    assert "rd/00" in capsys.readouterr().out
    shown(tmp_path, "rd/00")
    assert "rd/00" in capsys.readouterr().out


def test_one_document_for_scripts(stage_with: Callable[..., Stage], tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    stage_with(LAUNCHED, FAILED)
    assert shown(tmp_path, "rd/00", json=True) == 0
    (stage,) = json.loads(capsys.readouterr().out)["stages"]
    assert (stage["kind"], stage["stage"], stage["state"], stage["epoch"]) == ("epd", "train", "failed", None)


def test_a_job_id_names_its_run(stage_with: Callable[..., Stage], tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    sent = ("submitted", {"job_id": "184213_4", "comment": "c", "dependency": []})
    stage_with(LAUNCHED, sent, FAILED)
    for name in ("184213_4", "184213", "cafe0001"):
        assert shown(tmp_path, name, json=True) == 0
        assert len(json.loads(capsys.readouterr().out)["stages"]) == 1
    with pytest.raises(NoSuchRunError):
        shown(tmp_path, "184214")


def test_no_runs_say_what_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert shown(tmp_path) == 0
    assert capsys.readouterr().out == f"no runs in {tmp_path}. Start one: autocast demo\n"


def test_watching_is_no_document(tmp_path: Path):
    with pytest.raises(ConfigError, match="--watch"):
        shown(tmp_path, watch=True, json=True)


def test_watching_tells_changes_until_nothing_is_open(
    stage_with: Callable[..., Stage],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
):
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        from autocast.runs.events import process_identity

        start = {"attempt": 1, "job_id": None, "step": 0, **process_identity(child.pid)}
        stage = stage_with(LAUNCHED, ("started", start))
        steps = iter(
            [
                ("epoch", {"epoch": 1, "step": 10, "seconds": 1.0}),
                ("note", {"text": "nothing that is shown"}),
                ("failed", {"error": "ValueError", "message": "no", "traceback": ""}),
            ]
        )

        def a_pause(seconds: float) -> None:
            name, fields = next(steps)
            append_event(stage.directory.events_file("epd", "train"), name, **fields)

        monkeypatch.setattr(overview.time, "sleep", a_pause)
        assert shown(tmp_path, watch=True) == 0
    finally:
        child.communicate(b"\n")
    told = [line.split("  ", 1)[1] for line in capsys.readouterr().out.splitlines()]
    assert told == [
        "rd/00 epd train  running",
        "rd/00 epd train  running  epoch 1/50  2 %",
        "rd/00 epd train  failed  epoch 1/50  2 %  ValueError: no",
    ]


def test_ctrl_c_leaves_quietly(stage_with: Callable[..., Stage], tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    stage_with(
        LAUNCHED, ("started", {"attempt": 1, "job_id": None, "host": "elsewhere", "pid": 1, "process_start": "0"})
    )

    def interrupted(seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(overview.time, "sleep", interrupted)
    assert shown(tmp_path, watch=True) == 0


def test_two_hundred_runs_cost_two_questions(
    stage_with: Callable[..., Stage],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    """Accounting is off here, and the controller knows none of the jobs any more."""
    for name, code in (("squeue", 0), ("sacct", 1)):
        program = tmp_path / "bin" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text(f"#!/bin/sh\necho {name} >> {tmp_path}/calls\nexit {code}\n")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    for n in range(200):
        sent = ("submitted", {"job_id": str(1000 + n), "comment": "c", "dependency": []})
        stage_with(LAUNCHED, sent, run=f"outputs/rd/{n:03}")
    assert shown(tmp_path / "outputs", json=True) == 0
    assert {stage["state"] for stage in json.loads(capsys.readouterr().out)["stages"]} == {"lost"}
    assert (tmp_path / "calls").read_text().split() == ["squeue", "sacct"]


@pytest.mark.parametrize("command", ["status", "logs rd/00", "why rd/00"])
def test_nothing_heavy_is_imported(stage_with: Callable[..., Stage], tmp_path: Path, command: str):
    stage_with(LAUNCHED, FAILED)
    words = [sys.executable, "-X", "importtime", "-m", "autocast", *command.split(), "--output-base", str(tmp_path)]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    lines = [line for line in done.stderr.splitlines() if line.startswith("import time:")]
    names = {line.rpartition("|")[2].strip() for line in lines}
    assert names & HEAVY == set()
