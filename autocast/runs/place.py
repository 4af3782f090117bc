"""Which run directory, kind and stage a request is about, and whose saved config it stands on."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autocast.errors import LaunchError
from autocast.runs.directory import (
    ABSENT,
    EVAL,
    KINDS,
    LATENTS,
    TRAIN,
    UNFINISHED,
    NoSuchRunError,
    RunDirectory,
    UpstreamError,
    default_output_base,
    find_run,
    is_checkpoint,
    run_of_file,
)
from autocast.runs.identity import run_name
from autocast.runs.overrides import read_overrides
from autocast.runs.request import LOCAL, SLURM, Request

KIND_OF_COMMAND = {"ae": "ae", "epd": "epd", "train-eval": "epd", "processor": "processor"}


@dataclass(frozen=True)
class Place:
    """Where a stage is to run, as far as the request says."""

    kind: str
    stage: str
    directory: RunDirectory | None
    """None where a new name is to be made."""
    saved: Path | None = None
    """The frozen config to reopen; None composes a new one."""
    checkpoint: Path | None = None
    """What a training continues from, in place or elsewhere, or what an evaluation loads."""
    init_from: Path | None = None
    in_place: bool = False
    """Whether a training is continued in its own directory."""
    notes: tuple[str, ...] = ()


def training_place(request: Request) -> Place:
    """Where a training runs; `--resume-from` may name its directory, its config and its checkpoint.

    Raises:
        LaunchError: What is named is not there.
    """
    kind = KIND_OF_COMMAND[request.command]
    named = named_directory(request)
    notes = _notes(request)
    init_from = _weights(request.init_from, kind, request) if request.init_from else None
    source, checkpoint = _source(request, kind, named)
    directory = named or source
    if source is None or directory is None:
        return Place(kind, TRAIN, directory, checkpoint=checkpoint, init_from=init_from, notes=notes)
    in_place = directory.path.resolve() == source.path.resolve()
    if in_place and checkpoint not in (None, source.last_checkpoint(kind)):
        raise LaunchError(
            f"--resume-from {request.resume_from}: {source.path} has gone on since. "
            f"Give --workdir DIR to go on from that checkpoint elsewhere, or --resume-from {source.path} to go on here"
        )
    return Place(
        kind,
        TRAIN,
        directory,
        saved=saved_config(source, kind),
        checkpoint=None if in_place else checkpoint or source.last_checkpoint(kind),
        init_from=init_from,
        in_place=in_place,
        notes=notes,
    )


def evaluation_place(request: Request) -> Place:
    """What an evaluation loads, and where it writes.

    Raises:
        NoSuchRunError: There is no such run.
        UpstreamError: The run has no checkpoint yet.
    """
    named = named_directory(request)
    typed = last_value(request, "eval.checkpoint")
    run = _run_of_checkpoint(Path(typed)) if typed else _existing(named, request)
    kind = _kind_of_checkpoint(run, Path(typed)) if typed else _kind_to_evaluate(run, request)
    if kind is None:
        raise UpstreamError(f"{run.path} has no checkpoint yet. Train it first, or wait for its first one")
    checkpoint = Path(typed) if typed else run.checkpoint_file(kind)
    saved = saved_config(run, kind)
    stage = evaluation_stage(request)
    notes = _notes(request)
    if run.state(kind) == UNFINISHED and (typed or request.mode == LOCAL):
        notes += (f"{run.path}: the {kind} run is unfinished; its best checkpoint so far is evaluated",)
    directory = named if typed and named else run  # `--workdir rd/00` may have meant the run of that name
    return Place(kind, stage, directory, saved=saved, checkpoint=checkpoint, notes=notes)


def caching_place(request: Request) -> Place:
    """Where latents are cached, as far as that is named; which cache it is comes with the config."""
    return Place("ae", LATENTS, named_directory(request), notes=_notes(request))


def evaluation_stage(request: Request) -> str:
    """`eval`, or `eval-N` with `eval.name=N`.

    Raises:
        LaunchError: The name cannot be that of a directory.
    """
    name = last_value(request, "eval.name")
    if name is None:
        return EVAL
    if not re.fullmatch(r"[\w.-]+", str(name)):
        raise LaunchError(f"eval.name={name}: part of a directory's name; letters, digits and _.- are accepted")
    return f"{EVAL}-{name}"


def named_directory(request: Request) -> RunDirectory | None:
    """The directory that the request spells out; None where its name is to be made."""
    exact = request.workdir or read_overrides(request.overrides, ()).workdir
    if exact:
        return RunDirectory(Path(exact).expanduser())
    return RunDirectory(_date_directory(request) / request.run_name) if request.run_name else None


def new_directory(request: Request, kind: str, config: Mapping[str, Any], choices: Mapping[str, str]) -> RunDirectory:
    """A directory with a name that no other run has."""
    dataset = Path(config["datamodule"]["data_path"]).name
    processor = next((option for place, option in choices.items() if place.endswith("model.processor")), None)
    return RunDirectory(_date_directory(request) / run_name(kind, dataset, processor))


def output_base(request: Request) -> Path:
    return request.output_base or default_output_base()


def saved_config(run: RunDirectory, kind: str) -> Path:
    """The file with the frozen config of a kind.

    Raises:
        LaunchError: It is not there.
    """
    file = run.config_file(kind)
    if not file.is_file():
        raise LaunchError(f"{file}: no such file; a run is reopened from its saved config")
    return file


def last_value(request: Request, key: str) -> Any:
    """What the last override of a key says; None where there is none."""
    values = [override.value for override in read_overrides(request.overrides, ()).typed if override.key == key]
    return values[-1] if values else None


def _source(request: Request, kind: str, named: RunDirectory | None) -> tuple[RunDirectory | None, Path | None]:
    """The run that `--resume-from` continues, and the checkpoint where it names one that is not the run's own."""
    name = request.resume_from
    if name is None:
        return None, None
    if name == "auto":
        return (named, None) if named and named.state(kind) != ABSENT else (None, None)
    file = Path(name).expanduser()
    if is_checkpoint(file) and run_of_file(file) is None:
        return None, file
    run = find_run(name, output_base(request))
    if run.state(kind) == ABSENT:
        raise NoSuchRunError(f"--resume-from {name}: {run.path} has no {kind} run; it has {', '.join(run.kinds())}")
    own = (run.checkpoint_file(kind), run.last_checkpoint(kind))
    stands_for_run = not is_checkpoint(file) or any(other and other.resolve() == file.resolve() for other in own)
    return run, None if stands_for_run else file


