"""Averaged weights: Lightning's weight averaging with a decay that suits short runs too."""

from __future__ import annotations

from typing import Any

import torch
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor


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
        super().__init__(multi_avg_fn=self._update, **kwargs)
        self.decay = decay

    @torch.no_grad()
    def _update(self, averages: list[Tensor], current: list[Tensor], n_averaged: Tensor | int) -> None:
        if not averages[0].is_floating_point():
            torch._foreach_copy_(averages, current)
            return
        n = int(n_averaged)
        torch._foreach_lerp_(averages, current, 1 - min(self.decay, (1 + n) / (10 + n)))
