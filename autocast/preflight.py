"""What can be known of a run before it starts: does its config fit its data, and the model itself?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from autocast.data.headers import PICTURES, DatasetHeader, describe
from autocast.data.latents_manifest import MANIFEST_FILE, check_latents, read_complete
from autocast.data.picture_sets import picture_size
from autocast.errors import AutocastError
from autocast.objective_config import ADVERSARIAL, objective_of, term_of
from autocast.runs.build import build
from autocast.runs.directory import TRAIN, RunDirectory, read_config, run_of_file
from autocast.runs.own_keys import CUDA_GRAPHS
from autocast.runs.parents import Parent
from autocast.runs.place import Place
from autocast.runs.problems import Problem, as_problem
from autocast.runs.request import SLURM, Request
from autocast.simulations import coarse_simulators
from autocast.types import FieldSpec

FIELDS = ("channel_names", "grid_shape", "boundary")
SPLITS = {"train": "training", "valid": "validation", "test": "evaluation"}
NEEDED = {"eval": ["train", "test"], "train-eval": ["train", "valid", "test"], "cache-latents": ["train"]}
"""Splits that a command uses; a training its own and the validation's."""
UNCHECKED = {
    "eval": "the names of scores and baselines, the mode of the rollout and the calibration",
    "cache-latents": "that the autoencoder has been trained, and compresses",
}
UNCHECKED_MODEL = "that the model can be built for these fields"
"""What only torch can tell of a command; the last is of all others."""
TRAINED_WITH = ("n_steps_input", "n_steps_output", "stride")
"""Settings of `datamodule` that a model was trained with and an evaluation keeps."""


def data_digest(datamodule: Mapping[str, Any]) -> str:
    """What tells the data set of a section `datamodule` from others.

    Raises:
        DataError: There is none.
    """
    return _header_of(datamodule).digest


def _header_of(datamodule: Mapping[str, Any]) -> DatasetHeader:
    size, column = (datamodule.get(key) for key in ("size", "column"))  # an older config lacks them
    return describe(datamodule["data_path"], size=picture_size(size), column=column)


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
        header = _header_of(config["datamodule"])
    except AutocastError as error:
        return [as_problem(error, "datamodule.data_path")], []
    problems = [*_missing_splits(header, request.command), *_idle_names(config, place), *_clashes(config)]
    problems += _nothing_to_forecast(config, place)
    if request.command != "cache-latents":  # frames are encoded one by one
        problems += _short_trajectories(header, config)
    section = (eval_config or config)["eval"] if request.command == "eval" or eval_config is not None else {}
    problems += _few_to_calibrate(header, section)
    if header.spec is None:
        return problems, [f"{path}: shapes and names are in a .pt file, which is read at the start"]
    problems += (
        _misfits(config, header.spec, place) if request.command == "eval" else _other_fields(config, header.spec)
    )
    if request.command not in ("eval", "cache-latents"):
        problems += _other_latents(config, header.digest, place, awaited=request.mode == SLURM)
    without_torch = request.dry_run or request.detach
    if header.manifest is None or not without_torch:
        problems += _simulator_problems(section, header)
    if without_torch:
        return problems, [f"{UNCHECKED.get(request.command, UNCHECKED_MODEL)}: needs torch, done at the start"]
    problems += _settings_problems(section, place.kind)
    rollout, calibrate = section.get("rollout"), section.get("calibrate")
    if problems or (request.command == "eval" and rollout is None and calibrate is None):
        return problems, []
    if request.command == "cache-latents":
        return list(_encoder_problems(Path(config["autoencoder_checkpoint"]))), []
    trains = request.command != "eval"
    return list(_model_problems(config, header.spec, place, rollout, calibrate, trains=trains)), []


def _idle_names(config: Mapping[str, Any], place: Place) -> Iterator[Problem]:
    """Names of weights to take over, and nothing to take them from."""
    given = [key for key, names in config.get("init", {}).items() if names]
    if given and place.saved is None and place.init_from is None:
        yield Problem(f"init.{given[0]}", "says what --init-from RUN takes over: give that as well, or leave it out")


