"""bfloat16 agrees with float32."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from autocast.training.gate.calls import tensors_of, watched
from autocast.training.gate.report import FAILED, PASSED, PRECISION, CheckResult
from autocast.training.gate.subject import Subject

ROUNDING = 2.0**-8
"""Unit roundoff of bfloat16, which keeps 8 bits."""
SAFETY = 3.0
NONSENSE = 0.2
"""Error of a module's output, relative to the numbers themselves, that counts even where the rest of the network hides
it, as a gate that is nearly shut does. In sound networks .01 is the largest, at any depth."""
LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)

Calls = list[tuple[str, int, list[Tensor]]]


def check_precision(subject: Subject) -> CheckResult:
    """Runs the same loss in both, and compares it, the outputs of the network, and those of every module within.

    Rounding errors of n layers behind each other add up like sqrt(n): three times that is accepted. What is left beyond
    it is cancellation: a small difference of large numbers, of which 8 bits keep nothing.
    """
    with subject.evaluating():
        calls, value = _record(subject)
        try:
            with torch.autocast(subject.device.type, dtype=torch.bfloat16):
                rounded, rounded_value = _record(subject)
        except (RuntimeError, TypeError, NotImplementedError) as problem:
            advice = "Compute that part with torch.autocast(device, enabled=False)."
            return CheckResult(PRECISION, FAILED, f"not possible: {str(problem).splitlines()[0]}", advice)
    errors = {"the loss": abs(rounded_value - value) / max(abs(value), 1e-30)}
    inside: dict[str, float] = {}
    for (name, depth, exact), (_, _, found) in zip(calls, rounded, strict=True):
        error = max(map(_error, exact, found), default=0.0)
        inside[name] = max(error, inside.get(name, 0.0))
        if depth == 0:
            errors[name] = inside[name]
    layers = sum(isinstance(subject.network.get_submodule(name), LAYERS) for name, *_ in calls)
    return _judged(errors, inside, SAFETY * ROUNDING * math.sqrt(max(layers, 1)))


def _judged(errors: dict[str, float], inside: dict[str, float], accepted: float) -> CheckResult:
    """
    Args:
        errors: Of the loss, and of what no other module calls.
        inside: Of all modules, in the order in which their calls ended.
        accepted: The largest of `errors` that rounding explains.
    """
    worst, limit = max(errors.values()), accepted
    names = tuple(name for name, error in inside.items() if not error <= NONSENSE)
    if worst <= accepted and not names:
        return CheckResult(PRECISION, PASSED, f"relative error {worst:.2g}, at most {accepted:.2g} accepted")
    if names:
        worst, limit = max(inside.values()), NONSENSE
    names = names or tuple(name for name, error in inside.items() if not error <= accepted)
    where = f"; it begins at {names[0]}" if names else ""
    advice = (
        "Large numbers cancel there: subtract before rounding, scale them down, or compute that part in float32 with "
        "torch.autocast(device, enabled=False)."
    )
    return CheckResult(
        PRECISION, FAILED, f"relative error {worst:.2g}, at most {limit:.2g} accepted{where}", advice, names
    )


@torch.no_grad()
def _record(subject: Subject) -> tuple[Calls, float]:
    """What every call of a module gave, in the order in which the calls ended, and the loss."""
    calls: Calls = []
    with watched(subject.network, lambda name, depth, output: calls.append((name, depth, _kept(output)))):
        loss = subject.loss()
    return calls, float(loss)


def _kept(output: Any) -> list[Tensor]:
    return [tensor.detach().clone() for tensor in tensors_of(output)]


def _error(exact: Tensor, found: Tensor) -> float:
    """Root mean square of the difference over that of the numbers."""
    exact, found = (torch.view_as_real(x) if x.is_complex() else x.float() for x in (exact, found))
    size, error = (x.square().mean().sqrt() for x in (exact, found - exact))
    return float(error / size) if size > 0 else 0.0