def _weights(name: str, kind: str, request: Request) -> Path:
    """The checkpoint file that `--init-from` names."""
    if Path(name).is_file():
        return Path(name)
    run = find_run(name, output_base(request))
    file = run.checkpoint_file(kind)
    to_come = request.mode == SLURM and run.state(kind) != ABSENT
    if not file.is_file() and not to_come:
        raise NoSuchRunError(f"--init-from {name}: there is no {file}")
    return file


def _existing(named: RunDirectory | None, request: Request) -> RunDirectory:
    if named is None:
        raise LaunchError("eval needs a run: give --workdir DIR, --date and --run-name, or eval.checkpoint=FILE")
    return find_run(named.path, output_base(request))


def _kind_to_evaluate(run: RunDirectory, request: Request) -> str | None:
    """On a cluster also one whose training is still to write its first checkpoint: the job waits for it."""
    return next(iter(run.kinds()), None) if request.mode == SLURM else run.kind_to_evaluate()


def _run_of_checkpoint(file: Path) -> RunDirectory:
    run = run_of_file(file) if file.is_file() else None
    if run is None:
        what = "is in no run directory, so its config is not known" if file.is_file() else "no such file"
        raise NoSuchRunError(f"eval.checkpoint={file}: {what}. Give the checkpoint in its run directory")
    return run


def _kind_of_checkpoint(run: RunDirectory, file: Path) -> str:
    """The kind whose checkpoint a file is, from its place in the run directory."""
    first = file.resolve().relative_to(run.path.resolve()).parts[0]
    kinds = [kind for kind, name in KINDS.items() if first in (kind, f"{name}.ckpt")]
    if not kinds:
        raise NoSuchRunError(
            f"eval.checkpoint={file}: not a checkpoint of {run.path}, which has {', '.join(run.kinds())}"
        )
    return kinds[0]


def _notes(request: Request) -> tuple[str, ...]:
    ignored = {"--date": request.date, "--run-name": request.run_name}
    flags = [flag for flag, value in ignored.items() if value]
    return (f"--workdir {request.workdir} wins over {' and '.join(flags)}",) if request.workdir and flags else ()


def _date_directory(request: Request) -> Path:
    return output_base(request) / (request.date or time.strftime("%Y-%m-%d"))
