"""The residual block of the convolutional networks."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from autocast.nn.conditioning import Modulation
from autocast.nn.convolution import Convolution


class GatedBlock(nn.Module):
    """`x + W (p * silu(q))` with `p, q = convolution(modulated norm of x)`.

    The norm is over all channels and points (one group), W acts point by point and starts small. Against the usual
    norm-convolution-SiLU-convolution block, the product lets small networks leave the best linear map, where those got
    stuck in five of six runs.
    """

    def __init__(
        self, channels: int, *, periodic: tuple[bool, ...], condition_features: int = 0, kernel_size: int = 3
    ) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(1, channels, affine=condition_features == 0)
        self.modulation = None
        if condition_features:
            self.modulation = Modulation(condition_features, channels, initial=(1.0, 0.0))
        self.gate = Convolution(channels, 2 * channels, kernel_size, periodic=periodic)
        self.out = Convolution(channels, channels, 1, periodic=periodic, gain=0.1)

    def forward(self, x: Float[Tensor, "b c *s"], condition: Float[Tensor, "b d"]) -> Float[Tensor, "b c *s"]:
        h = self.norm(x)
        if self.modulation is not None:
            scale, shift = (v.reshape(*v.shape, *[1] * (x.ndim - 2)) for v in self.modulation(condition))
            h = torch.addcmul(shift, h, scale)
        p, q = self.gate(h).chunk(2, dim=1)
        return x + self.out(p * F.silu(q))
