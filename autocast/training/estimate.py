# ruff: noqa: ARG002 - the signatures of hooks are Lightning's
"""What a training will cost, from a short one that is thrown away."""

from __future__ import annotations

import dataclasses
import functools
import math
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback, WeightAveraging
from rich.console import Console
from torch import nn

from autocast.training.checkpoints import LAST
from autocast.training.fit import Destination, Recipe, fit
from autocast.training.limits import limited
from autocast.training.progress import Display

N_STEPS, N_WARMUP, N_VALIDATED = 60, 5, 10
"""Optimiser steps that are timed at most, those before them that are not, and batches that are validated."""
SECONDS = 30.0
"""After which no more steps are timed; there is at least one."""
N_NAMES = 3
"""Checkpoints that are always there: last, previous and best."""


@dataclass(frozen=True)
class Cost:
    """What was measured, and what follows from it."""

    seconds_per_step: float
    seconds_per_validation: float
    seconds_per_ending: float
    """Of an epoch: metrics and checkpoint."""
    n_timed: int
    """Steps."""
    steps_per_epoch: int
    checkpoint_bytes: int
    peak_memory: int
    micro_batch: int | None
    """Windows that were computed at once; None is all of a batch."""

    def seconds_per_epoch(self, every: int = 1) -> float:
        """With a validation after every so many epochs."""
        ends = (self.seconds_per_validation + self.seconds_per_ending) / every
        return self.steps_per_epoch * self.seconds_per_step + ends

    def hours(self, n_epochs: float, every: int = 1) -> float:
        """Of wall-clock."""
        return n_epochs * self.seconds_per_epoch(every) / 3600

    def epochs(self, seconds: float, every: int = 1) -> float:
        """That fit into a time."""
        return seconds / self.seconds_per_epoch(every)

    def disk(self, n_epochs: float, kept_every: int | None) -> float:
        """Bytes of all checkpoints at the end."""
        kept = n_epochs // kept_every if kept_every else 0
        return (N_NAMES + kept) * self.checkpoint_bytes


class _Stopwatch(Callback):
    """Times some steps, a validation and the end of an epoch, and ends the training."""

    def __init__(self) -> None:
        self.n_timed = 0
        self._n_warm = 0
        self.marks: dict[str, float] = {}

    @property
    def seconds_per_step(self) -> float:
        return (self.marks["last"] - self.marks["warm"]) / self.n_timed

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        n_steps = math.ceil(trainer.num_training_batches / trainer.accumulate_grad_batches)
        self._n_warm = min(N_WARMUP, n_steps - 1)
        if self._n_warm == 0:
            self._mark(trainer, "warm")

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if (batch_idx + 1) % trainer.accumulate_grad_batches and not trainer.is_last_batch:
            return
        if trainer.global_step == self._n_warm:
            self._mark(trainer, "warm")
        elif trainer.global_step > self._n_warm:
            self.n_timed += 1
            late = time.monotonic() - self.marks["warm"] > SECONDS
            if late or self.n_timed == N_STEPS or trainer.is_last_batch:
                self._mark(trainer, "last")
                trainer.should_stop = True

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._mark(trainer, "validates")

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._mark(trainer, "validated")

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._mark(trainer, "ended")

    def _mark(self, trainer: L.Trainer, name: str) -> None:
        """When everything before was really done."""
        if trainer.strategy.root_device.type == "cuda":
            torch.cuda.synchronize()
        self.marks[name] = time.monotonic()


def measure(model: nn.Module, datamodule: L.LightningDataModule, recipe: Recipe, settings: Mapping[str, Any]) -> Cost:
    """Trains for some steps in a directory that is then deleted, with data, optimiser and averaging as in earnest, but
    on one device.

    Args:
        model: A `Trainable`; its weights are changed.
        datamodule: Yields `Batch`es.
        recipe: How; its trackers and all callbacks but averaging are left out, and batches have all their windows.
        settings: Of the trainer: how many batches there are in an epoch and in a validation.
    """
    stopwatch = _Stopwatch()
    averaging = {name: c for name, c in recipe.callbacks.items() if isinstance(c, WeightAveraging)}
    n_train, n_valid = _n_batches(datamodule, settings)
    n_validated = min(n_valid, N_VALIDATED)
    once = {
        **{"max_epochs": 1, "max_steps": -1, "max_time": None, "check_val_every_n_epoch": 1},
        **{"limit_train_batches": n_train, "limit_val_batches": n_validated},
        **{"devices": 1, "num_nodes": 1, "strategy": "auto"},
    }
    short = dataclasses.replace(
        recipe,
        trainer=functools.partial(recipe.trainer, **once),
        callbacks={**averaging, "stopwatch": stopwatch},
        loggers={},
        budget=None,
        curriculum=None,
    )
    with tempfile.TemporaryDirectory() as directory:
        run = Path(directory)
        destination = Destination("epd", run, run / "main.ckpt", {}, {})
        silent = Display(Console(quiet=True), live=False)
        summary = fit(model, datamodule, short, destination, display=silent)
        size = (destination.checkpoints_dir / LAST).stat().st_size
    marks = stopwatch.marks
    return Cost(
        seconds_per_step=stopwatch.seconds_per_step,
        seconds_per_validation=(marks["validated"] - marks["validates"]) * n_valid / max(n_validated, 1),
        seconds_per_ending=marks["ended"] - marks["validated"],
        n_timed=stopwatch.n_timed,
        steps_per_epoch=math.ceil(n_train / settings["accumulate_grad_batches"]),
        checkpoint_bytes=size,
        peak_memory=summary.peak_memory,
        micro_batch=summary.micro_batch,
    )


def _n_batches(datamodule: L.LightningDataModule, settings: Mapping[str, Any]) -> tuple[int, int]:
    """Of an epoch, and of a validation."""
    loaders = (datamodule.train_dataloader(), datamodule.val_dataloader())
    limits = (settings["limit_train_batches"], settings["limit_val_batches"])
    train, valid = (limited(len(loader), limit) for loader, limit in zip(loaders, limits, strict=True))
    return train, valid
