"""What to do with a run directory: start, replace, continue, extend, leave alone, or refuse."""

from __future__ import annotations

import contextlib
import json
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autocast.runs.console import ago, aligned
from autocast.runs.directory import ABSENT, DONE, EVAL, TRAIN, RunDirectory, is_cache
from autocast.runs.identity import FREE, OF_A_TERM, differences, flatten, is_under
from autocast.runs.request import Request
from autocast.runs.walltime import budget_seconds
from autocast.runs.watch.status import ACTIVE, UNKNOWN, Stage, statuses
from autocast.runs.watch.verdicts import CANCELLED

START, REPLACE, CONTINUE, EXTEND, NOTHING, REFUSE = "start", "replace", "continue", "extend", "nothing", "refuse"
LENGTHS: dict[str, Callable[[Any], Any]] = {
    "trainer.max_epochs": lambda n: n,
    "trainer.max_steps": lambda n: n,
    "trainer.budget": budget_seconds,
}
"""Keys that a longer run has more of, and what reads them as numbers."""
FIXED_BY_THE_START = (
    "model",
    "optimizer.algorithm",
    "seed",
    "init",
    "rescue",
    "kl_warmup",
    "autoencoder_checkpoint",
    "latents",
    "datamodule.n_steps_input",
    "datamodule.n_steps_output",
    "datamodule.stride",
    "datamodule.normalisation",
    "datamodule.size",
    "datamodule.column",
    "datamodule.subset",
    "datamodule.seed",
)
"""What a run that is continued cannot change; Lightning restores the optimiser as it was saved, whatever is typed."""

BESIDE_IT = ("beside it", "--no-resume")
REPLACE_IT = ("replace it", "--overwrite")
Remedies = list[tuple[str, str]]


@dataclass(frozen=True)
class Decision:
    """What becomes of a request, and what to tell the user about it."""

    action: str
    directory: RunDirectory
    message: str = ""
    exit_code: int = 0
    resume_from: Path | None = None

    @property
    def starts(self) -> bool:
        return self.action not in (NOTHING, REFUSE)


@dataclass(frozen=True)
class Found:
    """A stage that is in a run directory already."""

    directory: RunDirectory
    kind: str
    stage: str
    by_path: bool = False
    """Whether the user named it by its path."""

    @property
    def finished(self) -> bool:
        return self.directory.state(self.kind, self.stage) == DONE

    @property
    def signature(self) -> str | None:
        """None where a config is there but no record of a start."""
        known = self.directory.run_file(self.kind, self.stage).is_file()
        return self.directory.run_record(self.kind, self.stage)["signature"] if known else None

    def __str__(self) -> str:
        """`outputs/rd/00 holds a finished epd run (50 epochs, 2 h ago)`."""
        article = "a finished" if self.finished else "an unfinished"
        details = ", ".join(part for part in (self._epochs(), self._age()) if part)
        return f"{self.directory.path} holds {article} {self._noun()}" + (f" ({details})" if details else "")

    def _noun(self) -> str:
        if self.stage == TRAIN:
            return f"{self.kind} run"
        if is_cache(self.stage):
            return f"cache of these latents, {self.directory.stage_dir(self.stage).relative_to(self.directory.path)}"
        return f"evaluation ({self.stage}) of its {self.kind} run"

    def _epochs(self) -> str:
        n = n_epochs(self.directory, self.kind) if self.stage == TRAIN else 0
        return f"{n} epoch{'s' if n > 1 else ''}" if n else ""

    def _age(self) -> str:
        events = self.directory.events(self.kind, self.stage)
        return ago(time.time() - events[-1]["time"]) if events else ""


def decide_training(
    request: Request,
    directory: RunDirectory,
    kind: str,
    signature: str,
    *,
    saved: Mapping[str, Any],
    config: Mapping[str, Any],
) -> Decision:
    """The table of cases for a kind in a run directory.

    Args:
        saved: The config of the run that is there; looked at only where it is continued.
        config: The config that is asked for.
    """
    found = Found(directory, kind, TRAIN, by_path=not request.run_name)
    if directory.state(kind) == ABSENT:
        return Decision(START, directory)
    if busy := busy_with(directory, kind, TRAIN, request):
        return _refused(found, busy, _while_it_runs(directory))
    if request.overwrite:
        return _replaced(found, request)
    if request.no_resume:
        return Decision(START, directory.sibling(kind), f"{found}; the new run goes beside it")
    if request.resume_from:
        return _continued(found, saved, config)
    return _already_there(found, saved, same=found.signature == signature)


def busy_with(directory: RunDirectory, kind: str, stage: str, request: Request) -> str:
    """What a process or a job is doing with a stage; nothing where none is at it."""
    status = statuses([Stage(directory, kind, stage)], settle=not request.dry_run)[0]
    if status.never_starts:
        return ""
    if status.state == UNKNOWN:
        return f"that may be running ({status.why})"
    job = f" (job {status.job_id})" if status.job_id else ""
    if status.state in ACTIVE:
        return f"and it is {status.state}{job}"
    return f"that is still ending{job}" if status.state == CANCELLED and _is_ending(status.job_id) else ""


