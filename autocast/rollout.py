"""Autoregressive rollouts of anything that maps the past to the next steps."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

AMBIENT, ENCODE_ONCE, LATENT = "ambient", "encode_once", "latent"
ROLLOUTS = (AMBIENT, ENCODE_ONCE, LATENT)
"""What an emulator carries from window to window: fields, which it encodes every time; latents, of which it decodes
every window; latents, from encoded frames to encoded frames."""


def rollout(step: Callable[[Tensor], Tensor], x: Tensor, n_steps: int) -> Iterator[Tensor]:
    """Yields the windows `(B, To, *S, C)` of a rollout of `n_steps` steps, the last one cut to fit.

    Args:
        step: maps `(B, Ti, *S, C)` to `(B, To, *S, C)`; called once per window, and only when that is asked for.
        x: the initial steps `(B, Ti, *S, C)`; each later input is the last Ti steps of what is there by then.
    """
    n_steps_input, n_done = x.shape[1], 0
    while n_done < n_steps:
        y = step(x)
        n_done += y.shape[1]
        if n_done >= n_steps:
            yield y[:, : y.shape[1] - (n_done - n_steps)]
        else:
            yield y
            x = torch.cat([x, y], dim=1)[:, -n_steps_input:]
