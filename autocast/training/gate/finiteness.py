"""Nothing is NaN or infinite at initialisation."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from autocast.training.gate.calls import tensors_of, watched
from autocast.training.gate.report import FAILED, FINITE, PASSED, CheckResult, listed
from autocast.training.gate.subject import Subject


def check_finiteness(subject: Subject) -> CheckResult:
    """Looks at the batch, parameters, buffers, every module's output in the order of the calls, loss and gradients."""
    bad = list(_bad_batch(subject))
    if bad:
        advice = "Repair the data set, or leave the trajectory out; 'autocast data inspect' finds where."
        return CheckResult(FINITE, FAILED, f"the data hold NaN or infinity: {listed(bad)}", advice, tuple(bad))
    bad = list(_bad_weights(subject))
    if bad:
        advice = "Initialise it: torch.empty and a division by 0 leave such values."
        return CheckResult(FINITE, FAILED, f"NaN or infinity in {listed(bad)}", advice, tuple(bad))
    names, loss = _bad_outputs(subject)
    if names:
        advice = "Look in that module first: the ones before it are fine."
        return CheckResult(FINITE, FAILED, f"the output of {names[0]} is NaN or infinite", advice, tuple(names))
    if not loss.isfinite():
        advice = "Every module's output is finite, so look at the loss itself and at the normaliser."
        return CheckResult(FINITE, FAILED, f"the loss is {float(loss.detach())}", advice)
    bad = [name for name, p in subject.trained().items() if p.grad is not None and not p.grad.isfinite().all()]
    if bad:
        advice = "Look for a square root, a norm or a division at 0 behind that parameter."
        return CheckResult(FINITE, FAILED, f"the gradient of {listed(bad)} is NaN or infinite", advice, tuple(bad))
    return CheckResult(FINITE, PASSED, f"loss {float(loss.detach()):.4g}, all numbers finite")


def _bad_batch(subject: Subject) -> Iterator[str]:
    batch = subject.batch
    for name in ("input_fields", "output_fields", "scalars", "constant_fields"):
        values: Tensor | None = getattr(batch, name)
        if values is not None and not values.isfinite().all():
            yield name


def _bad_weights(subject: Subject) -> Iterator[str]:
    """A buffer may hold minus infinity, as the masks of attention do."""
    for name, parameter in subject.network.named_parameters():
        if not parameter.isfinite().all():
            yield name
    for name, buffer in subject.network.named_buffers():
        if buffer.is_floating_point() and (buffer.isnan() | (buffer == torch.inf)).any():
            yield name


def _bad_outputs(subject: Subject) -> tuple[list[str], Tensor]:
    """The modules that gave something that is not finite, and the loss, whose gradients are left on the parameters."""
    names: list[str] = []

    def watch(name: str, depth: int, output: Any) -> None:  # noqa: ARG001
        if not all(tensor.isfinite().all() for tensor in tensors_of(output)):
            names.append(name)

    subject.network.zero_grad()
    with watched(subject.network, watch):
        loss = subject.loss()
    if loss.requires_grad and loss.isfinite():
        loss.backward()
    return list(dict.fromkeys(names)), loss
