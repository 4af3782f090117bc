"""How networks are told of numbers: embeddings of them, and normalisations modulated by them (FiLM, adaptive norm)."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn


def sinusoidal_embedding(t: Float[Tensor, " b"], n_features: int) -> Float[Tensor, "b f"]:
    """Sines and cosines of times in [0, 1], angular frequencies from 1 to 256 in a geometric series."""
    frequencies = torch.logspace(0, math.log10(256), n_features // 2, device=t.device, dtype=t.dtype)
    angles = t[:, None] * frequencies
    return torch.cat([angles.cos(), angles.sin()], dim=1)


class ConditionEmbedding(nn.Module):
    """Embeds a condition `(B, D)`, D > 0, for the modulations of a network."""

    def __init__(self, condition_features: int, features: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(condition_features, features), nn.SiLU(), nn.Linear(features, features), nn.SiLU()
        )

    def forward(self, condition: Float[Tensor, "b d"]) -> Float[Tensor, "b f"]:
        return self.layers(condition)


class Modulation(nn.Module):
    """The vectors that modulate a block, `(B, channels)` or `(1, channels)`: constants, plus a linear map of the
    condition if there is one.

    The initial map is small: networks start by ignoring the condition, yet every weight has a gradient.
    """

    def __init__(self, condition_features: int, channels: int, *, initial: tuple[float, ...]) -> None:
        """`initial` holds the constants that the vectors start from; `condition_features` may be 0."""
        super().__init__()
        self.constants = nn.Parameter(torch.tensor(initial)[:, None].repeat(1, channels))
        self.linear = None
        if condition_features:
            self.linear = nn.Linear(condition_features, len(initial) * channels, bias=False)
            nn.init.normal_(self.linear.weight, std=0.1 / math.sqrt(condition_features))

    def forward(self, condition: Float[Tensor, "b d"]) -> tuple[Tensor, ...]:
        if self.linear is None:
            return tuple(self.constants[:, None].unbind())
        return tuple((self.linear(condition).unflatten(1, self.constants.shape) + self.constants).unbind(1))
