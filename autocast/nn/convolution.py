"""Convolutions over one to three axes, each of them periodic or not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

_CONVOLUTIONS: dict[int, Callable[..., nn.Module]] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
_TRANSPOSED: dict[int, Callable[..., nn.Module]] = {
    1: nn.ConvTranspose1d,
    2: nn.ConvTranspose2d,
    3: nn.ConvTranspose3d,
}
_MEMORY_FORMATS = {3: torch.contiguous_format, 4: torch.channels_last, 5: torch.contiguous_format}


class _Wrap(torch.autograd.Function):
    """Adds the `width` opposite entries to both ends of the given axes.

    `F.pad(mode="circular")` and autograd's own derivative of `cat` do the same, but the first loses the memory format
    and the second fills whole tensors with zeros: up to a fifth of a training step of a small network on a CPU.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, axes: tuple[int, ...], width: int) -> Tensor:
        ctx.axes, ctx.width = axes, width
        for axis in axes:
            n = x.shape[axis]
            x = torch.cat([x.narrow(axis, n - width, width), x, x.narrow(axis, 0, width)], dim=axis)
        return x

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        gradient, width = gradients[0].clone(), ctx.width
        for axis in reversed(ctx.axes):
            n = gradient.shape[axis] - 2 * width
            gradient.narrow(axis, n, width).add_(gradient.narrow(axis, 0, width))
            gradient.narrow(axis, width, width).add_(gradient.narrow(axis, n + width, width))
            gradient = gradient.narrow(axis, width, n)
        return gradient, None, None


def wrap(x: Float[Tensor, "b c *s"], axes: tuple[int, ...], width: int) -> Float[Tensor, "b c *sw"]:
    """`x` with its periodic axes continued by `width` points on both sides, several times around if need be."""
    if not axes or not width:
        return x
    if all(x.shape[axis] >= width for axis in axes):
        return _Wrap.apply(x, axes, width)
    for axis in axes:
        n = x.shape[axis]
        x = x.index_select(axis, torch.arange(-width, n + width, device=x.device) % n)
    return x


class Convolution(nn.Module):
    """A convolution that keeps the grid (or, with a stride, divides it, rounding up).

    Periodic axes are continued periodically, the others with zeros, from which the network also learns where the
    boundary is. `channels_last` tensors stay in that format.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 3,
        *,
        periodic: tuple[bool, ...],
        stride: int = 1,
        groups: int = 1,
        gain: float = 1.0,
    ) -> None:
        """`gain` scales the initial weights, and a `gain` other than 1 starts without an offset."""
        super().__init__()
        self._width = kernel_size // 2
        self._axes = tuple(axis + 2 for axis, wraps in enumerate(periodic) if wraps)
        padding = tuple(0 if wraps else self._width for wraps in periodic)
        self.convolution = _CONVOLUTIONS[len(periodic)](
            in_channels, out_channels, kernel_size, stride, padding, groups=groups
        )
        if gain != 1.0:
            with torch.no_grad():
                self.convolution.weight.mul_(gain)
                self.convolution.bias.zero_()

    @property
    def weight(self) -> nn.Parameter:
        weight = self.convolution.weight
        assert isinstance(weight, nn.Parameter)
        return weight

    def forward(self, x: Float[Tensor, "b ci *s"]) -> Float[Tensor, "b co *so"]:
        return self.convolution(wrap(x, self._axes, self._width))


class Halving(nn.Module):
    """A linear map of each pair of points along every axis; an odd axis is continued by one point."""

    def __init__(self, in_channels: int, out_channels: int, *, periodic: tuple[bool, ...]) -> None:
        super().__init__()
        self._periodic = periodic
        self.convolution = _CONVOLUTIONS[len(periodic)](in_channels, out_channels, 2, 2)

    def forward(self, x: Float[Tensor, "b ci *s"]) -> Float[Tensor, "b co *sh"]:
        for axis, wraps in enumerate(self._periodic, start=2):
            if x.shape[axis] % 2:
                first = x.narrow(axis, 0, 1)
                x = torch.cat([x, first if wraps else torch.zeros_like(first)], dim=axis)
        return self.convolution(x)


class Doubling(nn.Module):
    """A linear map of each point to a pair along every axis, cut to a given grid: the way back of `Halving`."""

    def __init__(self, in_channels: int, out_channels: int, *, n_axes: int) -> None:
        super().__init__()
        self.convolution = _TRANSPOSED[n_axes](in_channels, out_channels, 2, 2)

    def forward(self, x: Float[Tensor, "b ci *sh"], grid_shape: tuple[int, ...]) -> Float[Tensor, "b co *s"]:
        x = self.convolution(x)
        for axis, n in enumerate(grid_shape, start=2):
            x = x.narrow(axis, 0, n)
        return x


def channels_last(x: Float[Tensor, "b c *s"]) -> Float[Tensor, "b c *s"]:
    """`x` in the memory format that convolutions are fastest in; nothing is copied if it is in that already."""
    return x.contiguous(memory_format=_MEMORY_FORMATS[x.ndim])


def resize(x: Float[Tensor, "b c *s"], grid_shape: tuple[int, ...]) -> Float[Tensor, "b c *so"]:
    """The nearest values of `x` on another grid: plain repetition where the new grid is a multiple of the old."""
    return F.interpolate(x, size=grid_shape, mode="nearest")
