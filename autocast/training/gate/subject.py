"""A model under test: a copy of it, with a small batch and repeatable noise."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from autocast.generative.noise import Noise
from autocast.training.module import Trainable
from autocast.types import Batch

SEED = 17
LARGE = 20_000_000
"""Trainable parameters from which on one window has to do."""


class Subject:
    """A model that may be changed at will, and the batch that it is tried on.

    Whatever a model draws from torch's own generator, as dropout does, is the same in every call.

    Args:
        model: A `Trainable`.
        batch: Windows in physical units, on the model's device.
    """

    def __init__(self, model: Any, batch: Batch) -> None:
        self.model: Trainable = model
        self.network: nn.Module = model
        self.batch = batch

    @classmethod
    def of(cls, model: nn.Module, batch: Batch, device: torch.device | str) -> Subject:
        """A copy of `model` in training mode, with the windows of `batch` in which most happens."""
        subject = cls(copy.deepcopy(model).to(device).train(), batch)
        rows = liveliest(batch, 1 if subject.is_large else 2)
        subject.batch = batch.map(lambda x: x[rows.to(x.device)]).to(device)
        return subject

    @property
    def device(self) -> torch.device:
        return self.batch.input_fields.device

    @property
    def is_large(self) -> bool:
        """Whether its steps are slow and its learning rates low."""
        return sum(p.numel() for p in self.trained().values()) >= LARGE

    def copy(self) -> Subject:
        return Subject(copy.deepcopy(self.network), self.batch)

    def alone(self) -> Subject:
        """The same model on the first window only."""
        return Subject(self.network, self.batch.map(lambda x: x[:1]))

    def with_batch(self, **changes: Tensor | None) -> Subject:
        """The same model on a batch with other tensors."""
        changed: dict[str, Any] = changes
        return Subject(self.network, dataclasses.replace(self.batch, **changed))

    def keys(self, draw: int = 0) -> list[tuple[int, ...]]:
        """Of the noise of a numbered draw, one for each row."""
        return [(SEED, draw, row) for row in range(self.batch.size)]

    def loss(self, draw: int = 0, noise: Noise | None = None) -> Tensor:
        """The objective with the noise of a numbered draw."""
        self._seed(SEED + draw)
        return self.model.loss(self.batch, noise or Noise(self.keys(draw)))["loss"]

    @torch.no_grad()
    def value(self, draw: int = 0) -> float:
        """The objective as a number."""
        return float(self.loss(draw))

    def trained(self) -> dict[str, nn.Parameter]:
        """The parameters that a training changes, by name."""
        return {name: p for name, p in self.network.named_parameters() if p.requires_grad}

    def _seed(self, seed: int) -> None:
        """Of what is drawn without our noise; `torch.manual_seed` takes 0.5 ms, most of it for devices not in use."""
        torch.default_generator.manual_seed(seed)
        if self.device.type == "cuda":
            torch.cuda.manual_seed(seed)

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """Inside, the model is as in use: no dropout, no noise that is for training only."""
        self.network.eval()
        try:
            yield
        finally:
            self.network.train()


def liveliest(batch: Batch, n_rows: int) -> Tensor:
    """The rows of the windows whose frames differ most: on a field at rest there is nothing to learn."""
    frames = torch.cat([batch.input_fields, batch.output_fields], dim=1).float().flatten(2)
    return frames.std(dim=1, correction=0).mean(dim=1).argsort(descending=True)[:n_rows]


@contextmanager
def random_state_kept() -> Iterator[None]:
    """Torch's generators, on all devices, are afterwards as they were before."""
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_initialized() else []
    with torch.random.fork_rng(devices):
        yield


@contextmanager
def changed_in_place(tensors: Sequence[Tensor], change: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Inside, the tensors hold other values."""
    before = [tensor.detach().clone() for tensor in tensors]
    try:
        with torch.no_grad():
            for tensor, value in zip(tensors, before, strict=True):
                tensor.copy_(change(value))
        yield
    finally:
        with torch.no_grad():
            for tensor, value in zip(tensors, before, strict=True):
                tensor.copy_(value)