def _is_ending(job_id: str | None) -> bool:
    """Whether a job that was cancelled still saves what it has reached: nobody else may write there meanwhile."""
    from autocast.runs.slurm.queue import SchedulerError, show_job

    with contextlib.suppress(SchedulerError):
        job = show_job(job_id) if job_id else None
        return job is not None and job.is_active
    return False


def was_never_started(directory: RunDirectory, kind: str, stage: str) -> bool:
    """Whether a stage was launched, and nothing came of it: no attempt, no checkpoint."""
    events = [event["event"] for event in directory.events(kind, stage)]
    return "launched" in events and "started" not in events and directory.last_checkpoint(kind) is None


def refuse_change(found: Found, saved: Mapping[str, Any], config: Mapping[str, Any]) -> Decision | None:
    """A refusal where a run is to be continued, here or elsewhere, with what its start fixed changed."""
    changed = [key for key in differences(saved, config) if not OF_A_TERM.fullmatch(key)]
    fixed = [key for key in changed if is_under(key, FIXED_BY_THE_START)]
    if not fixed:
        return None
    weights_fit = not any(is_under(key, ("model",)) for key in fixed)
    from_weights = ("from its weights", f"autocast {found.kind} --init-from {found.directory.quoted}")
    remedies = [*([from_weights] if weights_fit else []), _another_name(found), BESIDE_IT]
    return _refused(found, f"that keeps its {', '.join(fixed)}", remedies)


def decide_evaluation(request: Request, directory: RunDirectory, kind: str, stage: str, signature: str) -> Decision:
    """An evaluation is started, found to be there, or refused where another one has its name."""
    found = Found(directory, directory.kind_of_stage(stage) or kind, stage)
    if directory.state(found.kind, stage) == ABSENT:
        return Decision(START, directory)
    if busy := busy_with(directory, found.kind, stage, request):
        return _refused(
            found, busy, [*_while_it_runs(directory), ("another name", f"eval.name={_free_name(directory)}")]
        )
    if request.overwrite:
        return Decision(REPLACE, directory, f"{found}; it is replaced")
    if found.signature != signature:
        remedies = [("keep both", f"eval.name={_free_name(directory)}"), REPLACE_IT]
        return _refused(found, "with other settings", remedies)
    if not found.finished:
        return Decision(CONTINUE, directory, f"{found}; it goes on")
    remedies = [("look at it", str(directory.eval_dir(stage))), ("run it again", f"eval.name={_free_name(directory)}")]
    return Decision(NOTHING, directory, _message(f"{found} with these settings. Nothing was started.", remedies))


def decide_cache(request: Request, directory: RunDirectory, stage: str, *, use: str) -> Decision:
    """A cache is made, continued where it was left, or found to be there.

    Args:
        use: The command that trains on it.
    """
    found = Found(directory, "ae", stage)
    if directory.state("ae", stage) == ABSENT:
        return Decision(START, directory)
    if busy := busy_with(directory, "ae", stage, request):
        return _refused(found, busy, _while_it_runs(directory))
    if request.overwrite:
        return Decision(REPLACE, directory, f"{found}; it is replaced")
    if not directory.config_file("ae", stage).is_file():
        return Decision(REPLACE, directory, f"{directory.stage_dir(stage)} was deleted; it is made again")
    if not found.finished:
        return Decision(CONTINUE, directory, f"{found}; it goes on")
    return Decision(NOTHING, directory, _message(f"{found}. Nothing was started.", [("use it", use), REPLACE_IT]))


def decide_again(request: Request, directory: RunDirectory, kind: str, stage: str) -> Decision:
    """An evaluation that was launched before: left alone while it runs or when it is done, else it goes on."""
    found = Found(directory, kind, stage)
    if busy := busy_with(directory, kind, stage, request):
        return _refused(found, busy, _while_it_runs(directory))
    if found.finished:
        return Decision(NOTHING, directory, _message(f"{found}. Nothing was started.", [REPLACE_IT]))
    return Decision(CONTINUE, directory, f"{found}; it goes on")


def n_epochs(directory: RunDirectory, kind: str) -> int:
    """Epochs that the run's metrics tell of."""
    file = directory.metrics_file(kind)
    return len(file.read_text().splitlines()) if file.is_file() else 0


def last_progress(directory: RunDirectory, kind: str) -> str:
    """`epoch 12, step 3,400`, from the last complete line of the run's metrics."""
    file = directory.metrics_file(kind)
    for line in reversed(file.read_text().splitlines() if file.is_file() else []):
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            continue
        return f"epoch {row['epoch']}, step {row['step']:,}"
    return "its last checkpoint"


def is_longer(old: float | None, new: float | None) -> bool:
    """Whether a new length is more than the old one; None and -1 are without end."""
    endless = (None, -1)
    return old not in endless and (new in endless or (new or 0) > (old or 0))


