"""One batch can be learnt by heart."""

from __future__ import annotations

import math
import time
from typing import Any

import torch
from torch import Tensor

from autocast.training.gate.calls import output_changed, tensors_of, watched
from autocast.training.gate.report import FAILED, OVERFITTING, PASSED, SKIPPED, WARNING, CheckResult
from autocast.training.gate.subject import Subject

ENOUGH = 0.5
"""The part that may be left of the loss of a constant output."""
BETTER = 0.9
"""The part that may be left of the loss at the start, be it ever so small."""
RATES, RATES_OF_LARGE = (1e-3, 3e-3, 3e-4), (3e-4, 1e-4, 1e-3)
"""Learning rates that are tried one after the other until one is enough; large models diverge at the highest. Each has
its own noise: where noise is nearly all that the model is shown, as late on a generative path's way to the data, little
can be learnt."""
FEWEST_STEPS, MOST_STEPS = 40, 200
PATIENCE, PROGRESS = 20, 0.95
"""Beyond the fewest steps, every 20 must bring the loss to 95 % of what it was."""
DIVERGED = 4.0
"""Times the loss at the start."""
NO_LIMIT = float("inf")


def check_overfitting(subject: Subject, *, seconds: float = NO_LIMIT) -> tuple[CheckResult, Subject]:
    """Trains a copy on one small batch with one noise, by Adam, until the loss is half of what zeros would get.

    With one noise the loss of a generative model can be learnt away as any other. Modules that make the target are held
    still. Weights that are good already, as those of another run, must get better still.

    Args:
        subject: The model at initialisation.
        seconds: Time after which no step is begun. Less than asked for by then is a warning, not a failure.

    Returns:
        What was found, and the copy as the last steps left it.
    """
    until = time.monotonic() + seconds
    least, told, pupil = math.inf, "no step was made", subject
    for draw, rate in enumerate(RATES_OF_LARGE if subject.is_large else RATES):
        pupil = subject.copy()
        at_start = pupil.value(draw)
        constant = _loss_of_zeros(pupil, draw, otherwise=at_start)
        if constant <= 0:
            return CheckResult(OVERFITTING, SKIPPED, f"a loss of {constant:.3g} cannot be halved"), pupil
        enough = min(ENOUGH * constant, BETTER * at_start)
        reached, steps = _train(pupil, draw, rate, enough, until)
        if reached / constant < least:
            least = reached / constant
            told = f"{100 * least:.0f} % of the loss of zeros left after {steps} steps at {rate:g}"
        if reached <= enough:
            return CheckResult(OVERFITTING, PASSED, told), pupil
        if time.monotonic() > until:
            advice = "There was no time for more steps; whether it goes on falling shows in the first epoch."
            return CheckResult(OVERFITTING, WARNING, told, advice), pupil
    advice = (
        "One or two windows are not learnt, so a data set will not be: look for an output that does not depend on the "
        "input, a saturated activation, or a target that the network cannot see."
    )
    return CheckResult(OVERFITTING, FAILED, f"{told}; at most {100 * ENOUGH:.0f} % are accepted", advice), pupil


def _train(pupil: Subject, draw: int, rate: float, enough: float, until: float) -> tuple[float, int]:
    """The least loss, and the steps until it was reached."""
    still = _makers_of_targets(pupil, draw)
    parameters = [p for name, p in pupil.trained().items() if not name.startswith(still)]
    losses: list[float] = []
    optimizer = torch.optim.Adam(parameters, lr=rate) if parameters else None
    for _ in range(MOST_STEPS + 1):
        loss = pupil.loss(draw)
        losses.append(float(loss.detach()))
        if optimizer is None or losses[-1] <= enough or _is_over(losses) or time.monotonic() > until:
            break
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
    pupil.network.zero_grad()
    least = min((loss for loss in losses if math.isfinite(loss)), default=math.inf)
    return least, losses.index(least) if least in losses else len(losses) - 1


def _is_over(losses: list[float]) -> bool:
    """Whether more steps would lead nowhere."""
    if not losses[-1] <= DIVERGED * losses[0]:
        return True
    if len(losses) <= FEWEST_STEPS:
        return False
    return not min(losses[-PATIENCE:]) <= PROGRESS * min(losses[:-PATIENCE])


def _loss_of_zeros(subject: Subject, draw: int, *, otherwise: float) -> float:
    """The loss where the last module that the loss calls gives zeros; another number where it calls none."""
    last = ""

    def watch(name: str, depth: int, output: Any) -> None:
        nonlocal last
        if depth == 0 and any(tensor.requires_grad for tensor in tensors_of(output)):
            last = name

    with watched(subject.network, watch):
        subject.loss(draw)
    if not last:
        return otherwise
    zeros: list[str] = []
    with output_changed(subject.network.get_submodule(last), _zeros, zeros):
        return subject.value(draw)


def _makers_of_targets(subject: Subject, draw: int) -> tuple[str, ...]:
    """Modules that give something without a gradient although they are trained: what the others are compared with.

    As long as such a module learns, as an encoder beside its processor does, the target moves and the loss may rise.
    """
    trained = subject.trained()
    found: list[str] = []

    def watch(name: str, depth: int, output: Any) -> None:
        if depth == 0 and not any(tensor.requires_grad for tensor in tensors_of(output)):
            found.extend(f"{name}." for parameter in trained if parameter.startswith(f"{name}."))

    with watched(subject.network, watch):
        subject.loss(draw)
    return tuple(dict.fromkeys(found))


def _zeros(x: Tensor) -> Tensor:
    return torch.zeros_like(x)
