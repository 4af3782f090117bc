"""Vision transformer over patches of one- to three-dimensional fields."""

from __future__ import annotations

import math

from jaxtyping import Float
from torch import Tensor, nn

from autocast.errors import ConfigError
from autocast.nn.attention import TransformerBlock, rotary_angles, wall_features
from autocast.nn.backbone import Backbone
from autocast.nn.conditioning import ConditionEmbedding, Modulation
from autocast.nn.shuffle import pixel_shuffle, pixel_unshuffle


class ViT(Backbone):
    """Patches as tokens, `depth` transformer blocks, patches again.

    Commutes with shifts by whole patches along periodic axes: places enter as differences (rotary), absolute ones only
    on axes with ends.

    References:
        | An Image is Worth 16x16 Words (Dosovitskiy et al., 2020)
        | https://arxiv.org/abs/2010.11929
    """

    cosines: Tensor
    sines: Tensor
    wall_features: Tensor

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        grid_shape: tuple[int, ...],
        periodic: tuple[bool, ...],
        condition_features: int,
        dim: int = 128,
        depth: int = 4,
        heads: int = 4,
        patch_size: int = 4,
    ) -> None:
        super().__init__()
        _check(grid_shape, dim=dim, heads=heads, patch_size=patch_size)
        self._patch_size = patch_size
        self._tokens = tuple(n // patch_size for n in grid_shape)
        points_per_patch = patch_size ** len(grid_shape)
        features = dim if condition_features else 0
        self.embedding = ConditionEmbedding(condition_features, features) if features else nn.Identity()
        self.head = nn.Linear(in_channels * points_per_patch, dim)
        self.blocks = nn.ModuleList(TransformerBlock(dim, heads, condition_features=features) for _ in range(depth))
        self.norm = nn.LayerNorm(dim, elementwise_affine=False)
        self.modulation = Modulation(features, dim, initial=(1.0, 0.0))
        self.tail = nn.Linear(dim, out_channels * points_per_patch)

        angles = rotary_angles(self._tokens, periodic, n_pairs=dim // heads // 2)
        self.register_buffer("cosines", angles.cos(), persistent=False)
        self.register_buffer("sines", angles.sin(), persistent=False)
        self.register_buffer("wall_features", wall_features(self._tokens, periodic), persistent=False)
        self.places = None if all(periodic) else nn.Linear(self.wall_features.shape[1], dim, bias=False)

    def forward(self, x: Float[Tensor, "b ci *s"], condition: Float[Tensor, "b d"]) -> Float[Tensor, "b co *s"]:
        condition = self.embedding(condition)
        tokens = self.head(pixel_unshuffle(x, self._patch_size).flatten(2).transpose(1, 2))
        if self.places is not None:
            tokens = tokens + self.places(self.wall_features)
        for block in self.blocks:
            tokens = block(tokens, condition, self.cosines, self.sines)
        scale, shift = self.modulation(condition)
        tokens = self.tail(self.norm(tokens) * scale[:, None] + shift[:, None])
        return pixel_shuffle(tokens.transpose(1, 2).unflatten(2, self._tokens), self._patch_size)


def _check(grid_shape: tuple[int, ...], *, dim: int, heads: int, patch_size: int) -> None:
    if patch_size < 1 or any(n % patch_size for n in grid_shape):
        common = math.gcd(*grid_shape)
        fitting = ", ".join(str(p) for p in range(1, common + 1) if common % p == 0)
        raise ConfigError(
            f"backbone.patch_size={patch_size} does not divide the grid {'x'.join(map(str, grid_shape))}. "
            f"Sizes that fit: {fitting}."
        )
    if heads < 1 or dim % (2 * heads):
        raise ConfigError(
            f"backbone.dim={dim} with backbone.heads={heads}: dim must be a multiple of 2 * heads. "
            f"Set dim={2 * max(heads, 1) * max(round(dim / 2 / max(heads, 1)), 1)}."
        )
