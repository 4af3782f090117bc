"""What the ranks of a training have in common."""

from __future__ import annotations

import torch.distributed as dist
from torch import Tensor


def mean_over_ranks(x: Tensor) -> Tensor:
    """`x` in place, averaged over all ranks; as it is where there is one."""
    if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
        dist.all_reduce(x)
        x.div_(dist.get_world_size())
    return x
