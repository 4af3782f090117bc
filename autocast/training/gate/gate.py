"""All checks of a model, in a few seconds."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence

import torch
from torch import nn

from autocast.training.gate.blocks import check_blocks
from autocast.training.gate.finiteness import check_finiteness
from autocast.training.gate.gradients import check_gradients
from autocast.training.gate.overfitting import check_overfitting
from autocast.training.gate.precision import check_precision
from autocast.training.gate.report import (
    BLOCKS,
    FAILED,
    GRADIENTS,
    OVERFITTING,
    PRECISION,
    SKIPPED,
    TRANSLATION,
    CheckResult,
    GateReport,
)
from autocast.training.gate.subject import Subject, random_state_kept
from autocast.training.gate.translation import check_translation
from autocast.types import Batch

SECONDS = 30.0
"""Time for each of the two checks that could take any: learning a batch by heart, and looking into blocks."""


def check_model(
    model: nn.Module,
    batch: Batch,
    *,
    periodic: Sequence[bool],
    device: torch.device | str = "cpu",
    seconds: float = SECONDS,
) -> GateReport:
    """Whether a model can be trained at all: six checks on a copy of it and one or two windows.

    Weights, gradients, mode and torch's generators are afterwards as they were before.

    Args:
        model: A `Trainable` as it is before its first step: `loss(batch, noise)` gives its objective as "loss".
        batch: Windows of the training data, in physical units.
        periodic: Of each spatial axis.
        device: Where it is to be checked.
        seconds: Limit of each of the two checks that large models would take minutes for.
    """
    began, home = time.monotonic(), _device_of(model)
    with random_state_kept():
        subject = Subject.of(model, batch, device)
        results = _check(subject, periodic, seconds)
    del subject
    model.to(home)  # a frozen autoencoder is shared with the copy
    if torch.device(device).type == "cuda":
        torch.cuda.empty_cache()
    return GateReport(tuple(results), time.monotonic() - began)


def _check(subject: Subject, periodic: Sequence[bool], seconds: float) -> list[CheckResult]:
    finite = _timed(lambda: check_finiteness(subject))
    if finite.result == FAILED:
        rest = (GRADIENTS, BLOCKS, OVERFITTING, PRECISION, TRANSLATION)
        return [finite, *(CheckResult(check, SKIPPED, "nothing to see among NaNs") for check in rest)]
    began = time.monotonic()
    overfitted, trained = check_overfitting(subject, seconds=seconds)
    overfitted = dataclasses.replace(overfitted, seconds=time.monotonic() - began)
    return [
        finite,
        _timed(lambda: check_gradients(subject, trained)),
        _timed(lambda: check_blocks(subject.alone(), trained.alone(), seconds=seconds)),
        overfitted,
        _timed(lambda: check_precision(subject.alone())),
        _timed(lambda: check_translation(subject.alone(), periodic=periodic)),
    ]


def _timed(check: Callable[[], CheckResult]) -> CheckResult:
    began = time.monotonic()
    return dataclasses.replace(check(), seconds=time.monotonic() - began)


def _device_of(model: nn.Module) -> torch.device:
    return next((p.device for p in model.parameters()), torch.device("cpu"))
