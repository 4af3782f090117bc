"""The sections of a config that code branches on; everything else is a leaf that is constructed.

The dataclasses are read from this file as a constructor's signature would be: their keys and types are what a config
may hold.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

PACKAGE = __name__

Leaf = dict[str, Any]
"""Something that is constructed: it has a `_target_`."""


@dataclass(frozen=True)
class EncoderProcessorDecoder:
    """Top level of `encoder_processor_decoder.yaml`."""

    datamodule: Leaf
    model: Leaf
    optimizer: dict[str, Any]
    trainer: Leaf
    callbacks: dict[str, Leaf]
    logging: dict[str, Leaf]
    checkpoint: dict[str, Any]
    eval: dict[str, Any]
    training: dict[str, Any] = field(default_factory=dict)
    init: dict[str, Any] = field(default_factory=dict)
    cluster: dict[str, Any] | None = None
    seed: int = 42
    gate: Literal["auto", "always", "never"] = "auto"
    size: Literal["xs", "s", "m", "l", "xl"] = "s"
    autoencoder_checkpoint: str | None = None


@dataclass(frozen=True)
class Processor(EncoderProcessorDecoder):
    """Top level of `processor.yaml`."""

    latents: str | None = None


@dataclass(frozen=True)
class CacheLatents:
    """Top level of `cache_latents.yaml`."""

    datamodule: Leaf
    cluster: dict[str, Any] | None = None
    seed: int = 42
    autoencoder_checkpoint: str | None = None
    latents: str | None = None
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    batch_size: int = 64


@dataclass(frozen=True)
class Autoencoder:
    """Top level of `autoencoder.yaml`."""

    datamodule: Leaf
    model: Leaf
    optimizer: dict[str, Any]
    trainer: Leaf
    callbacks: dict[str, Leaf]
    logging: dict[str, Leaf]
    checkpoint: dict[str, Any]
    eval: dict[str, Any]
    init: dict[str, Any] = field(default_factory=dict)
    perceptual: dict[str, Any] = field(default_factory=dict)
    samples: dict[str, Any] = field(default_factory=dict)
    cluster: dict[str, Any] | None = None
    seed: int = 42
    gate: Literal["auto", "always", "never"] = "auto"
    kl_warmup: str | int | None = None
    rescue: dict[str, Any] | None = None


@dataclass(frozen=True)
class Simulate:
    """Top level of `simulate.yaml`."""

    simulator: Leaf
    splits: dict[str, int]
    data_path: str | None = None
    seed: int = 0
    batch_size: int = 8


@dataclass(frozen=True)
class Optimizer:
    learning_rate: float
    algorithm: Leaf
    lr_scheduler: Leaf | None = None


@dataclass(frozen=True)
class Perceptual:
    """What all perceptual terms of an objective get."""

    weights_file: str | list[str] | None = None
    """Published weights of `vgg16`, `vgg19` or `lpips`."""
    device: str | None = None
    """Where their networks are; None is where the fields are."""


@dataclass(frozen=True)
class Training:
    """Training on rollouts of `n_windows` consecutive outputs."""

    n_windows: int = 1
    curriculum: Leaf | None = None
    """The number of windows at a step; None is all of them from the first on."""


@dataclass(frozen=True)
class Checkpoint:
    every_n_epochs: int | None = 10
    every_n_minutes: float | None = 10.0


@dataclass(frozen=True)
class Samples:
    """Pictures of an autoencoder at work while it is trained."""

    first_epochs: int = 5
    every_n_epochs: int | None = 5
    n_frames: int = 8


@dataclass(frozen=True)
class Init:
    """`WeightNames`: what `--init-from` takes over where the models differ."""

    rename: list[list[str]] = field(default_factory=list)
    leave: list[str] = field(default_factory=list)
    fresh: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Rescue:
    """What becomes of the beta of the run that `--init-from` names."""

    kl_factor: float = 0.1
    kl_at_most: float = 1.0
    """In the units of an ELBO, as beta is."""


@dataclass(frozen=True)
class Eval:
    """`EvaluationSettings`, and where from and where to."""

    checkpoint: str | None = None
    video_dir: str | None = None
    name: str | int | None = None
    metrics: list[str] | None = None
    batch_indices: list[int] | None = None
    max_videos: int = 16
    n_members: int = 8
    n_steps: int | None = None
    rollout: str | None = None
    batch_size: int | None = None
    max_rows: int | None = None
    memory_limit: float | None = None
    devices: int = 1
    compile: bool | Literal["auto"] = "auto"
    seed: int = 0
    windows: list[str | int] | None = None
    baselines: list[str] | None = None
    other_rollout: bool = True
    stress: int | None = None
    calibrate: str | None = None
    save_rollouts: bool = False
    video: bool = True
    fps: int = 10


@dataclass(frozen=True)
class Cluster:
    """What a job asks of SLURM; None leaves the option out."""

    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    reservation: str | None = None
    time: str | int | None = None
    """Limit of one attempt, in SLURM's formats; a number is minutes."""
    nodes: int = 1
    tasks_per_node: int | None = None
    """Processes; by default one per GPU, else 1."""
    gpus_per_node: int | None = None
    gpu_type: str | None = None
    cpus_per_task: int | None = None
    memory: str | None = None
    """Of each node."""
    setup: list[str] = field(default_factory=list)
    """Shell lines before the job."""
    container: str | None = None
    """A command that python is run in."""
    options: dict[str, Any] = field(default_factory=dict)
    """Any other option of sbatch by its long name."""
    signal_delay: int = 120
    """Seconds before the limit at which the job is told to stop."""
    requeue: bool = True
    kill_on_invalid_dependency: bool = True
    max_attempts: int = 20
    marker_wait: int = 120
    """Seconds for which a job waits for the marker of what it stands on: on a shared file system it comes late."""


ROOTS = {
    "encoder_processor_decoder": "EncoderProcessorDecoder",
    "processor": "Processor",
    "cache_latents": "CacheLatents",
    "autoencoder": "Autoencoder",
    "simulate": "Simulate",
}
"""The dataclass of each root config."""

SECTIONS = {
    "eval": "Eval",
    "checkpoint": "Checkpoint",
    "init": "Init",
    "samples": "Samples",
    "optimizer": "Optimizer",
    "perceptual": "Perceptual",
    "training": "Training",
    "rescue": "Rescue",
    "cluster": "Cluster",
}
"""The dataclass of each section that is not constructed."""

OPEN = ("cluster.options",)
"""Mappings that take any key."""


def dataclass_name(name: str) -> str:
    """Where `Signatures` finds a dataclass of this module."""
    return f"{PACKAGE}.{name}"
