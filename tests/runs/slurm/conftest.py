"""A scheduler that misbehaves on demand, alone on PATH; and what is submitted to it."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from autocast.runs.slurm import commands, submit
from autocast.runs.slurm.submission import Submission
from autocast.runs.spine import Cluster

PROGRAMS = ("sbatch", "squeue", "sacct", "scontrol", "scancel")


class FakeSlurm:
    """The files of `fake_slurm.py`."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.bin = directory
        directory.mkdir()
        shutil.copy(Path(__file__).with_name("fake_slurm.py"), directory)
        for program in PROGRAMS:
            self.install(program)

    def install(self, program: str) -> None:
        file = self.bin / program
        code = (self.directory / "fake_slurm.py").read_text()
        file.write_text(f"#!{sys.executable} -IS\n{code}")
        file.chmod(0o755)

    def remove(self, program: str) -> None:
        (self.bin / program).unlink()

    def plan(self, **steps: list[str]) -> None:
        """What the next calls of each program do; the last step holds for ever."""
        self._write("plan.json", steps)

    @property
    def jobs(self) -> list[dict[str, Any]]:
        file = self.directory / "jobs.json"
        return json.loads(file.read_text()) if file.is_file() else []

    @jobs.setter
    def jobs(self, jobs: list[dict[str, Any]]) -> None:
        self._write("jobs.json", jobs)

    def account(self, *records: tuple[str, ...]) -> None:
        self._write("accounting.json", records)

    def shows(self, what: str, text: str) -> None:
        (self.directory / f"{what}.txt").write_text(text)

    def calls(self, program: str) -> list[list[str]]:
        file = self.directory / "calls.jsonl"
        calls = [json.loads(line) for line in file.read_text().splitlines()] if file.is_file() else []
        return [words[1:] for words in calls if words[0] == program]

    def _write(self, name: str, content: Any) -> None:
        (self.directory / name).write_text(json.dumps(content))


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeSlurm:
    """Hides every real scheduler; nobody waits between two tries."""
    fake = FakeSlurm(tmp_path / "slurm")
    monkeypatch.setenv("PATH", str(fake.bin))
    monkeypatch.setattr(submit, "sleep", lambda seconds: None)
    for name in ("SBATCH_PARTITION", "SQUEUE_FORMAT"):
        monkeypatch.delenv(name, raising=False)
    return fake


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A call soon counts as hanging, and is long enough for one that does not."""
    monkeypatch.setattr(commands, "PATIENCE", 1.5)


@pytest.fixture
def section() -> Callable[..., dict[str, Any]]:
    """A complete section `cluster` with some keys of its own."""
    return lambda **keys: {**asdict(Cluster()), **keys}


@pytest.fixture
def make(tmp_path: Path, section: Callable[..., dict[str, Any]]) -> Callable[..., Submission]:
    """A submission; `n` makes it another one."""

    def made(n: int = 1, dependency: tuple[str, ...] = (), **keys: Any) -> Submission:
        run = tmp_path / "outputs" / "rd" / "00"
        words = ("train_epd", str(run), f"train{n}")
        comment = f"autocast:0badcafe:train:{n:04x}"
        cluster = section(**{"time": "12:00:00", **keys})
        return Submission(words, "rd.00.train", cluster, run / "epd" / "logs", tmp_path, comment, dependency)

    return made
