"""What an optimiser trains, and learning-rate schedules.

Schedules are pure functions of the optimiser step and of the number of steps in all. That number is a function of the
step itself: constant where steps or epochs bound a run; where its time does, an estimate that becomes exact at the end.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import lightning as L
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from autocast.training.limits import limited

Length = Callable[[int], float]
"""The number of optimiser steps of the whole run, at a step; infinite where nothing bounds it."""


def warmup_cosine(
    optimizer: Optimizer, total_steps: Length, *, warmup_steps: int = 50, final_fraction: float = 0.01
) -> LambdaLR:
    r"""Linear warm-up, then half a cosine.

    With $S$ steps in all, $w$ of them warm-up, and the final fraction $f$, the rate of step $s = 0, 1, \dots$ is the
    optimiser's rate times

    $$ (s + 1) / w  \quad (s < w), \qquad
       f + \frac{1 - f}{2} \left(1 + \cos \pi \frac{s - w}{S - w}\right)  \quad (s \ge w) $$

    Args:
        optimizer: Its learning rate is the highest one of the schedule.
        total_steps: $S$; where it is infinite the rate stays constant.
        warmup_steps: $w$, cut to a fifth of $S$ in shorter runs.
        final_fraction: $f$
    """

    def factor(step: int) -> float:
        total = total_steps(step)
        warmup = _warmup(warmup_steps, total)
        if step < warmup:
            return (step + 1) / warmup
        progress = min((step - warmup) / max(total - warmup, 1), 1.0)
        return final_fraction + (1 - final_fraction) * (1 + math.cos(math.pi * progress)) / 2

    return LambdaLR(optimizer, factor)


def warmup_constant(optimizer: Optimizer, total_steps: Length, *, warmup_steps: int = 50) -> LambdaLR:
    """Linear warm-up, then the optimiser's rate to the end; `total_steps` only cuts the warm-up of short runs."""
    return LambdaLR(optimizer, lambda step: min((step + 1) / max(_warmup(warmup_steps, total_steps(step)), 1), 1.0))


def _warmup(warmup_steps: int, total_steps: float) -> int:
    return min(warmup_steps, int(total_steps / 5)) if math.isfinite(total_steps) else warmup_steps


def parameter_groups(model: nn.Module) -> list[dict[str, Any]]:
    """What is trained, for any optimiser of torch: weights, which decay as its `weight_decay` says, and norms, biases
    and embeddings, which do not. A group without parameters is left out."""
    embeddings = {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding)}
    decaying: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for parameter in model.parameters():
        if parameter.requires_grad:
            is_vector = parameter.squeeze().ndim < 2
            (others if is_vector or id(parameter) in embeddings else decaying).append(parameter)
    groups: list[dict[str, Any]] = [{"params": decaying}, {"params": others, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]


def refresh_rates(scheduler: LambdaLR) -> None:
    """Puts the optimiser on the schedule at the scheduler's step: a restored rate may be that of another length."""
    factors = [factor(scheduler.last_epoch) for factor in scheduler.lr_lambdas]
    rates = [rate * factor for rate, factor in zip(scheduler.base_lrs, factors, strict=True)]
    for group, rate in zip(scheduler.optimizer.param_groups, rates, strict=True):
        group["lr"] = rate
    scheduler._last_lr = rates


def count_total_steps(trainer: L.Trainer) -> float:
    """Optimiser steps of `max_epochs`, earlier attempts included; infinite where the epochs do not bound the run.

    `Trainer.estimated_stepping_batches` says the same, but it makes Lightning start iterating over the training data
    before a checkpoint's position in them is restored, and that position is then never used (Lightning 2.6).
    """
    n_epochs = trainer.max_epochs
    return math.inf if n_epochs in (None, -1) else count_steps_per_epoch(trainer) * n_epochs


def count_steps_per_epoch(trainer: L.Trainer) -> int:
    n_batches = len(trainer.datamodule.train_dataloader())  # type: ignore[attr-defined]
    return math.ceil(limited(n_batches, trainer.limit_train_batches) / trainer.accumulate_grad_batches)
