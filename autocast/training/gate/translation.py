"""Shifted fields give shifted outputs, along periodic axes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from autocast.generative.noise import Noise
from autocast.training.gate.calls import tensors_of, watched
from autocast.training.gate.report import FAILED, PASSED, SKIPPED, TRANSLATION, WARNING, CheckResult
from autocast.training.gate.subject import Subject

ACCEPTED = 1e-3
"""Largest difference, relative to the output's root mean square, that rounding may make."""
GROSS = 0.3
"""From here on the output depends on the place about as much as on the field."""

_CONVOLUTIONS = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}

Outputs = list[tuple[str, list[Tensor]]]


def check_translation(subject: Subject, *, periodic: Sequence[bool]) -> CheckResult:
    """Shifts the whole batch along each periodic axis, and compares what the network then gives.

    A network that works on patches or on several resolutions commutes with shifts by its stride only. The stride is not
    known here, but it divides the axis, so one of the shifts by n/2, n/3, n/5, ... (the prime factors of n) is a
    multiple of it: an axis is fine if one of these shifts is.

    Args:
        subject: The model.
        periodic: Of each spatial axis of the fields.
    """
    grid_shape = subject.batch.input_fields.shape[2:-1]
    axes = [axis for axis, wraps in enumerate(periodic) if wraps and grid_shape[axis] > 1]
    if not axes:
        return CheckResult(TRANSLATION, SKIPPED, "no axis is periodic")
    with subject.evaluating():
        errors = {axis: _least_error(subject, axis) for axis in axes}
        coarse = {axis for axis in axes if errors[axis] > ACCEPTED and _is_too_coarse(subject, axis)}
    judged = {axis: error for axis, error in errors.items() if axis not in coarse}
    if not judged:
        return CheckResult(TRANSLATION, SKIPPED, "no shift keeps the coarsest grid of the network")
    worst = max(judged, key=lambda axis: judged[axis])
    left = f"; {_count(len(coarse))} left out, where no shift keeps the coarsest grid" if coarse else ""
    if judged[worst] <= ACCEPTED:
        return CheckResult(TRANSLATION, PASSED, f"relative error {judged[worst]:.2g} on {_count(len(judged))}{left}")
    gross = judged[worst] > GROSS
    figure = (
        f"axis {worst} is periodic, but a shift along it changes the output by {judged[worst]:.2g} of its size{left}"
    )
    advice = (
        "Look for zero padding, an absolute position or a window that does not wrap around."
        if gross
        else "The place matters a little; if that is not meant, look for absolute positions."
    )
    return CheckResult(TRANSLATION, FAILED if gross else WARNING, figure, advice)


class RepeatingNoise(Noise):
    """Noise that is the same after a shift by an n-th part of any of its axes: which of them are space need not be
    known."""

    def __init__(self, keys: Sequence[tuple[int, ...]], parts: int) -> None:
        super().__init__(keys)
        self._parts = parts

    def repeat(self, n_members: int) -> Noise:
        return RepeatingNoise([(*key, member) for key in self._keys for member in range(n_members)], self._parts)

    def _draw(self, *arguments: Any) -> Tensor:
        numbers = super()._draw(*arguments)
        for axis in range(1, numbers.ndim):
            n = numbers.shape[axis]
            if n % self._parts == 0:
                first = numbers.narrow(axis, 0, n // self._parts)
                numbers = torch.cat([first] * self._parts, dim=axis)
        return numbers


def _least_error(subject: Subject, axis: int) -> float:
    """The error under the shift by a prime part of the axis that the network takes best."""
    n = subject.batch.input_fields.shape[2 + axis]
    least = float("inf")
    for parts in _primes(n):
        at_rest = _outputs(subject, parts)
        moved = _outputs(_shifted(subject, axis, n // parts), parts)
        errors = (
            _error(a, b, parts)
            for (_, one), (_, two) in zip(at_rest, moved, strict=True)
            for a, b in zip(one, two, strict=True)
        )
        least = min(least, max(errors, default=0.0))
        if least <= ACCEPTED:
            break
    return least


def _shifted(subject: Subject, axis: int, shift: int) -> Subject:
    batch = subject.batch
    moved = {
        "input_fields": batch.input_fields.roll(shift, 2 + axis),
        "output_fields": batch.output_fields.roll(shift, 2 + axis),
        "constant_fields": None if batch.constant_fields is None else batch.constant_fields.roll(shift, 1 + axis),
    }
    return subject.with_batch(**moved)


@torch.no_grad()
def _outputs(subject: Subject, parts: int) -> Outputs:
    """What the modules gave that no other module called, and the loss."""
    found: Outputs = []

    def watch(name: str, depth: int, output: Any) -> None:
        if depth == 0:
            found.append((name, [tensor.detach().clone() for tensor in tensors_of(output)]))

    noise = RepeatingNoise(subject.keys(), parts)
    with watched(subject.network, watch):
        loss = subject.loss(noise=noise)
    return [*found, ("loss", [loss.reshape(1)])]


def _error(at_rest: Tensor, moved: Tensor, parts: int) -> float:
    """The largest difference over the root mean square of the output, shifted by its part of whichever axis fits best:
    outputs may be channels-first or channels-last, on the fields' grid, on a coarser one or on none."""
    size = float(at_rest.abs().square().mean().sqrt()) or 1.0
    shifts = [
        (axis, at_rest.shape[axis] // parts) for axis in range(1, at_rest.ndim) if at_rest.shape[axis] % parts == 0
    ]
    candidates = [at_rest, *(at_rest.roll(shift, axis) for axis, shift in shifts)]
    return min(float((moved - candidate).abs().max()) for candidate in candidates) / size


@torch.no_grad()
def _is_too_coarse(subject: Subject, axis: int) -> bool:
    """Whether some convolution works on a grid that no shift of the axis by a prime part of it maps to itself."""
    n_axes = subject.batch.input_fields.ndim - 3
    n = subject.batch.input_fields.shape[2 + axis]
    lengths: set[int] = set()

    def watch(name: str, depth: int, output: Any) -> None:  # noqa: ARG001
        if isinstance(subject.network.get_submodule(name), _CONVOLUTIONS[n_axes]):
            lengths.add(output.shape[2 + axis])

    with watched(subject.network, watch):
        subject.loss()
    return not any(all(length % parts == 0 for length in lengths) for parts in _primes(n))


def _primes(n: int) -> list[int]:
    """The different prime factors of n."""
    return [p for p in range(2, n + 1) if n % p == 0 and all(p % q for q in range(2, p))]


def _count(n: int) -> str:
    return "1 axis" if n == 1 else f"{n} axes"
