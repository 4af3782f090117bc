"""Features of convolutions with random weights: they know no pictures, so they suit any fields and any dimension.

References:
    | What does it take to generate natural textures? (Ustyuzhaninov et al., 2017)
    | https://openreview.net/forum?id=BJhZeLsxx
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from autocast.nn.convolution import Convolution

WIDTHS = (16, 32, 64, 64)
"""Channels of every level."""
COARSEST = 4
"""Points along every axis that a level still has, but for the first."""
_POOLINGS = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}


class RandomFeatures(nn.Module):
    """Two convolutions of three points with ReLUs at every level; between levels the grid is halved by averages.

    All channels go into the first convolution together. Periodic axes are continued periodically, so that features move
    with the fields. Weights are those of a seed, on every machine, and drawing them leaves all other random numbers
    alone.

    Args:
        in_channels: Of the images.
        grid_shape: Of the images: a level has at least four points along every axis, and there are at most four.
        periodic: For every axis.
        seed: Of the weights.
    """

    def __init__(
        self, in_channels: int, *, grid_shape: tuple[int, ...], periodic: tuple[bool, ...], seed: int = 0
    ) -> None:
        super().__init__()
        widths = WIDTHS[: n_levels(grid_shape)]
        with torch.device("meta"):
            self.levels = nn.ModuleList(
                nn.ModuleList(Convolution(n, width, 3, periodic=periodic) for n in (before, width))
                for before, width in zip((in_channels, *widths), widths, strict=False)
            )
        self.to_empty(device="cpu")
        generator = torch.Generator().manual_seed(seed)
        for parameter in self.parameters():
            with torch.no_grad():
                parameter.zero_() if parameter.ndim == 1 else _draw(parameter, generator)

    def forward(self, x: Float[Tensor, "n c *s"]) -> list[Float[Tensor, "n k *sk"]]:
        """From the finest level to the coarsest."""
        found: list[Tensor] = []
        for level in self.levels:
            if found:
                x = _POOLINGS[x.ndim - 2](x, 2, ceil_mode=True, count_include_pad=False)
            for convolution in level.children():
                x = F.relu(convolution(x))
            found.append(x)
        return found


def n_levels(grid_shape: tuple[int, ...]) -> int:
    """Of `RandomFeatures` on a grid."""
    halvings = int(math.log2(max(1.0, min(grid_shape) / COARSEST)))
    return min(len(WIDTHS), 1 + halvings)


def _draw(weight: Tensor, generator: torch.Generator) -> None:
    """Normal numbers that keep the size of what a ReLU follows."""
    weight.normal_(0.0, math.sqrt(2 / weight[0].numel()), generator=generator)
