"""Whether a training will be long enough for the gate to be worth its time."""

from __future__ import annotations

import copy
import math
import time

import torch
from torch import nn

from autocast.nn.memory import is_out_of_memory
from autocast.training.gate.subject import Subject, random_state_kept
from autocast.training.limits import limited
from autocast.types import Batch

HOUR = 3600.0
SLOWEST_STEP = 10.0
"""Seconds that hardly any step takes: fewer steps than an hour has of these are not measured, only short."""
N_MEASURED = 2


def may_be_long(n_batches: float, limit: float) -> bool:
    """Whether a training could take more than an hour, as far as that is known without measuring.

    Args:
        n_batches: Batches that are trained in all; infinite where nothing but time bounds the training.
        limit: Seconds after which it ends in any case.
    """
    return limit > HOUR and n_batches * SLOWEST_STEP > HOUR


def is_long(model: nn.Module, batch: Batch, *, n_batches: float, device: torch.device | str = "cpu") -> bool:
    """Whether a training would take more than an hour, by training a batch on a copy, at first once.

    A training that `may_be_long` has more than 360 of them, so this takes little of its time. One whose batch does not
    fit in memory, and will be computed in pieces, is taken for long.

    Args:
        model: A `Trainable`.
        batch: What one device computes at once.
        n_batches: How many of them are trained in all.
        device: Where it is trained.
    """
    if math.isinf(n_batches):
        return True
    home = next(model.parameters()).device
    with random_state_kept():
        subject = Subject(copy.deepcopy(model).to(device).train(), batch.to(device))
        long = _takes_an_hour(subject, n_batches)
    model.to(home)  # a frozen autoencoder is shared with the copy
    return long


def _takes_an_hour(subject: Subject, n_batches: float) -> bool:
    try:
        first = _seconds(subject)  # slower than the others, so it can only be too long
        return first * n_batches > HOUR and min(_seconds(subject) for _ in range(N_MEASURED)) * n_batches > HOUR
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        return True


def count_batches(
    per_epoch: int, *, max_epochs: int | None, max_steps: int, limit_train_batches: float | None, accumulated: int
) -> float:
    """Batches of a whole training, as Lightning's trainer bounds it; infinite where it does not.

    Args:
        per_epoch: Batches that the loader gives.
        max_epochs: None and -1 are no bound.
        max_steps: Optimiser steps; -1 is no bound.
        limit_train_batches: A whole number of batches, a fraction of them, or no limit.
        accumulated: Batches of an optimiser step.
    """
    by_epochs = math.inf if max_epochs in (None, -1) else limited(per_epoch, limit_train_batches) * max_epochs
    by_steps = math.inf if max_steps == -1 else max_steps * accumulated
    return min(by_epochs, by_steps)


def _seconds(subject: Subject) -> float:
    """Of a loss and its gradients."""
    _wait(subject)
    began = time.perf_counter()
    subject.network.zero_grad()
    loss = subject.loss()
    if loss.requires_grad:
        loss.backward()
    _wait(subject)
    return time.perf_counter() - began


def _wait(subject: Subject) -> None:
    if subject.device.type == "cuda":
        torch.cuda.synchronize(subject.device)
