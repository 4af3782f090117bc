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

from autocast.errors import ConfigError
from autocast.training.media import log_media
from autocast.training.sharding import is_sharded

Draw = Callable[[nn.Module, Path, int], list[Path]]


class Samples(Callback):
    """Draws at the start of a validation, with the averaged weights, into `samples/` and to the trackers.

    A picture that cannot be drawn ends no training. All ranks of a sharded one draw the same, since each has a part of
    the weights, and the first one's work is kept: there an error of one rank is an error of all.

    Args:
        draw: Writes pictures or videos of the model's work in an epoch into a directory and returns their files.
        every_n_epochs: Only in epochs that are a multiple of it, if they are validated.
        first_epochs: And in each of the first ones.
        note: Gets the reason why there is no picture.

    Raises:
        ConfigError: `every_n_epochs` is no number of epochs.
    """

    def __init__(
        self, draw: Draw, every_n_epochs: int = 10, *, first_epochs: int = 0, note: Callable[[str], None] | None = None
    ):
        if every_n_epochs < 1:
            raise ConfigError(
                f"samples.every_n_epochs={every_n_epochs}: at least 1 is wanted, or null for no pictures."
            )
        self.draw = draw
        self.every_n_epochs = every_n_epochs
        self.first_epochs = first_epochs
        self.note = note or _unheard

    @torch.no_grad()
    def on_validation_epoch_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        epoch = trainer.current_epoch + 1
        if trainer.sanity_checking or (epoch > self.first_epochs and epoch % self.every_n_epochs):
            return
        if is_sharded(trainer) and not trainer.is_global_zero:
            with tempfile.TemporaryDirectory() as unseen:
                self.draw(pl_module.model, Path(unseen), epoch)
        elif trainer.is_global_zero:
            self._draw(trainer, pl_module.model, epoch)

    def _draw(self, trainer: L.Trainer, model: nn.Module, epoch: int) -> None:
        directory = Path(trainer.default_root_dir) / "samples"
        try:
            directory.mkdir(parents=True, exist_ok=True)
            log_media(trainer.loggers, "val/samples", self.draw(model, directory, epoch), trainer.global_step)
        except Exception as error:  # whatever a drawing meets, the training is worth more
            if is_sharded(trainer):
                raise
            self.note(f"no pictures of epoch {epoch}: {type(error).__name__}: {error}")


def _unheard(text: str) -> None:
    """Nobody listens."""
