"""Vision transformer: patches that all attend to each other."""

from __future__ import annotations

from dataclasses import dataclass

from autocast.nn.attention import FullReach
from autocast.nn.patches import PatchTransformer, check_heads, check_patch_size, fitting_patch_size, tokens_of
from autocast.nn.sizes import check_positive, sized


@dataclass(frozen=True)
class Hyper:
    dim: int
    depth: int
    heads: int
    patch_size: int = 4


SIZES = {
    "xs": Hyper(dim=64, depth=3, heads=2),
    "s": Hyper(dim=128, depth=4, heads=4),
    "m": Hyper(dim=256, depth=8, heads=4),
    "l": Hyper(dim=512, depth=16, heads=8),
    "xl": Hyper(dim=768, depth=24, heads=12),
}


class ViT(PatchTransformer):
    """A transformer in which every patch attends to every patch.

    References:
        | An Image is Worth 16x16 Words (Dosovitskiy et al., 2020)
        | https://arxiv.org/abs/2010.11929
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        grid_shape: tuple[int, ...],
        periodic: tuple[bool, ...],
        condition_features: int,
        size: str = "s",
        dim: int | None = None,
        depth: int | None = None,
        heads: int | None = None,
        patch_size: int | None = None,
        gradient_checkpointing: bool = False,
    ) -> None:
        """What is None is the size's; patches are then smaller on grids that they do not divide, or that are small."""
        hyper = sized(SIZES, size, dim=dim, depth=depth, heads=heads)
        patch_size = fitting_patch_size(grid_shape, hyper.patch_size) if patch_size is None else patch_size
        check_positive("a ViT", dim=hyper.dim, depth=hyper.depth)
        check_patch_size(grid_shape, patch_size)
        check_heads(hyper.dim, hyper.heads)
        tokens, n_pairs = tokens_of(grid_shape, patch_size), hyper.dim // hyper.heads // 2
        super().__init__(
            in_channels,
            out_channels,
            grid_shape=grid_shape,
            periodic=periodic,
            condition_features=condition_features,
            dim=hyper.dim,
            depth=hyper.depth,
            heads=hyper.heads,
            patch_size=patch_size,
            reaches=[FullReach(tokens, periodic, n_pairs=n_pairs)],
            gradient_checkpointing=gradient_checkpointing,
        )
