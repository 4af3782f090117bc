"""Whose report is drawn again, and where it goes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from autocast.errors import ConfigError
from autocast.runs.comparing import SCORES, find_evaluation
from autocast.runs.directory import EVAL, NoSuchRunError, RunDirectory, find_run

MATERIAL = "report_data.npz"
"""A file that every evaluation writes before it draws."""
PAGE = "report.html"


@dataclass(frozen=True)
class ReportRequest:
    """An evaluation, and what is drawn of it."""

    run: RunDirectory
    stage: str
    page: Path
    figures: Path
    """A directory."""
    largest: int
    """Bytes of the page, at most."""

    @property
    def directory(self) -> Path:
        """Of the evaluation."""
        return self.run.eval_dir(self.stage)


def read_report(name: str, base: Path, *, evaluation: str | None, out: Path | None, megabytes: float) -> ReportRequest:
    """Finds an evaluation that has been scored.

    Args:
        name: A run, or the directory of an evaluation.
        base: Where runs lie.
        evaluation: Its `eval.name`; None: the run's `eval`, or its only one.
        out: The page; None: the evaluation's own.
        megabytes: Of the page, at most.

    Raises:
        NoSuchRunError: There is no such run, or no such evaluation of it.
        ConfigError: Nothing can be drawn of it, or it would be drawn over something else.
    """
    if not megabytes > 0:
        raise ConfigError(f"--max-size {megabytes:g}: more than 0 is needed, in MB.")
    run, stage = find_evaluation(name, base) if evaluation is None else _named(name, base, evaluation)
    directory = run.eval_dir(stage)
    if not (directory / MATERIAL).is_file():
        raise ConfigError(_nothing_kept(run, stage))
    if out is None:
        return ReportRequest(run, stage, directory / PAGE, directory / "figures", int(1e6 * megabytes))
    figures = out.with_name(f"{out.stem}_figures")
    there = next((place for place in (out, figures) if place.exists()), None)
    if there is not None:
        raise ConfigError(f"--out {out}: {there} is there already. Give another name.")
    return ReportRequest(run, stage, out, figures, int(1e6 * megabytes))


def _named(name: str, base: Path, evaluation: str) -> tuple[RunDirectory, str]:
    run, stage = find_run(name, base), EVAL if evaluation == EVAL else f"{EVAL}-{evaluation}"
    if not run.eval_dir(stage).is_dir():
        there = sorted(file.parent.name for file in run.path.glob(f"{EVAL}*/{SCORES}"))
        has = f"it has {', '.join(there)}" if there else "it has none"
        raise NoSuchRunError(f"--eval {evaluation}: {run.path} has no evaluation {stage}; {has}.")
    return run, stage


def _nothing_kept(run: RunDirectory, stage: str) -> str:
    directory, command = run.eval_dir(stage), f"autocast eval --workdir {run.quoted}"
    if not (directory / SCORES).is_file():
        return f"{directory}: no evaluation that has its scores. Run: {command}"
    return (
        f"{directory}: there is no {MATERIAL} beside the scores: an older version of autocast wrote them. "
        f"Evaluate again, beside it: {command} eval.name=again; or in its place, with --overwrite."
    )
