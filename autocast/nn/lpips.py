"""LPIPS, a distance of images that follows how alike people find them, with the published names and shapes of weights.

References:
    | The Unreasonable Effectiveness of Deep Features as a Perceptual Metric (Zhang et al., 2018)
    | https://arxiv.org/abs/1801.03924
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn

from autocast.nn.vgg import VGG16, WIDTHS, vgg_layers

ENDS = (0, 4, 9, 16, 23, 30)
"""Where the slices of VGG16 begin and end: each ends with the last ReLU of a block."""
N_HALVINGS = 4
"""Of the grid, up to the last slice."""
SMALLEST = 1e-20
"""Added to the squared length of features, of which some have none."""


class Scaling(nn.Module):
    """The standardisation of images in [-1, 1]; published as constants and, in whole networks, as buffers."""

    def __init__(self) -> None:
        super().__init__()
        for name, values in scaling_constants().items():
            self.register_buffer(name, values)

    def forward(self, x: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n 3 h w"]:
        return (x - self.shift) / self.scale


def scaling_constants() -> dict[str, Float[Tensor, "1 3 1 1"]]:
    """Buffers of `Scaling`."""
    values = {"shift": (-0.030, -0.088, -0.188), "scale": (0.458, 0.448, 0.450)}
    return {name: torch.tensor(value, device="cpu").view(1, 3, 1, 1) for name, value in values.items()}


class Slices(nn.Module):
    """VGG16 in five pieces."""

    def __init__(self) -> None:
        super().__init__()
        layers = vgg_layers(VGG16)
        for number, (start, end) in enumerate(pairwise(ENDS), start=1):
            named = nn.Sequential()
            for index in range(start, end):
                named.add_module(str(index), layers[index])
            self.add_module(f"slice{number}", named)

    def forward(self, x: Float[Tensor, "n 3 h w"]) -> list[Float[Tensor, "n k hk wk"]]:
        found = []
        for piece in self.children():
            x = piece(x)
            found.append(x)
        return found


class Head(nn.Module):
    """A weight for every channel; where the published one has a dropout there is nothing."""

    def __init__(self, n_channels: int) -> None:
        super().__init__()
        self.model = nn.Sequential(nn.Identity(), nn.Conv2d(n_channels, 1, 1, bias=False))

    def forward(self, x: Float[Tensor, "n k h w"]) -> Float[Tensor, "n 1 h w"]:
        return self.model(x)


class LPIPS(nn.Module):
    """The distance of RGB images in [-1, 1]: squared differences of features of unit length, weighed by channel,
    averaged over the grid and summed over five layers."""

    def __init__(self) -> None:
        super().__init__()
        self.scaling_layer = Scaling()
        self.net = Slices()
        self.lin0, self.lin1, self.lin2, self.lin3, self.lin4 = (Head(width) for width in WIDTHS)

    def forward(self, x: Float[Tensor, "n 3 h w"], y: Float[Tensor, "n 3 h w"]) -> Float[Tensor, " n"]:
        heads = (self.lin0, self.lin1, self.lin2, self.lin3, self.lin4)
        pairs = zip(self.net(self.scaling_layer(x)), self.net(self.scaling_layer(y)), strict=True)
        distances = [
            head((_of_unit_length(a) - _of_unit_length(b)).square()).mean((1, 2, 3))
            for head, (a, b) in zip(heads, pairs, strict=True)
        ]
        return torch.stack(distances).sum(0)


def published_lpips(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors under the names of `LPIPS`: those of torchvision's VGG16 (`features.N.weight`) are renamed, and the
    constants are added where they are missing."""
    named = {f"scaling_layer.{name}": value for name, value in scaling_constants().items()}
    for name, value in tensors.items():
        part, _, rest = name.partition(".")
        index = rest.partition(".")[0]
        is_layer = part == "features" and index.isdigit() and int(index) < ENDS[-1]
        named[f"net.slice{_slice_of(int(index))}.{rest}" if is_layer else name] = value
    return named


def _slice_of(layer: int) -> int:
    return sum(start <= layer for start in ENDS)


def _of_unit_length(x: Float[Tensor, "n k h w"]) -> Float[Tensor, "n k h w"]:
    return x * torch.rsqrt(x.square().sum(1, keepdim=True) + SMALLEST)
