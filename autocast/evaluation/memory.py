"""How many forecasts fit in memory at once, measured rather than guessed."""

from __future__ import annotations

import functools
import math
import weakref
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

HOST_BUDGET = 1e9
"""Bytes for the tensors of a model call on a CPU, where larger calls are no faster."""
GPU_SHARE = 0.5
"""Of a GPU's free memory; the rest is for scores and for what the allocator loses."""
CONTROL_GROUP = Path("/sys/fs/cgroup")
FEW, MORE = 1, 4
"""Rows with which a call is measured."""


def rows_that_fit(call: Callable[[int], Any], device: torch.device, budget: float | None = None) -> int:
    """Rows, at least 1, with which a call stays within a budget.

    Args:
        call: With a number of rows. Made three times, with few.
        device: Where it computes.
        budget: Bytes; None is half of what a GPU has free, and 1 GB on a CPU.
    """
    call(FEW)  # what is only needed the first time is there from here on
    few, more = (peak_bytes(functools.partial(call, n_rows), device) for n_rows in (FEW, MORE))
    per_row = max((more - few) / (MORE - FEW), 1.0)
    fixed = max(few - FEW * per_row, 0.0)
    return max(1, int(((budget or _budget(device)) - fixed) / per_row))


def peak_bytes(call: Callable[[], Any], device: torch.device) -> int:
    """What the tensors of a call need at most, above what was there before it."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        call()
        return torch.cuda.max_memory_allocated(device) - before
    with _Tally() as tally:
        call()
    return tally.most


def host_memory_left() -> float:
    """Bytes that this machine has available, of what a control group allows; infinite where nothing tells."""
    fields = dict(line.split(":", 1) for line in _lines(Path("/proc/meminfo")) if ":" in line)
    left = 1024.0 * int(fields["MemAvailable"].split()[0]) if "MemAvailable" in fields else math.inf
    allowed, used = ("".join(_lines(CONTROL_GROUP / name)) for name in ("memory.max", "memory.current"))
    if not (allowed.isdigit() and used.isdigit()):
        return left
    cached = dict(line.split() for line in _lines(CONTROL_GROUP / "memory.stat")).get("inactive_file", "0")
    return min(left, int(allowed) - int(used) + int(cached))


def _lines(file: Path) -> list[str]:
    return file.read_text().splitlines() if file.is_file() else []


def _budget(device: torch.device) -> float:
    if device.type != "cuda":
        return HOST_BUDGET
    free, _ = torch.cuda.mem_get_info(device)
    unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return GPU_SHARE * (free + unused)


class _Tally(TorchDispatchMode):
    """Counts the bytes of all storages that operations make, as long as they live."""

    def __init__(self) -> None:
        super().__init__()
        self.most = 0
        self._now = 0
        self._known: weakref.WeakSet[torch.UntypedStorage] = weakref.WeakSet()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        given = _storages((args, kwargs))
        out = func(*args, **(kwargs or {}))
        for key, storage in _storages(out).items():
            if key not in given:
                self._count(storage)
        return out

    def _count(self, storage: torch.UntypedStorage) -> None:
        if storage in self._known:
            return
        self._known.add(storage)
        n_bytes = storage.nbytes()
        self._now += n_bytes
        self.most = max(self.most, self._now)
        weakref.finalize(storage, self._forget, n_bytes)

    def _forget(self, n_bytes: int) -> None:
        self._now -= n_bytes


def _storages(tree: Any) -> dict[int, torch.UntypedStorage]:
    """Of the tensors in it: each has one object in Python as long as it lives."""
    found = [x.untyped_storage() for x in tree_leaves(tree) if isinstance(x, Tensor)]
    return {id(storage): storage for storage in found}
