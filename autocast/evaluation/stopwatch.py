"""What forecasts take, batch by batch, without what is done between their windows."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor


@dataclass
class Stopwatch:
    """Times windows as they are computed.

    Args:
        device: Where that is.
    """

    device: torch.device
    spent: dict[int, tuple[float, int]] = field(default_factory=dict)
    """Seconds, and steps times members, by the first trajectory of a batch."""

    @property
    def seconds(self) -> float:
        return sum(seconds for seconds, _ in self.spent.values())

    @property
    def seconds_per_step(self) -> float:
        """Of one member of one trajectory."""
        return self.seconds / max(sum(n for _, n in self.spent.values()), 1)

    def timed(self, windows: Iterator[Tensor], first: int) -> Iterator[Tensor]:
        """The same windows `(B, M, t, *S, C)`, of the batch whose first trajectory has this number."""
        spent, n_member_steps = self.spent.get(first, (0.0, 0))
        while True:
            start = time.perf_counter()
            window = next(windows, None)
            if self.device.type == "cuda":
                torch.cuda.synchronize(self.device)
            spent += time.perf_counter() - start
            n_member_steps += 0 if window is None else window.shape[0] * window.shape[1] * window.shape[2]
            self.spent[first] = spent, n_member_steps
            if window is None:
                return
            yield window

    def forget(self) -> None:
        """What was forecast so far does not count."""
        self.spent.clear()

    def take(self, numbers: Sequence[int]) -> dict[str, np.ndarray]:
        """The time of a batch."""
        return {"spent": np.array(self.spent[numbers[0]])}

    def put(self, numbers: Sequence[int], arrays: Mapping[str, np.ndarray]) -> None:
        """What `take` gave."""
        seconds, n_member_steps = arrays["spent"].tolist()
        self.spent[numbers[0]] = seconds, int(n_member_steps)
