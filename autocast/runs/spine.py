"""The sections of a config that code branches on; everything else is a leaf that is constructed.

The dataclasses are read from this file as a constructor's signature would be: their keys and types are what a config
may hold.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

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
    seed: int = 42
    autoencoder_checkpoint: str | None = None


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
    seed: int = 42


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
class Checkpoint:
    every_n_epochs: int | None = 10
    every_n_minutes: float | None = 10.0


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
    batch_size: int | None = None
    max_rows: int | None = None
    seed: int = 0
    windows: list[str | int] | None = None
    baselines: list[str] | None = None
    save_rollouts: bool = False
    video: bool = True
    fps: int = 10


ROOTS = {
    "encoder_processor_decoder": "EncoderProcessorDecoder",
    "autoencoder": "Autoencoder",
    "simulate": "Simulate",
}
"""The dataclass of each root config."""

SECTIONS = {"eval": "Eval", "checkpoint": "Checkpoint", "optimizer": "Optimizer"}
"""The dataclass of each section that is not constructed."""


def dataclass_name(name: str) -> str:
    """Where `Signatures` finds a dataclass of this module."""
    return f"{PACKAGE}.{name}"
