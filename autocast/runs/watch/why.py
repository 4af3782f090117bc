"""What `autocast why` does: explains the state of a run, with the evidence and what to type."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from autocast.diagnosis import Finding, diagnose
from autocast.errors import ConfigError
from autocast.runs.again import diagnosed_run
from autocast.runs.console import Screen, ago, aligned
from autocast.runs.directory import TRAIN, default_output_base, find_run, read_config
from autocast.runs.environment import read_environment
from autocast.runs.exits import DONE
from autocast.runs.metrics import epoch_records
from autocast.runs.watch import verdicts
from autocast.runs.watch.causes import Evidence, cause, evidence
from autocast.runs.watch.failures import Failure
from autocast.runs.watch.journal import read_journal
from autocast.runs.watch.log_files import ranks
from autocast.runs.watch.remedies import Advice, advice
from autocast.runs.watch.stages import Stage, matching
from autocast.runs.watch.state import StageStatus
from autocast.runs.watch.status import statuses

URGENCY = (
    (verdicts.FAILED, verdicts.STUCK, verdicts.LOST, verdicts.STOPPED, verdicts.INTERRUPTED, verdicts.ABORTED),
    (verdicts.INCOMPLETE, verdicts.CANCELLED, verdicts.LAUNCHED),
    (verdicts.UNKNOWN,),
    verdicts.ACTIVE,
    (verdicts.DONE,),
)
"""Which stage of a run is explained: what went wrong by itself before what followed from it."""
EXPLAINED_BY_TRACEBACK = ("exception", "environment", "unexplained")
MOST_LINES = 30


def show(name: str, *, kind: str | None, stage: str | None, json: bool, output_base: Path | None) -> int:
    """Prints why a run, or a stage of it, is in its state.

    Returns:
        The exit code.

    Raises:
        NoSuchRunError: There is no such run.
        ConfigError: It has no such stage.
    """
    read_environment()
    screen = Screen(as_json=json)
    run = find_run(name, output_base or default_output_base())
    found = statuses(matching(run, kind, stage))
    if not found:
        raise ConfigError(f"{run.path}: nothing was launched in this run, so there is nothing to explain")
    status = most_urgent(found)
    known = evidence(status, read_journal(run.events_file(status.stage.kind, status.stage.stage)))
    word = cause(known)
    said = advice(word, known)
    ailments = [(one.stage, finding) for one in found for finding in _ailments(one.stage)]
    if json:
        screen.document(_document(known, word, said, ailments))
        return DONE
    screen.line(headline(known, said))
    rows = _rows(known, word, said, found)
    for of, finding in ailments:
        rows += [(finding.name, f"{of.name}: {finding.text}"), *(("try", command) for command in finding.commands)]
    for line in aligned(rows):
        screen.line(f"  {line}")
    return DONE


def most_urgent(found: Sequence[StageStatus]) -> StageStatus:
    """What went wrong by itself, the latest first; else what goes on; else what is done."""
    for states in URGENCY:
        if some := [status for status in found if status.state in states]:
            return max(some, key=lambda status: status.since or 0.0)
    return found[0]


def _ailments(stage: Stage) -> list[Finding]:
    """What the metrics of a training say is wrong with its model."""
    directory, kind = stage.directory, stage.kind
    file = directory.metrics_file(kind)
    if stage.stage != TRAIN or not file.is_file():
        return []
    return diagnose(epoch_records(file), diagnosed_run(directory, kind, read_config(directory.config_file(kind))))


def headline(known: Evidence, said: Advice) -> str:
    """`cns/a3 epd train failed 12 min ago on gpu-n14 (job 184190): CUDA out of memory, rank 0, step 212`."""
    status = known.status
    when = f" {ago(time.time() - status.since)}" if status.since and not status.is_active else ""
    host = _host(known)
    where = f" on {host}" if host else ""
    job = f" (job {status.job_id})" if status.job_id else ""
    text, _, rest = said.text.partition("\n")
    told = [text, *_where_in_it(known)] if not status.is_active and status.state != verdicts.DONE else [text]
    return f"{status.stage.label} {status.state}{when}{where}{job}: {', '.join(told)}" + (f"\n{rest}" if rest else "")


def _where_in_it(known: Evidence) -> list[str]:
    step = known.status.progress.step
    rank = [f"rank {known.failure.rank}"] if known.failure and len(ranks(known.tails.files)) > 1 else []
    return [*rank, *([f"after step {step:,}"] if step else [])]


def _rows(known: Evidence, word: str, said: Advice, found: Sequence[StageStatus]) -> list[tuple[str, str]]:
    rows = [("said", line) for line in _traceback(known.failure)] if word in EXPLAINED_BY_TRACEBACK else []
    rows = [(name if n == 0 else "", line) for n, (name, line) in enumerate(rows)]
    if not rows and known.failure is None and not known.status.is_active:
        rows = [("said", line) for line in _last_words(known)[-1:]]
    rows += [("try" if n == 0 else "", command) for n, command in enumerate(said.commands)]
    if file := _log(known):
        rows.append(("log", f"{_log_command(known)}   {file}"))
    others = [status for status in found if status is not known.status and status.state != verdicts.DONE]
    rows += [("also", _other(status)) for status in others]
    return rows


def _other(status: StageStatus) -> str:
    return f"{status.stage.name} is {status.state}" + (f": {status.why}" if status.why else "")


def _traceback(failure: Failure | None) -> list[str]:
    """Its end: the beginning is more often someone else's code."""
    lines = failure.traceback.rstrip().splitlines() if failure else []
    return lines if len(lines) <= MOST_LINES else ["...", *lines[-MOST_LINES:]]


def _last_words(known: Evidence) -> list[str]:
    return [line for text in known.tails.texts for line in text.splitlines() if line.strip()]


def _host(known: Evidence) -> str:
    job = known.status.job
    if job and job.nodes and known.status.state != verdicts.PENDING:
        return job.nodes
    return known.journal.started["host"] if known.journal.started else ""


def _log(known: Evidence) -> Path | None:
    if known.failure and known.failure.log:
        return known.failure.log
    rank = known.failure.rank if known.failure else 0
    return next((log.file for log in known.tails.files if log.rank == rank), None)


def _log_command(known: Evidence) -> str:
    stage = known.status.stage
    rank = f" --rank {known.failure.rank}" if known.failure and known.failure.rank else ""
    return f"autocast logs {stage.directory.quoted} --kind {stage.kind} --stage {stage.stage} --err{rank}"


def _document(known: Evidence, word: str, said: Advice, ailments: Sequence[tuple[Stage, Finding]]) -> dict[str, Any]:
    failure, file = known.failure, _log(known)
    return {
        **known.status.document,
        "cause": word,
        "text": said.text,
        "commands": list(said.commands),
        "host": _host(known),
        "rank": failure.rank if failure else None,
        "error": failure.error if failure else None,
        "message": failure.message if failure else None,
        "traceback": failure.traceback if failure else None,
        "log": str(file) if file else None,
        "ailments": [{"kind": stage.kind, **asdict(finding)} for stage, finding in ailments],
    }
