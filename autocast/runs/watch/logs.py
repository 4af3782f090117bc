"""What `autocast logs` does: shows what a stage printed, over all its attempts and jobs."""

from __future__ import annotations

import gc
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from autocast.errors import ConfigError
from autocast.runs.console import Screen
from autocast.runs.directory import default_output_base, find_run
from autocast.runs.environment import read_environment
from autocast.runs.exits import DONE
from autocast.runs.watch.journal import Journal, read_journal
from autocast.runs.watch.log_files import ERR, OUT, LogFile, OwnLines, Tail, last_lines, lines_of, log_files, ranks
from autocast.runs.watch.stages import Stage, matching
from autocast.runs.watch.state import StageStatus
from autocast.runs.watch.status import statuses
from autocast.runs.watch.verdicts import LAUNCHED, RUNNING, UNKNOWN

PAUSE = 1.0
"""Seconds between two looks at the files."""
ASK_EVERY = 15.0
"""Seconds between two questions to the scheduler."""


@dataclass(frozen=True)
class Selection:
    """Which lines are wanted."""

    kind: str | None = None
    stage: str | None = None
    rank: int = 0
    attempt: int | None = None
    err: bool = False
    n_lines: int | None = None
    """The last ones; None: all."""

    @property
    def stream(self) -> str:
        return ERR if self.err else OUT


def show(name: str, selection: Selection, *, follow: bool, json: bool, output_base: Path | None) -> int:
    """Prints the log of a stage: of the one that started last, unless one is named.

    Returns:
        The exit code.

    Raises:
        NoSuchRunError: There is no such run.
        ConfigError: It has no such stage, rank or attempt, or the options exclude each other.
    """
    if follow and json:
        raise ConfigError("--follow: never ends in one document. Leave out --follow, or --json")
    read_environment()
    screen = Screen(as_json=json)
    run = find_run(name, output_base or default_output_base())
    stage = _latest(matching(run, selection.kind, selection.stage))
    if follow:
        return _follow(stage, selection, screen)
    files = _files(stage, selection)
    lines = last_lines(lines_of(files, stage, selection.attempt), selection.n_lines)
    _check_attempt(stage, selection, lines)
    message = "" if lines else why_none(statuses([stage])[0], _journal(stage), files)
    if json:
        listed = [{"job_id": log.job_id, "rank": log.rank, "file": str(log.file)} for log in files]
        screen.document({**stage.place, "files": listed, "lines": lines, "message": message})
    else:
        screen.line("\n".join(lines) if lines else f"{stage.label}: {message}")
    return DONE


def why_none(status: StageStatus, journal: Journal, files: Sequence[LogFile]) -> str:
    """Why there is nothing to show."""
    doing = f"{status.state}: {status.why}" if status.why else status.state
    if files:
        return f"nothing printed yet ({doing})" if status.is_active else f"it printed nothing ({doing})"
    if journal.last("submitted", "detached") is None and journal.started:
        return "it ran in the terminal that it was started from, and what it printed is there"
    if status.is_active or status.state in (LAUNCHED, UNKNOWN):
        return f"no log yet ({doing})"
    folder = status.stage.directory.logs_dir(status.stage.kind)
    return f"no log in {folder} ({doing}). autocast why {status.stage.directory.quoted}"


def _latest(stages: Sequence[Stage]) -> Stage:
    """The stage that started last; where none did, the first."""
    if not stages:
        raise ConfigError("nothing was launched in this run, so it has no log")
    started = [(journal.started["time"] if journal.started else 0.0) for journal in map(_journal, stages)]
    return stages[started.index(max(started))]


def _files(stage: Stage, selection: Selection) -> list[LogFile]:
    found = log_files(stage, _journal(stage), selection.stream)
    own = [log for log in found if log.rank == selection.rank]
    if found and not own:
        there = ", ".join(map(str, ranks(found)))
        raise ConfigError(f"--rank {selection.rank}: {stage.label} has logs of ranks {there}")
    return own


def _check_attempt(stage: Stage, selection: Selection, lines: Sequence[str]) -> None:
    if selection.attempt is None or lines:
        return
    n = sum(event["event"] == "started" for event in _journal(stage).events)
    if selection.attempt > n:
        raise ConfigError(f"--attempt {selection.attempt}: {stage.label} has had {n}")


def _follow(stage: Stage, selection: Selection, screen: Screen) -> int:
    """Until the stage ends, or Ctrl-C; a requeue is no end."""
    gc.enable()  # the command line was read without it
    follower = Follower(stage, selection)
    watched = _Watched(stage, screen)
    first = True
    try:
        while True:
            over = not watched.goes_on()
            lines = follower.new_lines(also_unfinished=over)
            for line in lines[-selection.n_lines :] if first and selection.n_lines else lines:
                screen.line(line)
            if over:
                break
            first = False
            time.sleep(PAUSE)
    except KeyboardInterrupt:
        screen.error(f"no longer followed; the run goes on. autocast status {stage.directory.quoted}")
        return DONE
    watched.tell_end(_journal(stage), follower.files)
    return DONE


class Follower:
    """New lines of a stage, from whatever file they come to: over requeues and resubmissions."""

    def __init__(self, stage: Stage, selection: Selection):
        self.stage = stage
        self.selection = selection
        self.files: list[LogFile] = []
        self._tails: dict[Path, Tail] = {}

    def new_lines(self, *, also_unfinished: bool = False) -> list[str]:
        found = log_files(self.stage, _journal(self.stage), self.selection.stream)
        self.files = [log for log in found if log.rank == self.selection.rank]
        for log in self.files:
            self._tails.setdefault(log.file, Tail(log.file, OwnLines(self.stage, self.selection.attempt)))
        return [line for tail in self._tails.values() for line in tail.new_lines(also_unfinished=also_unfinished)]


class _Watched:
    """Whether a stage goes on, asking the scheduler now and then, and telling what it waits for."""

    def __init__(self, stage: Stage, screen: Screen):
        self.stage = stage
        self.screen = screen
        self.status: StageStatus | None = None
        self._asked = 0.0
        self._told = ""

    def goes_on(self) -> bool:
        closed = self.stage.is_done or _journal(self.stage).closed
        if self.status is None or closed or time.monotonic() - self._asked > ASK_EVERY:
            self.status = statuses([self.stage])[0]
            self._asked = time.monotonic()
            self._tell(self.status)
        return self.status.is_active or self.status.state == UNKNOWN

    def _tell(self, status: StageStatus) -> None:
        text = f"{status.stage.label} is {status.state}" + (f": {status.why}" if status.why else "")
        waits = status.state == UNKNOWN or (status.is_active and status.state != RUNNING)
        if waits and text != self._told:
            self._told = text
            self.screen.error(text)

    def tell_end(self, journal: Journal, files: Sequence[LogFile]) -> None:
        if self.status is None:
            return
        why = f": {self.status.why}" if self.status.why else ""
        self.screen.error(f"{self.stage.label} is {self.status.state}{why}")
        if not files:
            self.screen.error(why_none(self.status, journal, files))


def _journal(stage: Stage) -> Journal:
    return read_journal(stage.directory.events_file(stage.kind, stage.stage))
