"""What processors expect of the network inside them."""

from __future__ import annotations

from abc import ABC, abstractmethod

from jaxtyping import Float
from torch import Tensor

from autocast.nn.compilation import Network


class Backbone(Network, ABC):
    """A network from images to images on the same grid, told of a vector.

    Constructors take `(in_channels, out_channels, *, grid_shape, periodic, condition_features, <hyper-parameters>)`: a
    configuration holds the hyper-parameters, the processor knows the rest. Among them are a `size`, which decides all
    that are None (`autocast.nn.sizes`), and `gradient_checkpointing`, which trades time for memory in training.
    """

    @abstractmethod
    def forward(self, x: Float[Tensor, "b ci *s"], condition: Float[Tensor, "b d"]) -> Float[Tensor, "b co *s"]:
        """Maps `x`, told of `condition`, whose D is `condition_features` and may be 0."""
