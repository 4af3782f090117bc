"""The convolutions of VGG16 and VGG19, with the names and shapes of torchvision's published weights.

References:
    | Very Deep Convolutional Networks for Large-Scale Image Recognition (Simonyan & Zisserman, 2014)
    | https://arxiv.org/abs/1409.1556
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

VGG16, VGG19 = "vgg16", "vgg19"
WIDTHS = (64, 128, 256, 512, 512)
"""Channels of every block; a block ends with a halving of the grid."""
CONVOLUTIONS = {VGG16: (2, 2, 3, 3, 3), VGG19: (2, 2, 4, 4, 4)}
"""Of every block."""
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of the channels of ImageNet, in [0, 1]."""


def vgg_layers(name: str) -> list[nn.Module]:
    """Convolutions, ReLUs and poolings in their order: layer N is torchvision's `features.N`."""
    layers: list[nn.Module] = []
    before = 3
    for width, n_convolutions in zip(WIDTHS, CONVOLUTIONS[name], strict=True):
        for _ in range(n_convolutions):
            layers += [nn.Conv2d(before, width, 3, padding=1), nn.ReLU()]
            before = width
        layers.append(nn.MaxPool2d(2))
    return layers


def n_layers(name: str) -> int:
    """Of a network, counted as `vgg_layers` does."""
    return sum(2 * n + 1 for n in CONVOLUTIONS[name])


def n_halvings(name: str, layer: int) -> int:
    """How many times the grid is halved up to a layer."""
    ends = [sum(2 * n + 1 for n in CONVOLUTIONS[name][: block + 1]) - 1 for block in range(len(WIDTHS))]
    return sum(end <= layer for end in ends)


class VGG(nn.Module):
    """What some layers make of RGB images in [0, 1], which need no special size.

    Args:
        name: "vgg16" or "vgg19".
        layers: Indices of `features`; what lies behind the last is not there.
    """

    def __init__(self, name: str, layers: Sequence[int]) -> None:
        super().__init__()
        self.layers = tuple(sorted(layers))
        for statistic, values in (("mean", MEAN), ("std", STD)):
            constants = torch.tensor(values, device="cpu")[:, None, None]
            self.register_buffer(statistic, constants, persistent=False)  # not among what is published
        self.features = nn.Sequential(*vgg_layers(name)[: self.layers[-1] + 1])

    def forward(self, x: Float[Tensor, "n 3 h w"]) -> list[Float[Tensor, "n k hk wk"]]:
        """From the first layer to the last."""
        x = (x - self.mean) / self.std
        found = []
        for index, layer in enumerate(self.features):
            x = layer(x)
            if index in self.layers:
                found.append(x)
        return found