def _clashes(config: Mapping[str, Any]) -> Iterator[Problem]:
    """Settings of a training that each are good, and not together."""
    trainer, optimizer = config.get("trainer", {}), config.get("optimizer", {})
    compiled, accumulated = trainer.get("compile"), trainer.get("accumulate_grad_batches") or 1
    parts = {
        "accumulate_grad_batches": accumulated if accumulated > 1 else None,
        "micro_batch": trainer.get("micro_batch"),
    }
    for key, n in parts.items():
        if compiled in CUDA_GRAPHS and n:
            message = "CUDA graphs overwrite the gradients that are to be added up. Set trainer.compile=default"
            yield Problem(f"trainer.compile, trainer.{key}={n}", message)
    strategy = trainer.get("strategy")
    if term_of(objective_of(config), ADVERSARIAL):
        if str(trainer.get("precision")).startswith("16"):
            message = "half precision, in which a discriminator is not trained. Set trainer.precision=bf16-mixed"
            yield Problem(f"trainer.precision={trainer['precision']}", message)
        if isinstance(strategy, Mapping):
            yield Problem("trainer.strategy", "a discriminator cannot be sharded. Set trainer=default")
    if isinstance(strategy, Mapping) and str(optimizer.get("algorithm", {}).get("_target_")).endswith(".SOAP"):
        yield Problem("optimizer=soap", "looks at whole weights, of which each device has a part. Set optimizer=adamw")


def _missing_splits(header: DatasetHeader, command: str) -> Iterator[Problem]:
    for split in NEEDED.get(command, ["train", "valid"]):
        if split not in header.splits:
            there = ", ".join(header.splits)
            yield Problem(str(header.path), f"has no {split} split, which {SPLITS[split]} needs. There are: {there}")


def _few_to_calibrate(header: DatasetHeader, section: Mapping[str, Any]) -> Iterator[Problem]:
    n = header.splits["valid"].n_trajectories if "valid" in header.splits else 0
    if section.get("calibrate") and n < 2:
        message = f"{header.path}, valid, has {n} trajectories, and at least 2 are needed. Leave it out"
        yield Problem(f"eval.calibrate={section['calibrate']}", message)


def _short_trajectories(header: DatasetHeader, config: Mapping[str, Any]) -> Iterator[Problem]:
    data = config["datamodule"]
    keys = "datamodule.n_steps_input, n_steps_output, stride"
    for name, split in header.splits.items():
        n_windows = 1 if name == "test" else data.get("n_windows", 1)
        span = (data["n_steps_input"] + n_windows * data["n_steps_output"] - 1) * data["stride"] + 1
        if 0 < split.n_steps < span:
            message = f"windows span {span} frames, but {header.path}, {name}, has trajectories of {split.n_steps}"
            if header.layout == PICTURES:
                message = f"windows span {span} frames, a picture is one. Set datamodule=images, or n_steps_output=0"
            yield Problem(f"{keys}, training.n_windows" if n_windows > 1 else keys, message)


def _nothing_to_forecast(config: Mapping[str, Any], place: Place) -> Iterator[Problem]:
    if place.kind in ("epd", "processor") and config["datamodule"]["n_steps_output"] < 1:
        message = "an emulator forecasts at least one step. Pictures have one alone: train an autoencoder of them"
        yield Problem(f"datamodule.n_steps_output={config['datamodule']['n_steps_output']}", message)


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


def _other_latents(config: Mapping[str, Any], digest: str, place: Place, *, awaited: bool) -> Iterator[Problem]:
    """A cache that is not there, not complete, or of another encoder or other data; one that is still to be made is
    looked at when the job starts."""
    if not config.get("latents"):
        return
    cache = Parent.of("latents", Path(config["latents"]) / MANIFEST_FILE, awaited=awaited)
    autoencoder = Parent.of("autoencoder_checkpoint", Path(config["autoencoder_checkpoint"]), awaited=awaited)
    known = _first_encoder(place)
    if cache.pending or (autoencoder.pending and not known):
        return
    try:
        manifest = read_complete(config["latents"])
        if manifest is None:
            message = f"there is no cache in {config['latents']}. Make one: autocast cache-latents --autoencoder RUN"
            yield Problem("latents", message)
        else:
            check_latents(manifest, checkpoint_sha256=known or autoencoder.sha256(), data_digest=digest)
    except AutocastError as error:
        yield Problem("latents", str(error).removeprefix("latents "))


