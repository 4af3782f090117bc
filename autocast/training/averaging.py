# ruff: noqa: ARG002 - the signatures of hooks are Lightning's
"""Averaged weights: Lightning's weight averaging with a decay that suits short runs too."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel


class WarmupEMA(WeightAveraging):
    r"""Exponential moving average of the weights whose memory grows with the run.

    Update $n = 1, 2, \dots$ uses the decay $\min(d, (1 + n) / (10 + n))$: the average looks back over about the last
    tenth of the run until that is longer than $1 / (1 - d)$ steps. A fixed decay of 0.999 would still hold a third of
    the random initial weights after a thousand steps. Validation, `<kind>.ckpt` and evaluation use the average.

    The update is one fused interpolation, exact where both sides are equal: buffers and frozen weights never drift.

    Args:
        decay: $d$, the decay of a long run.
    """

    def __init__(self, decay: float = 0.999, **kwargs: Any):
        super().__init__(**kwargs)
        self.decay = decay
        self._averages: Averages | None = None

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert self._average_model is not None
        self._averages = Averages(self._average_model, pl_module, self.decay)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Lightning's own walks through all modules, and asks a GPU for the number of updates, in every step."""
        step = trainer.global_step
        if step > self._latest_update_step and self.should_update(step_idx=step - 1):
            assert self._averages is not None
            self._averages.update()
            self._latest_update_step = step


class Averages:
    """The averages of a model's tensors, buffers included, in pairs that are looked up once."""

    def __init__(self, average: AveragedModel, model: nn.Module, decay: float):
        pairs = list(zip(_tensors(average.module), _tensors(model), strict=True))
        self._floating = [pair for pair in pairs if pair[0].is_floating_point()]
        self._whole = [pair for pair in pairs if not pair[0].is_floating_point()]
        self._count: Tensor = average.n_averaged
        self._n = int(self._count)
        self.decay = decay

    @torch.no_grad()
    def update(self) -> None:
        """The first one takes the model as it is; whole numbers always are the model's."""
        _copy(self._whole)
        if self._n == 0:
            _copy(self._floating)
        else:
            averages, current = map(list, zip(*self._floating, strict=True))
            torch._foreach_lerp_(averages, current, 1 - min(self.decay, (1 + self._n) / (10 + self._n)))
        self._n += 1
        self._count += 1


def _tensors(module: nn.Module) -> Iterator[Tensor]:
    return itertools.chain(module.parameters(), module.buffers())


def _copy(pairs: list[tuple[Tensor, Tensor]]) -> None:
    for average, current in pairs:
        average.copy_(current)
