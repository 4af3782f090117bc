"""Pictures of what the model does, drawn while it trains."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from torch import nn

from autocast.training.media import log_media
from autocast.training.sharding import is_sharded

Draw = Callable[[nn.Module, Path], list[Path]]


class Samples(Callback):
    """Draws at the start of a validation, with the averaged weights, into `samples/epoch-<n>/` and to the trackers.

    All ranks of a sharded training draw the same, since each has a part of the weights; the first one's work is kept.

    Args:
        draw: Writes pictures or videos of the model's work into a directory and returns their files.
        every_n_epochs: Only in epochs that are a multiple of it, if they are validated.
    """

    def __init__(self, draw: Draw, every_n_epochs: int = 10):
        self.draw = draw
        self.every_n_epochs = every_n_epochs

    @torch.no_grad()
    def on_validation_epoch_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        epoch = trainer.current_epoch + 1
        if trainer.sanity_checking or epoch % self.every_n_epochs:
            return
        if not trainer.is_global_zero:
            self._help_to_draw(trainer, pl_module.model)
            return
        directory = Path(trainer.default_root_dir) / "samples" / f"epoch-{epoch:04}"
        directory.mkdir(parents=True, exist_ok=True)
        log_media(trainer.loggers, "val/samples", self.draw(pl_module.model, directory), trainer.global_step)

    def _help_to_draw(self, trainer: L.Trainer, model: nn.Module) -> None:
        if is_sharded(trainer):
            with tempfile.TemporaryDirectory() as unseen:
                self.draw(model, Path(unseen))
