"""What can be known of a run before it starts: does its config fit its data, and the model itself?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from autocast.data.headers import DatasetHeader, describe
from autocast.errors import AutocastError, DataError
from autocast.runs.build import build
from autocast.runs.directory import TRAIN, RunDirectory, run_of_file
from autocast.runs.place import Place, read_config
from autocast.runs.problems import Problem
from autocast.runs.request import Request
from autocast.types import FieldSpec

FIELDS = ("channel_names", "grid_shape", "boundary")
SPLITS = {"train": "training", "valid": "validation", "test": "evaluation"}


TRAINED_WITH = ("n_steps_input", "n_steps_output", "stride")
"""Settings of `datamodule` that a model was trained with and an evaluation keeps."""


def preflight(
    config: Mapping[str, Any], request: Request, place: Place, eval_config: Mapping[str, Any] | None = None
) -> tuple[list[Problem], list[str]]:
    """Checks a resolved config against the data set and the checkpoints that it names.

    A dry run imports no torch, and neither does a command that is to return at once; any other builds the model once
    and loads what it is to be filled with, before anything is written.

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
    quick = request.dry_run or request.detach
    if request.command == "eval":
        problems += _misfits(config, header.spec, place)
        if quick:
            return problems, ["the names of scores and baselines: needs torch, done at the start"]
        return [*problems, *_settings_problems(config["eval"])], []
    problems += _other_fields(config, header.spec)
    if quick:
        return problems, ["that the model can be built for these fields: needs torch, done at the start"]
    if eval_config is not None:
        problems += _settings_problems(eval_config["eval"])
    return problems or list(_model_problems(config, header.spec, place)), []


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


def _misfits(config: Mapping[str, Any], spec: FieldSpec, place: Place) -> Iterator[Problem]:
    """An evaluation on other fields, or other steps, than the run was trained on."""
    if place.saved is not None:
        trained = read_config(place.saved)["datamodule"]
        for key in TRAINED_WITH:
            if config["datamodule"][key] != trained[key]:
                yield Problem(
                    f"datamodule.{key}", f"the run was trained with {trained[key]}, and its evaluation keeps it"
                )
    recorded = _recorded_spec(place.directory, place.kind) if place.directory else None
    if recorded is not None:
        for what, theirs, ours in _differences(recorded, spec, (*FIELDS, "scalar_names")):
            message = (
                f"has {what} {ours}; the run was trained on {theirs}. Give the data set it was trained on, or alike"
            )
            yield Problem(config["datamodule"]["data_path"], message)


def _other_fields(config: Mapping[str, Any], spec: FieldSpec) -> Iterator[Problem]:
    """An autoencoder of other fields than the data set's."""
    checkpoint = config.get("autoencoder_checkpoint")
    run = run_of_file(Path(checkpoint)) if checkpoint else None
    trained = _recorded_spec(run, "ae") if run else None
    if trained is None:
        return
    for what, theirs, ours in _differences(trained, spec, FIELDS):
        message = f"was trained on fields with {what} {theirs}; those of {spec.dataset_name} have {ours}"
        yield Problem("autoencoder_checkpoint", f"{message}. Train an autoencoder on this data set: autocast ae")


def _differences(trained: FieldSpec, spec: FieldSpec, names: Sequence[str]) -> Iterator[tuple[str, Any, Any]]:
    for name in names:
        theirs, ours = getattr(trained, name), getattr(spec, name)
        if theirs != ours:
            yield name.replace("_", " "), theirs, ours


def _recorded_spec(run: RunDirectory, kind: str) -> FieldSpec | None:
    record = run.run_record(kind, TRAIN) if run.run_file(kind, TRAIN).is_file() else {}
    return FieldSpec.from_dict(record["spec"]) if "spec" in record else None


def _settings_problems(section: Mapping[str, Any]) -> Iterator[Problem]:
    from autocast.evaluation.settings import EvaluationSettings

    try:
        EvaluationSettings.from_config(section)
    except AutocastError as error:
        yield Problem("eval", str(error))


def _model_problems(config: Mapping[str, Any], spec: FieldSpec, place: Place) -> Iterator[Problem]:
    from autocast.assembly import build_blank, load_autoencoder, load_weights, read_checkpoint

    subject, source = "model", config.get("autoencoder_checkpoint")
    try:
        model = build_blank(place.kind, build(config["model"]), spec, config["datamodule"])
        if source and Path(source).is_file():  # else it is still to be trained, and the job waits for it
            subject = "autoencoder_checkpoint"
            load_autoencoder(model, Path(source))
        if place.init_from and place.init_from.is_file():
            subject = "--init-from"
            load_weights(model, read_checkpoint(place.init_from), place.init_from)
    except AutocastError as error:
        yield Problem(subject, str(error))