def _continued(found: Found, saved: Mapping[str, Any], config: Mapping[str, Any]) -> Decision:
    if refusal := refuse_change(found, saved, config):
        return refusal
    changed = {key: pair for key, pair in differences(saved, config).items() if key in dict(flatten(saved))}
    last = found.directory.last_checkpoint(found.kind)
    progress = last_progress(found.directory, found.kind)
    at = f"continued from {progress}" if last else "without a checkpoint: it starts again"
    told = [f"{key} {old} -> {new}" for key, (old, new) in changed.items() if key in LENGTHS or _counts(key)]
    message = f"{found}; {', '.join([at, *told])}"
    if not found.finished:
        return Decision(CONTINUE, found.directory, message, resume_from=last)
    known = ((LENGTHS[key], old, new) for key, (old, new) in changed.items() if key in LENGTHS)
    if not any(is_longer(read(old), read(new)) for read, old, new in known):
        return _complete(found, saved)
    return Decision(EXTEND, found.directory, message, resume_from=last)


def _counts(key: str) -> bool:
    """Whether a setting changes what comes out of a training."""
    return not is_under(key, FREE[TRAIN])


def _replaced(found: Found, request: Request) -> Decision:
    """Caches of latents lie in the folder of the autoencoder and go with it."""
    stages = [stage for stage in found.directory.stages(found.kind) if is_cache(stage)]
    caches = [stage for stage in stages if found.directory.stage_dir(stage).is_dir()]
    for stage in caches:
        if busy := busy_with(found.directory, found.kind, stage, request):
            cache = Found(found.directory, found.kind, stage, by_path=found.by_path)
            return _refused(cache, busy, _while_it_runs(found.directory))
    with_it = f", and {len(caches)} cache{'s' if len(caches) > 1 else ''} of latents in it" if caches else ""
    return Decision(REPLACE, found.directory, f"{found}; it is replaced{with_it}")


def _already_there(found: Found, saved: Mapping[str, Any], *, same: bool) -> Decision:
    if was_never_started(found.directory, found.kind, found.stage):
        return Decision(START, found.directory, f"{found} that was never started; it is launched anew")
    if same and found.finished:
        return _complete(found, saved)
    remedies = [_continue_it(found, saved), _another_name(found), BESIDE_IT, REPLACE_IT]
    return _refused(found, "with these settings" if same else "with other settings", remedies)


def _complete(found: Found, saved: Mapping[str, Any]) -> Decision:
    """What was asked for is there: not an error."""
    remedies = [
        ("evaluate it", f"autocast eval --workdir {found.directory.quoted}"),
        ("train longer", _continue_it(found, saved)[1]),
        _another_name(found),
        REPLACE_IT,
    ]
    return Decision(NOTHING, found.directory, _message(f"{found}. Nothing was started.", remedies))


def _refused(found: Found, why: str, remedies: Remedies) -> Decision:
    return Decision(REFUSE, found.directory, _message(f"{found} {why}. Nothing was started.", remedies), exit_code=2)


def _message(headline: str, remedies: Remedies) -> str:
    return "\n".join([headline, *(f"  {line}" for line in aligned(remedies))])


def _continue_it(found: Found, saved: Mapping[str, Any]) -> tuple[str, str]:
    command = f"autocast {found.kind} --resume-from {found.directory.quoted}"
    if not found.finished:
        return "continue it", command
    return "continue it", f"{command} {_twice_as_long(saved.get('trainer', {}))}"


def _twice_as_long(trainer: Mapping[str, Any]) -> str:
    """The override for it; a config that was edited by hand may lack all of these."""
    for key in ("max_epochs", "max_steps"):
        if isinstance(n := trainer.get(key), int) and n > 0:
            return f"trainer.{key}={2 * n}"
    seconds = budget_seconds(trainer.get("budget"))
    return f"trainer.budget={2 * seconds / 60:g}m" if seconds else "trainer.max_epochs=N"


def ways_on(directory: RunDirectory) -> list[tuple[str, str]]:
    """What to type next about a run that goes on by itself."""
    run = directory.quoted
    return [
        ("follow", f"autocast status {run} --watch"),
        ("logs", f"autocast logs {run} -f"),
        ("stop", f"autocast cancel {run}"),
    ]


def _while_it_runs(directory: RunDirectory) -> Remedies:
    run = directory.quoted
    return [("follow it", f"autocast status {run} --watch"), ("stop it", f"autocast cancel {run}")]


def _another_name(found: Found) -> tuple[str, str]:
    name = _next_name(found.directory.path.name)
    return (
        "another name",
        f"--workdir {RunDirectory(found.directory.path.with_name(name)).quoted}"
        if found.by_path
        else f"--run-name {name}",
    )


def _next_name(name: str) -> str:
    """`00` -> `01`, `a3` -> `a4`, `best` -> `best-2`."""
    number = re.search(r"\d+$", name)
    if not number:
        return f"{name}-2"
    digits = number.group()
    return f"{name[: number.start()]}{int(digits) + 1:0{len(digits)}}"


def _free_name(directory: RunDirectory) -> str:
    """The first number that no evaluation here has."""
    n = 2
    while directory.eval_dir(f"{EVAL}-{n}").exists():
        n += 1
    return str(n)
