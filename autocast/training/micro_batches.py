"""Batches in pieces: as many windows are computed at once as memory has room for."""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor

from autocast.errors import AutocastError
from autocast.generative.noise import Noise
from autocast.nn.memory import is_out_of_memory
from autocast.types import Batch

KEY = "micro_batch"
"""Of a checkpoint."""
LESS = "gradient_checkpointing=true of the model's parts, trainer.precision=bf16-mixed, or a smaller model"

Result = TypeVar("Result")


class MemoryShortageError(AutocastError):
    """A batch does not fit in memory, and cannot be computed in smaller pieces."""


class MicroBatches:
    """Splits batches, at first as it is told, and into pieces of half the size whenever memory runs out.

    Args:
        size: Windows of a piece at most; None is the whole batch.
        obstacle: Why pieces cannot become smaller while a training runs; nothing where they can.
        say: Gets what is to be said when they have.
    """

    def __init__(self, size: int | None = None, *, obstacle: str = "", say: Callable[[str], None] = lambda _: None):
        self.asked = size
        self.size = size
        self.obstacle = obstacle
        self._say = say

    def split(self, batch: Batch, noise: Noise) -> list[tuple[Batch, Noise]]:
        """Pieces, each with the streams of its own rows."""
        if self.size is None or batch.size <= self.size:
            return [(batch, noise)]
        return list(zip(batch.split(self.size), noise.split(self.size), strict=True))

    def fit(self, compute: Callable[[bool], Result], n_windows: int) -> Result:
        """What `compute` gives, which is called again with smaller pieces as often as memory runs out.

        Args:
            compute: Called with whether a call before was broken off.
            n_windows: Of the batch that it splits.

        Raises:
            MemoryShortageError: A single window is too large, or there is an obstacle.
        """
        broken_off = False
        while True:
            try:
                result = compute(broken_off)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                self._halve(error, n_windows)
            else:
                break
            broken_off = True
            _free_memory()  # here nothing refers to the error any more, nor that to what was being computed
        if broken_off:
            self._say(
                f"memory ran out; batches are computed in pieces of {self.size} from here on, with the same result "
                f"where the loss is a mean over windows. "
                f"To begin with that: trainer.micro_batch={self.size}"
            )
        return result

    def explain(self, error: Exception, n_windows: int) -> MemoryShortageError:
        """What a user is told who cannot be helped while the training runs."""
        size = self._within(n_windows)
        if size == 1:
            return MemoryShortageError(
                f"memory ran out with one window at a time ({_cause(error)}). Less takes {LESS}."
            )
        return MemoryShortageError(
            f"memory ran out with pieces of {size} windows, and {self.obstacle}. Set trainer.micro_batch={size // 2}. "
            f"({str(error) or type(error).__name__})"
        )

    def state(self) -> dict[str, Any] | None:
        """What a training that goes on has to know; None where memory never ran out."""
        return None if self.size == self.asked else {"asked": self.asked, "size": self.size}

    def restore(self, state: Mapping[str, Any] | None) -> None:
        """Goes on with the size of before, unless another one is asked for now."""
        if state is not None and state["asked"] == self.asked:
            self.size = state["size"]

    def _halve(self, error: Exception, n_windows: int) -> None:
        size = self._within(n_windows)
        if self.obstacle or size == 1:
            raise self.explain(error, n_windows) from error
        self.size = size // 2

    def _within(self, n_windows: int) -> int:
        return n_windows if self.size is None else min(self.size, n_windows)


def mean_terms(parts: Sequence[tuple[float, Mapping[str, Tensor]]]) -> dict[str, Tensor]:
    """Of the terms of pieces and their shares of a batch, those of the batch: means over its windows."""
    (_, first), *others = parts
    if not others:
        return dict(first)
    return {name: torch.stack([share * terms[name] for share, terms in parts]).sum(0) for name in first}


def _cause(error: Exception) -> str:
    """Of a GPU `Tried to allocate 1.50 GiB`: the rest of such a message is about other sizes of batches."""
    return str(error).removeprefix("CUDA out of memory. ").split(". ")[0] or type(error).__name__


def _free_memory() -> None:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
