"""Windowed vision transformer: patches that attend to each other within windows, every second time shifted ones."""

from __future__ import annotations

from dataclasses import dataclass

from autocast.errors import ConfigError
from autocast.nn.patches import PatchTransformer, check_heads, check_patch_size, fitting_patch_size, tokens_of
from autocast.nn.sizes import check_positive, sized
from autocast.nn.windows import WindowReach


@dataclass(frozen=True)
class Hyper:
    dim: int
    depth: int
    heads: int
    window_size: int
    patch_size: int = 4


SIZES = {
    "xs": Hyper(dim=64, depth=3, heads=2, window_size=4),
    "s": Hyper(dim=128, depth=4, heads=4, window_size=4),
    "m": Hyper(dim=256, depth=8, heads=4, window_size=8),
    "l": Hyper(dim=512, depth=16, heads=8, window_size=8),
    "xl": Hyper(dim=768, depth=24, heads=12, window_size=8),
}


class WindowedViT(PatchTransformer):
    """A transformer in which patches attend within windows of `window_size` patches along each axis.

    Its cost is proportional to the number of patches. On periodic axes that windows divide it commutes with shifts by
    whole windows.

    References:
        | Swin Transformer: Hierarchical Vision Transformer using Shifted Windows (Liu et al., 2021)
        | https://arxiv.org/abs/2103.14030
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
        window_size: int | None = None,
        gradient_checkpointing: bool = False,
    ) -> None:
        """What is None is the size's; patches are then smaller on grids that they do not divide, or that are small."""
        hyper = sized(SIZES, size, dim=dim, depth=depth, heads=heads, window_size=window_size)
        patch_size = fitting_patch_size(grid_shape, hyper.patch_size) if patch_size is None else patch_size
        check_positive("a windowed ViT", dim=hyper.dim, depth=hyper.depth)
        check_patch_size(grid_shape, patch_size)
        check_heads(hyper.dim, hyper.heads)
        tokens = tokens_of(grid_shape, patch_size)
        _check_windows(tokens, hyper.window_size, hyper.depth)
        reaches = [
            WindowReach(
                tokens,
                periodic,
                n_pairs=hyper.dim // hyper.heads // 2,
                window_size=hyper.window_size,
                shifted=shifted,
            )
            for shifted in (False, True)
        ]
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
            reaches=reaches,
            gradient_checkpointing=gradient_checkpointing,
        )


def _check_windows(tokens: tuple[int, ...], window_size: int, depth: int) -> None:
    if window_size < 2:
        raise ConfigError(f"backbone.window_size={window_size}: a window holds at least 2 patches along each axis.")
    if depth < 2 and window_size < max(tokens):
        raise ConfigError(
            f"backbone.depth={depth}: windows of {window_size} patches on {'x'.join(map(str, tokens))} patches need a "
            "second block, with shifted windows, to be connected. Set depth=2 or more."
        )
