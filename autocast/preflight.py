"""What can be known of a run before it starts: does its config fit its data, and the model itself?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from autocast.data.headers import DatasetHeader, describe
from autocast.errors import AutocastError, DataError
from autocast.runs.build import build
from autocast.runs.directory import TRAIN, RunDirectory, run_of_file
from autocast.runs.problems import Problem
from autocast.runs.request import Request
from autocast.types import FieldSpec

SPLITS = {"train": "training", "valid": "validation", "test": "evaluation"}


def preflight(config: Mapping[str, Any], request: Request) -> tuple[list[Problem], list[str]]:
    """Checks a resolved config against the data set that it names.

    A dry run imports no torch; a run that is about to start builds its model once, before anything is written.

    Returns:
        The problems, and the checks that could not be made.
    """
    path = config["datamodule"]["data_path"]
    try:
        header = describe(path)
    except DataError as error:
        return [Problem("datamodule.data_path", str(error))], []
    problems = [*_missing_splits(header, request.command), *_short_trajectories(header, config)]
    if header.spec is None:
        return problems, [f"{path}: shapes and names are in a .pt file, which is read at the start"]
    problems += _other_fields(config.get("autoencoder_checkpoint"), header.spec)
    if request.dry_run or problems or request.command == "eval":
        return problems, ["that the model can be built for these fields: needs torch, done at the start"]
    return list(_model_problems(config, header.spec)), []


def _missing_splits(header: DatasetHeader, command: str) -> Iterator[Problem]:
    needed = {"eval": ["train", "test"], "train-eval": ["train", "valid", "test"]}.get(command, ["train", "valid"])
    for split in needed:
        if split not in header.splits:
            there = ", ".join(header.splits)
            yield Problem(str(header.path), f"has no {split} split, which {SPLITS[split]} needs. There are: {there}")


def _short_trajectories(header: DatasetHeader, config: Mapping[str, Any]) -> Iterator[Problem]:
    data = config["datamodule"]
    span = (data["n_steps_input"] + data["n_steps_output"] - 1) * data["stride"] + 1
    for name, split in header.splits.items():
        if 0 < split.n_steps < span:
            message = f"windows span {span} frames, but {header.path}, {name}, has trajectories of {split.n_steps}"
            yield Problem("datamodule.n_steps_input, n_steps_output, stride", message)


def _other_fields(checkpoint: str | None, spec: FieldSpec) -> Iterator[Problem]:
    """An autoencoder of other fields than the data set's."""
    run = run_of_file(Path(checkpoint)) if checkpoint else None
    trained = _recorded_spec(run) if run else None
    if trained is None:
        return
    for what in ("channel_names", "grid_shape", "boundary"):
        theirs, ours = getattr(trained, what), getattr(spec, what)
        if theirs != ours:
            name = what.replace("_", " ")
            yield Problem(
                "autoencoder_checkpoint", f"was trained on fields with {name} {theirs}; those of {spec.dataset_name} "
                f"have {ours}. Train an autoencoder on this data set: autocast ae"
            )  # fmt: skip


def _recorded_spec(run: RunDirectory) -> FieldSpec | None:
    record = run.run_record("ae", TRAIN) if run.run_file("ae", TRAIN).is_file() else {}
    return FieldSpec.from_dict(record["spec"]) if "spec" in record else None


def _model_problems(config: Mapping[str, Any], spec: FieldSpec) -> Iterator[Problem]:
    from autocast.assembly import build_blank

    try:
        build_blank(build(config["model"]), spec, config["datamodule"])
    except AutocastError as error:
        yield Problem("model", str(error))
