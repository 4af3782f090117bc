"""The discriminator that judges patches: convolutions whose every output sees a part of the picture.

References:
    | Image-to-Image Translation with Conditional Adversarial Networks (Isola et al., 2016)
    | https://arxiv.org/abs/1611.07004
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from jaxtyping import Float
from torch import Tensor, nn

from autocast.errors import ConfigError
from autocast.nn.convolution import channels_last, wrap

KERNEL = 4
MOST_FACTOR = 8
"""Times `base_channels`, beyond which no layer has more channels."""
INITIAL_DEVIATION = 0.02
MOST_GROUPS = 16
_CONVOLUTIONS: dict[int, Callable[..., nn.Module]] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
_INSTANCE: dict[int, Callable[..., nn.Module]] = {1: nn.InstanceNorm1d, 2: nn.InstanceNorm2d, 3: nn.InstanceNorm3d}
_BATCH: dict[int, Callable[..., nn.Module]] = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
NORMS = ("instance", "batch", "group", "none")


def n_patches(n_points: int, n_layers: int, *, wraps: bool = False) -> int:
    """Outputs along an axis of `n_points`, periodic or not; less than 1 where there are too few points."""
    return _n_left(n_points, [*[2] * n_layers, 1, 1], wraps=wraps)


def _n_normed(n_points: int, n_layers: int, *, wraps: bool) -> int:
    """Points along an axis in the last layer with a norm, which has the fewest."""
    return _n_left(n_points, [*[2] * n_layers, 1], wraps=wraps)


def _n_left(n_points: int, strides: Sequence[int], *, wraps: bool) -> int:
    for stride in strides:
        n_points = n_points // stride if wraps else (n_points + 2 - KERNEL) // stride + 1
    return n_points


class PatchDiscriminator(nn.Module):
    """Images `(B, C, *S)` to one number for every patch, `(B, 1, *P)`: above 0 where it takes it for real.

    Periodic axes are continued periodically and have no edge, others with zeros.

    Args:
        in_channels: C
        grid_shape: S; one to three axes.
        periodic: Which axes are.
        n_layers: That halve the grid: one output sees 16, 34 or 70 points along every axis with 1, 2 or 3.
        base_channels: Of the first layer; every other has twice as many as the one before it, up to eight times these.
        norm: "instance" (without parameters), "batch", "group" or "none"; the first and the last layer have none.

    Raises:
        ConfigError: The grid is too small, or there is no such norm.
    """

    def __init__(
        self,
        in_channels: int,
        *,
        grid_shape: tuple[int, ...],
        periodic: tuple[bool, ...],
        n_layers: int = 3,
        base_channels: int = 64,
        norm: str = "instance",
    ) -> None:
        super().__init__()
        if norm not in NORMS or n_layers < 1 or base_channels < 1:
            raise ConfigError(
                f"the discriminator: n_layers={n_layers}, base_channels={base_channels}, norm={norm}: at least one "
                f"layer and one channel, and one of {', '.join(NORMS)} are wanted."
            )
        _check_grid(grid_shape, periodic, n_layers, norm)
        self._axes = tuple(axis + 2 for axis, wraps in enumerate(periodic) if wraps)
        widths = [base_channels * min(2**layer, MOST_FACTOR) for layer in range(n_layers + 1)]
        pairs = list(zip([in_channels, *widths], [*widths, 1], strict=True))
        self._strides = [*[2] * n_layers, 1, 1]
        normed = [False, *[True] * n_layers, False]
        padding = tuple(0 if wraps else 1 for wraps in periodic)
        n_dims = len(periodic)
        self.convolutions = nn.ModuleList(
            _CONVOLUTIONS[n_dims](a, b, KERNEL, stride, padding, bias=not has_norm or norm in ("instance", "none"))
            for (a, b), stride, has_norm in zip(pairs, self._strides, normed, strict=True)
        )
        self.norms = nn.ModuleList(
            _norm(norm, b, n_dims) if has_norm else nn.Identity()
            for (_, b), has_norm in zip(pairs, normed, strict=True)
        )
        self.activation = nn.LeakyReLU(0.2)
        for convolution in self.convolutions:
            _initialise(convolution)

    @property
    def receptive_field(self) -> int:
        """Points along an axis that one output sees: 16, 34, 70, 142, 286 for 1 to 5 layers."""
        seen = 1
        for stride in reversed(self._strides):
            seen = (seen - 1) * stride + KERNEL
        return seen

    def forward(self, x: Float[Tensor, "b c *s"]) -> Float[Tensor, "b 1 *p"]:
        x = channels_last(x)
        last = len(self.convolutions) - 1
        for i, (convolution, norm) in enumerate(zip(self.convolutions, self.norms, strict=True)):
            x = norm(convolution(self._continued(x, stride=self._strides[i])))
            x = x if i == last else self.activation(x)
        return x

    def _continued(self, x: Tensor, stride: int) -> Tensor:
        """By 1 before and, where the grid is kept, 2 behind; else 1."""
        if stride > 1:
            return wrap(x, self._axes, 1)
        x = wrap(x, self._axes, 2)
        for axis in self._axes:
            x = x.narrow(axis, 1, x.shape[axis] - 1)
        return x


def _check_grid(grid_shape: tuple[int, ...], periodic: tuple[bool, ...], n_layers: int, norm: str) -> None:
    """Raises ConfigError where no output is left of a grid, or a norm has a single point to look at."""
    axes = list(zip(grid_shape, periodic, strict=True))
    shown = " × ".join(map(str, grid_shape))
    if any(n_patches(n, n_layers, wraps=wraps) < 1 for n, wraps in axes):
        raise ConfigError(
            f"the discriminator: n_layers={n_layers}: it has no output for a grid of {shown}. Give fewer."
        )
    if norm in ("instance", "batch") and all(_n_normed(n, n_layers, wraps=wraps) < 2 for n, wraps in axes):
        raise ConfigError(
            f"the discriminator: n_layers={n_layers}, norm={norm}: of a grid of {shown} a single point is left, which "
            "cannot be normalised. Give fewer layers, or norm=group."
        )


def _norm(norm: str, channels: int, n_dims: int) -> nn.Module:
    if norm == "group":
        return nn.GroupNorm(math.gcd(MOST_GROUPS, channels // 2), channels)  # of two channels at least
    kinds = {"instance": _INSTANCE, "batch": _BATCH}
    return kinds[norm][n_dims](channels) if norm in kinds else nn.Identity()


def _initialise(convolution: nn.Module) -> None:
    assert isinstance(convolution, nn.Conv1d | nn.Conv2d | nn.Conv3d)
    nn.init.normal_(convolution.weight, std=INITIAL_DEVIATION)
    if convolution.bias is not None:
        nn.init.zeros_(convolution.bias)
