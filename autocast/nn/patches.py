"""Transformers over patches of one- to three-dimensional fields."""

from __future__ import annotations

import math
from abc import ABC
from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn

from autocast.errors import ConfigError
from autocast.nn.attention import Reach, TransformerBlock, wall_features
from autocast.nn.backbone import Backbone
from autocast.nn.checkpointing import run_block
from autocast.nn.conditioning import ConditionEmbedding, Modulation
from autocast.nn.shuffle import pixel_shuffle, pixel_unshuffle

LEAST_PATCHES = 8
"""Along each axis, unless a patch size is given: coarse latents are cut into points."""


class PatchTransformer(Backbone, ABC):
    """Patches as tokens, `depth` transformer blocks that take turns in their `reaches`, patches again.

    Commutes with shifts by whole patches along periodic axes as far as the reaches do: places enter as differences
    (rotary), absolute ones only on axes with ends.
    """

    wall_features: Tensor

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        grid_shape: tuple[int, ...],
        periodic: tuple[bool, ...],
        condition_features: int,
        dim: int,
        depth: int,
        heads: int,
        patch_size: int,
        reaches: Sequence[Reach],
        gradient_checkpointing: bool,
    ) -> None:
        super().__init__()
        self._patch_size = patch_size
        self._recompute = gradient_checkpointing
        self._tokens = tokens_of(grid_shape, patch_size)
        points_per_patch = patch_size ** len(grid_shape)
        features = dim if condition_features else 0
        self.embedding = ConditionEmbedding(condition_features, features) if features else nn.Identity()
        self.head = nn.Linear(in_channels * points_per_patch, dim)
        self.blocks = nn.ModuleList(TransformerBlock(dim, heads, condition_features=features) for _ in range(depth))
        self.norm = nn.LayerNorm(dim, elementwise_affine=False)
        self.modulation = Modulation(features, dim, initial=(1.0, 0.0))
        self.tail = nn.Linear(dim, out_channels * points_per_patch)
        self.reaches = nn.ModuleList(reaches)
        self.register_buffer("wall_features", wall_features(self._tokens, periodic), persistent=False)
        self.places = None if all(periodic) else nn.Linear(self.wall_features.shape[1], dim, bias=False)

    def forward(self, x: Float[Tensor, "b ci *s"], condition: Float[Tensor, "b d"]) -> Float[Tensor, "b co *s"]:
        condition = self.embedding(condition)
        tokens = self.head(pixel_unshuffle(x, self._patch_size).flatten(2).transpose(1, 2))
        if self.places is not None:
            tokens = tokens + self.places(self.wall_features)
        for i, block in enumerate(self.blocks):
            reach = self.reaches[i % len(self.reaches)]
            tokens = run_block(block, tokens, condition, reach, recompute=self._recompute)
        scale, shift = self.modulation(condition)
        tokens = self.tail(self.norm(tokens) * scale[:, None] + shift[:, None])
        return pixel_shuffle(tokens.transpose(1, 2).unflatten(2, self._tokens), self._patch_size)


def tokens_of(grid_shape: tuple[int, ...], patch_size: int) -> tuple[int, ...]:
    """The grid of patches."""
    return tuple(n // patch_size for n in grid_shape)


def fitting_patch_size(grid_shape: tuple[int, ...], most: int) -> int:
    """The largest size up to `most` that divides the grid and leaves some patches along each axis; at least 1."""
    common, shortest = math.gcd(*grid_shape), min(grid_shape)
    return max(p for p in range(1, most + 1) if p == 1 or (common % p == 0 and shortest >= LEAST_PATCHES * p))


def check_patch_size(grid_shape: tuple[int, ...], patch_size: int) -> None:
    """Raises ConfigError for patches that do not divide the grid."""
    if patch_size < 1 or any(n % patch_size for n in grid_shape):
        common = math.gcd(*grid_shape)
        fitting = ", ".join(str(p) for p in range(1, common + 1) if common % p == 0)
        raise ConfigError(
            f"backbone.patch_size={patch_size} does not divide the grid {'x'.join(map(str, grid_shape))}. "
            f"Sizes that fit: {fitting}."
        )


def check_heads(dim: int, heads: int) -> None:
    """Raises ConfigError for heads that do not divide the features into pairs."""
    if heads < 1 or dim % (2 * heads):
        raise ConfigError(
            f"backbone.dim={dim} with backbone.heads={heads}: dim must be a multiple of 2 * heads. "
            f"Set dim={2 * max(heads, 1) * max(round(dim / 2 / max(heads, 1)), 1)}."
        )
