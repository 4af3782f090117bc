"""Blocks whose activations are computed again in the backward pass instead of being kept."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


def run_block(block: nn.Module, *inputs: Any, recompute: bool) -> Tensor:
    """`block(*inputs)`; with `recompute` only its inputs are kept for the gradient. Blocks draw no random numbers."""
    if recompute and torch.is_grad_enabled():
        return checkpoint(block, *inputs, use_reentrant=False, preserve_rng_state=False)
    return block(*inputs)
