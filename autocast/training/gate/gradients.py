"""Every parameter that is trained gets a gradient."""

from __future__ import annotations

import torch

from autocast.training.gate.report import FAILED, GRADIENTS, PASSED, WARNING, CheckResult, listed
from autocast.training.gate.subject import SEED, Subject

N_DRAWS = 3
"""Noise draws over which a gradient must differ from 0 at least once."""


def check_gradients(subject: Subject, trained: Subject) -> CheckResult:
    """Which parameters have no gradient, or one that is exactly 0.

    A parameter behind a gate that starts shut gets one after the first steps, and one that only hears of a constant of
    the data that never varies gets one on other data: both are looked at before anything is said.

    Args:
        subject: The model at initialisation.
        trained: A copy that has been trained for some steps.
    """
    n = len(subject.trained())
    if n == 0:
        advice = "Nothing can be learnt: unfreeze what is to be trained."
        return CheckResult(GRADIENTS, FAILED, "no parameter is trained", advice)
    silent = _silent(subject, N_DRAWS)
    shut = len(silent)
    if silent:
        silent &= _silent(trained, N_DRAWS)
    if not silent:
        late = f", {shut} of them after some steps only" if shut else ""
        return CheckResult(GRADIENTS, PASSED, f"{n} of {n} parameters{late}")
    names = [name for name in subject.trained() if name in silent]
    figure = f"{n - len(names)} of {n} parameters; none for {listed(names)}"
    if not silent & _silent(_on_other_constants(trained), N_DRAWS):
        advice = "They only hear of scalars or constant fields that do not vary in these windows; that does no harm."
        return CheckResult(GRADIENTS, WARNING, figure, advice, tuple(names))
    advice = (
        "Their output is thrown away, detached or multiplied by 0: use it in forward, without detach() or no_grad(), "
        "or remove the module."
    )
    return CheckResult(GRADIENTS, FAILED, figure, advice, tuple(names))


def _silent(subject: Subject, n_draws: int) -> set[str]:
    """Parameters without a gradient in any of the draws; later draws are made for the sake of those alone."""
    silent = set(subject.trained())
    for draw in range(n_draws):
        subject.network.zero_grad()
        loss = subject.loss(draw)
        if loss.requires_grad:
            loss.backward()
        silent -= {name for name, p in subject.trained().items() if p.grad is not None and p.grad.count_nonzero() > 0}
        if not silent:
            break
    subject.network.zero_grad()
    return silent


def _on_other_constants(subject: Subject) -> Subject:
    """With scalars and constant fields that are random."""
    generator = torch.Generator().manual_seed(SEED)
    batch, changes = subject.batch, {}
    for name in ("scalars", "constant_fields"):
        values = getattr(batch, name)
        if values is not None:
            drawn = torch.randn(values.shape, generator=generator).to(values)
            changes[name] = values + (1 + values.abs()) * drawn
    return subject.with_batch(**changes)
