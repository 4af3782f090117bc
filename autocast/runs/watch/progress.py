"""How far a training or an evaluation is, how long it is to be, and what is left of it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from statistics import fmean

from autocast.runs.directory import TRAIN, RunDirectory
from autocast.runs.events import Event
from autocast.runs.watch.journal import Journal

TRAINER = re.compile(r"^trainer:\n((?:[ ].*\n)*)", re.MULTILINE)
LENGTH = re.compile(r"^  (max_epochs|max_steps): (\d+)$", re.MULTILINE)
N_TIMED = 3
"""Epochs whose mean duration the next ones are expected to have."""


@dataclass(frozen=True)
class Progress:
    """Epochs and steps done, or trajectories scored, and how many there are to be; None where nothing says so."""

    epoch: int | None = None
    n_epochs: int | None = None
    step: int | None = None
    n_steps: int | None = None
    trajectory: int | None = None
    n_trajectories: int | None = None
    left: float | None = None
    """Seconds until the end, if it goes on as it went."""

    @property
    def fraction(self) -> float | None:
        counts = (self.epoch, self.n_epochs), (self.step, self.n_steps), (self.trajectory, self.n_trajectories)
        shares = [done / n for done, n in counts if n and done]
        return min(1.0, max(shares)) if shares else None

    @property
    def text(self) -> str:
        """`epoch 31/50  62 %`."""
        if self.epoch is None and self.step is None and self.trajectory is None:
            return "-"
        word, done, n = ("epoch", self.epoch, self.n_epochs)
        if self.trajectory is not None:
            word, done, n = ("trajectory", self.trajectory, self.n_trajectories)
        elif not done or (self.n_steps and not self.n_epochs):
            word, done, n = ("step", self.step, self.n_steps)
        total = f"/{n}" if n else ""
        share = f"  {100 * self.fraction:.0f} %" if self.fraction is not None else ""
        return f"{word} {done}{total}{share}"


def progress(directory: RunDirectory, kind: str, stage: str, journal: Journal, now: float) -> Progress:
    """Of a training, or of an evaluation that has scored a batch."""
    if stage != TRAIN:
        return _scored(journal, now)
    said = [event for event in journal.events if event["event"] in ("epoch", "checkpoint", "resumed")]
    if not said:
        return Progress()
    epoch, step = said[-1]["epoch"], said[-1]["step"]
    n_epochs, n_steps = length(directory, kind)
    epochs = [event for event in said if event["event"] == "epoch"][-N_TIMED:]
    left = _left(epochs, n_epochs, n_steps)
    since = now - epochs[-1]["time"] if epochs else 0.0
    return Progress(epoch, n_epochs, step, n_steps, left=None if left is None else max(0.0, left - since))


def _scored(journal: Journal, now: float) -> Progress:
    scored = [event for event in journal.events if event["event"] == "scored"]
    if not scored:
        return Progress()
    done, n = scored[-1]["step"], scored[-1]["n_trajectories"]
    started = max((event["time"] for event in journal.events if event["event"] == "started"), default=0.0)
    timed = [event for event in scored if event["time"] >= started]
    if not timed or timed[0]["step"] == done:
        return Progress(trajectory=done, n_trajectories=n)
    pace = (timed[-1]["time"] - timed[0]["time"]) / (done - timed[0]["step"])
    return Progress(trajectory=done, n_trajectories=n, left=max(0.0, (n - done) * pace - (now - timed[-1]["time"])))


def length(directory: RunDirectory, kind: str) -> tuple[int | None, int | None]:
    """Epochs and steps that the frozen config asks for; read without a YAML parser, for 200 runs at once."""
    file = directory.config_file(kind)
    section = TRAINER.search(file.read_text(encoding="utf-8")) if file.is_file() else None
    found = dict(LENGTH.findall(section[1])) if section else {}
    return tuple(int(found[key]) if key in found else None for key in ("max_epochs", "max_steps"))  # type: ignore[return-value]


def _left(epochs: list[Event], n_epochs: int | None, n_steps: int | None) -> float | None:
    """Seconds from the end of the last epoch to the end of the training, whichever length comes first."""
    if not epochs:
        return None
    seconds, last = fmean(event["seconds"] for event in epochs), epochs[-1]
    rest = [float(n_epochs - last["epoch"])] if n_epochs else []
    if n_steps and last["step"]:
        rest.append((n_steps - last["step"]) * last["epoch"] / last["step"])
    return max(0.0, min(rest)) * seconds if rest else None
