"""Each block changes the output."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn

from autocast.training.gate.calls import output_changed
from autocast.training.gate.report import BLOCKS, FAILED, PASSED, WARNING, CheckResult, listed
from autocast.training.gate.subject import SEED, Subject, changed_in_place

STRENGTHS = (1.0, 1e3, 1e6)
"""Sizes of a disturbance, relative to what is disturbed; the large ones are for blocks behind a nearly shut gate."""
NO_LIMIT = float("inf")
SLOW = "All blocks can be looked at in time on a GPU, or at a smaller size."


def check_blocks(subject: Subject, trained: Subject, *, seconds: float = NO_LIMIT) -> CheckResult:
    """Disturbs the output of one block after another, or its weights where it is never called; the loss must notice.

    A gradient is not enough: that of `h - h.detach()` is fine, and it adds nothing.

    Blocks are the entries of lists and sequences of modules, and all modules that own parameters: first those that no
    other holds, then what is inside them.

    Args:
        subject: The model at initialisation.
        trained: A copy that has been trained for some steps: gates that start shut have opened in it.
        seconds: Time after which no more blocks are looked at.
    """
    outer, inner = blocks(subject.network)
    until = time.monotonic() + seconds
    names, n_seen, probe = {}, 0, Probe(subject)
    for name in [*outer, *inner]:
        if time.monotonic() > until:
            break
        n_seen += 1
        why = probe.silence(name)
        if why:
            names[name] = why
    names = _without_shut(names, trained)
    total = len(outer) + len(inner)
    unseen = f"; no time for {total - n_seen} more, whose gradients were looked at" if n_seen < total else ""
    if not names:
        figure = f"{n_seen} of {total} blocks{unseen}"
        return CheckResult(BLOCKS, WARNING, figure, SLOW) if unseen else CheckResult(BLOCKS, PASSED, figure)
    told = [f"{name} ({why})" for name, why in _outermost(names).items()]
    figure = f"the loss does not notice {listed(told)}{unseen}"
    advice = "Use what it computes, or remove it: it costs time and changes nothing."
    return CheckResult(BLOCKS, FAILED, figure, advice, tuple(names))


def blocks(network: nn.Module) -> tuple[list[str], list[str]]:
    """Names of the blocks that are in no other block, and of those that are; only modules with something to train."""
    outer: list[str] = []
    inner: list[str] = []
    for name, module in network.named_modules():
        if _is_block(network, name, module):
            held = any(name.startswith(f"{block}.") for block in outer)
            (inner if held else outer).append(name)
    return outer, inner


def _is_block(network: nn.Module, name: str, module: nn.Module) -> bool:
    if not any(p.requires_grad for p in module.parameters()) or isinstance(module, nn.ModuleList | nn.ModuleDict):
        return False
    owns = any(p.requires_grad for p in module.parameters(recurse=False))
    parent = network.get_submodule(name.rpartition(".")[0]) if name else None
    return owns or isinstance(parent, nn.ModuleList | nn.ModuleDict | nn.Sequential)


class Probe:
    """Asks of modules whether the loss notices them."""

    def __init__(self, subject: Subject) -> None:
        self._subject = subject
        self._value = subject.value()
        self._rounding = 0.0 if subject.device.type == "cpu" else abs(subject.value() - self._value)
        """GPUs do not always add up in the same order."""

    def silence(self, name: str) -> str:
        """Why nothing would be lost without a module; nothing where something would be."""
        module = self._subject.network.get_submodule(name)
        calls: list[str] = []
        if self._notices(lambda strength: output_changed(module, _disturbance(strength), calls)):
            return ""
        if calls:
            return "its output is thrown away"
        weights = [p for p in module.parameters() if p.requires_grad]  # they may be used without a call
        used = self._notices(lambda strength: changed_in_place(weights, _disturbance(strength)))
        return "" if used else "it is never used"

    def _notices(self, disturb: Callable[[float], AbstractContextManager[None]]) -> bool:
        """Whether the loss changes under some disturbance."""
        for strength in STRENGTHS:
            with disturb(strength):
                value = self._subject.value()
            if not abs(value - self._value) <= 4 * self._rounding:  # NaN is a change as well
                return True
        return False


def _disturbance(strength: float) -> Callable[[Tensor], Tensor]:
    """Adds random numbers as large as the tensor's own, or of order one where that is 0."""

    def disturb(x: Tensor) -> Tensor:
        generator = torch.Generator(x.device).manual_seed(SEED)
        size = x.detach().abs().square().mean().sqrt()
        size = torch.where(size > 0, size, torch.ones_like(size))
        real = torch.randn(x.shape, generator=generator, device=x.device)
        return x + (strength * size * real).to(x.dtype)

    return disturb


def _without_shut(names: dict[str, str], trained: Subject) -> dict[str, str]:
    """Those that the loss does not notice after some steps of training either."""
    if not names:
        return {}
    probe = Probe(trained)
    found = {name: probe.silence(name) for name in names}
    return {name: why for name, why in found.items() if why}


def _outermost(names: dict[str, str]) -> dict[str, str]:
    """Without what is inside of others that are named."""

    def is_held(name: str) -> bool:
        return any(name.startswith(f"{other}.") for other in names)

    return {name: why for name, why in names.items() if not is_held(name)}
