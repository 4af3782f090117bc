"""What a training or an evaluation starts with: the data and the model, made from the config or read from a file.

Nothing heavy is imported before it is needed.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from autocast.runs.build import build
from autocast.runs.directory import run_of_file
from autocast.runs.identity import sha256
from autocast.runs.job import Job

if TYPE_CHECKING:
    from autocast.autoencoders.latent_moments import LatentStatistics
    from autocast.data.datamodule import FieldDataModule
    from autocast.data.latents import LatentDataModule
    from autocast.emulators import EncoderProcessorDecoder

LATENT_BATCHES = 32
"""Training batches on which the scales of increments are measured, and those of latents that are not known."""


class Start(NamedTuple):
    """What a training starts with."""

    model: Any
    datamodule: FieldDataModule
    """Its windows are trained on."""
    pictured: FieldDataModule
    """Pictures of the work are of these fields."""


def _start_autoencoder(job: Job) -> Start:
    datamodule = open_data(job)
    model = build(job.config["model"], spec=datamodule.spec, normaliser=datamodule.normaliser)
    model.objective.prepare()
    return Start(model, datamodule, datamodule)


def _start_epd(job: Job) -> Start:
    from autocast.assembly import load_autoencoder

    datamodule = open_data(job)
    source = job.config["autoencoder_checkpoint"]
    model = _new_emulator(job.config, datamodule, frozen=source is not None)
    if job.resume_from is None:  # else the checkpoint holds all of it
        if source is not None:
            load_autoencoder(model, Path(source))
        batches = itertools.islice(datamodule.train_dataloader(), LATENT_BATCHES)
        model.fit_latents(batches, _known_latents(source, datamodule))
    return Start(model, datamodule, datamodule)


def _start_processor(job: Job) -> Start:
    from autocast.assembly import load_autoencoder

    fields = open_data(job)
    latents = _open_latents(job, fields)
    model = _new_emulator(job.config, fields, frozen=True)
    if job.resume_from is None:  # else the checkpoint holds all of it
        load_autoencoder(model, Path(job.config["autoencoder_checkpoint"]))
        model.fit_latents(itertools.islice(latents.train_dataloader(), LATENT_BATCHES), latents.statistics)
    return Start(model, latents, fields)


_STARTS: dict[str, Callable[[Job], Start]] = {
    "ae": _start_autoencoder,
    "epd": _start_epd,
    "processor": _start_processor,
}
"""By the kind that is trained."""


def start(job: Job) -> Start:
    """Data and a new model with the weights that it starts from, which may be another run's."""
    from autocast.training.initial_weights import WeightNames, init_weights

    made = _STARTS[job.kind](job)
    if job.init_from is not None and job.resume_from is None:
        init_weights(made.model, job.init_from, WeightNames(**job.config.get("init", {})))
    return made


def load(file: Path, config: Mapping[str, Any] | None = None) -> Any:
    """A trained model from its checkpoint alone. Settings of use, such as a sampler's number of steps, may come from
    another config than the one that it was trained with."""
    from autocast.assembly import build_blank, load_weights, read_checkpoint
    from autocast.types import FieldSpec

    checkpoint = read_checkpoint(file)
    record = checkpoint["autocast"]
    parts = build((config or record["config"])["model"])
    model = build_blank(record["kind"], parts, FieldSpec.from_dict(record["spec"]), record["config"]["datamodule"])
    load_weights(model, checkpoint, file)
    return model.eval()


def reopen(file: Path, config: Mapping[str, Any]) -> tuple[Any, FieldDataModule]:
    """What an evaluation needs, in another process than that of the job."""
    return load(file, config), build(config["datamodule"])


def load_with_digest(file: Path) -> tuple[Any, str]:
    """A trained model, and the digest of what it was read from: a training may replace the file at any moment."""
    while True:
        digest, model = sha256(file), load(file)
        if sha256(file) == digest:
            return model, digest


def _new_emulator(config: Mapping[str, Any], datamodule: FieldDataModule, *, frozen: bool) -> EncoderProcessorDecoder:
    return build(
        config["model"],
        spec=datamodule.spec,
        normaliser=datamodule.normaliser,
        scalar_normaliser=datamodule.scalar_normaliser,
        constant_normaliser=datamodule.constant_normaliser,
        n_steps_input=datamodule.n_steps_input,
        n_steps_output=datamodule.n_steps_output,
        stride=datamodule.steps.stride,
        n_windows=datamodule.steps.n_windows,
        frozen=frozen,
    )


def open_data(job: Job) -> FieldDataModule:
    """The run's data; from here on the run's seed rules."""
    import lightning as L

    L.seed_everything(job.config["seed"], verbose=False)
    datamodule = build(job.config["datamodule"])
    known = job.recorded("data_digest")
    if known not in (None, datamodule.digest):
        job.console.note(f"{datamodule.header.path}: not the data that this run was started with (another digest)")
    for note in datamodule.notes:
        job.console.note(note)
    job.record(data_digest=datamodule.digest, spec=datamodule.spec.to_dict())
    return datamodule


def _open_latents(job: Job, fields: FieldDataModule) -> LatentDataModule:
    """The cache of the run's autoencoder and data, read by the settings that the fields would be."""
    leaf = {
        **job.config["datamodule"],
        "_target_": "autocast.data.latents.LatentDataModule",
        "data_path": job.config["latents"],
        "checkpoint_sha256": _encoder_digest(job),
        "data_digest": fields.digest,
    }
    return build(leaf)


def _encoder_digest(job: Job) -> str:
    """Of the autoencoder that the run was started with: whatever became of it since, the run's own checkpoint holds
    it."""
    parents = job.recorded("parents") or []
    known = (parent["sha256"] for parent in parents if parent["role"] == "autoencoder_checkpoint")
    return next(known, None) or sha256(Path(job.config["autoencoder_checkpoint"]))


def _known_latents(checkpoint: str | None, datamodule: FieldDataModule) -> LatentStatistics | None:
    """What the training of an autoencoder measured, if it was with these weights and on this data."""
    from autocast.training.latent_statistics import read_latent_statistics

    run = run_of_file(Path(checkpoint)) if checkpoint else None
    if checkpoint is None or run is None:
        return None
    digest = sha256(Path(checkpoint))
    return read_latent_statistics(run.latent_statistics_file, checkpoint_sha256=digest, data_digest=datamodule.digest)