def _first_encoder(place: Place) -> str | None:
    """The digest of the autoencoder that a run which goes on was started with: whatever became of it since, the run's
    own checkpoint holds it."""
    run = RunDirectory(place.saved.parent) if place.saved else None
    if run is None or not run.run_file(place.kind, TRAIN).is_file():
        return None
    parents = run.run_record(place.kind, TRAIN)["parents"]
    return next((parent["sha256"] for parent in parents if parent["role"] == "autoencoder_checkpoint"), None)


def _encoder_problems(checkpoint: Path) -> Iterator[Problem]:
    """An encoder that was never trained, or that only moves axes."""
    from autocast.assembly import build_blank, read_checkpoint
    from autocast.training.latent_cache import check_trained

    if not checkpoint.is_file():  # it is still to be trained, and the job waits for it
        return
    try:
        record = read_checkpoint(checkpoint)["autocast"]
        parts, spec = build(record["config"]["model"]), FieldSpec.from_dict(record["spec"])
        check_trained(build_blank(record["kind"], parts, spec, record["config"]["datamodule"]), checkpoint)
    except AutocastError as error:
        yield Problem("autoencoder_checkpoint", str(error))


def _differences(trained: FieldSpec, spec: FieldSpec, names: Sequence[str]) -> Iterator[tuple[str, Any, Any]]:
    for name in names:
        theirs, ours = getattr(trained, name), getattr(spec, name)
        if theirs != ours:
            yield name.replace("_", " "), theirs, ours


def _recorded_spec(run: RunDirectory, kind: str) -> FieldSpec | None:
    record = run.run_record(kind, TRAIN) if run.run_file(kind, TRAIN).is_file() else {}
    return FieldSpec.from_dict(record["spec"]) if "spec" in record else None


def _settings_problems(section: Mapping[str, Any], kind: str) -> Iterator[Problem]:
    from autocast.evaluation.settings import EvaluationSettings

    if section.get("stress") and kind == "ae":
        yield Problem(f"eval.stress={section['stress']}", "an autoencoder alone is not rolled out. Leave it null")

    try:
        EvaluationSettings.from_config(section)
    except AutocastError as error:
        yield as_problem(error, "eval")


def _simulator_problems(section: Mapping[str, Any], header: DatasetHeader) -> Iterator[Problem]:
    """Baselines that the data's simulator cannot compute."""
    try:
        coarse_simulators(section.get("baselines") or (), header.manifest)
    except AutocastError as error:
        yield as_problem(error, "eval")


def _model_problems(
    config: Mapping[str, Any],
    spec: FieldSpec,
    place: Place,
    rollout: str | None,
    calibrate: str | None,
    *,
    trains: bool,
) -> Iterator[Problem]:
    """A model that cannot be built for these fields, weights that do not fit it where a training would load them, a
    rollout in a space that it does not have, and a calibration of a spread that it does not have."""
    from autocast.assembly import build_blank, load_autoencoder
    from autocast.evaluation.calibration import check_method
    from autocast.evaluation.rollout_modes import resolve_rollout
    from autocast.training.initial_weights import WeightNames, init_weights

    subject, source = "model", config.get("autoencoder_checkpoint")
    try:
        model = build_blank(place.kind, build(config["model"]), spec, config["datamodule"])
        if trains and place.kind == "ae":
            model.objective.prepare()
        if trains and source and Path(source).is_file():  # else it is still to be trained, and the job waits for it
            subject = "autoencoder_checkpoint"
            load_autoencoder(model, Path(source))
        if place.init_from and place.init_from.is_file():
            subject = "--init-from"
            init_weights(model, place.init_from, WeightNames(**config.get("init", {})))
        subject = "eval"
        if rollout is not None:
            resolve_rollout(model, rollout)
        check_method(model, calibrate)
    except AutocastError as error:
        yield as_problem(error, subject)
