"""Attention within windows of a grid, which every second time lie half a window further on."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from autocast.errors import ConfigError
from autocast.nn.attention import Attention, Reach, rotary_angles


class WindowReach(Reach):
    """Every point attends to the points of its window.

    Shifted windows wrap around on periodic axes, with a shift that puts no border where the others have one. On the
    other axes the last of them holds what is left at both ends, and a mask keeps the ends apart. Where windows do not
    divide an axis, the last one is smaller. An axis of a single window is not shifted, and if it is periodic, places on
    it are those on a circle.

    References:
        | Swin Transformer: Hierarchical Vision Transformer using Shifted Windows (Liu et al., 2021)
        | https://arxiv.org/abs/2103.14030
    """

    cosines: Tensor
    sines: Tensor
    mask: Tensor | None
    """`(windows, 1, points, points)`: who may see whom; None where that is everyone."""

    def __init__(
        self,
        grid_shape: tuple[int, ...],
        periodic: tuple[bool, ...],
        *,
        n_pairs: int,
        window_size: int,
        shifted: bool,
    ) -> None:
        """`n_pairs` is half of the features of a head.

        Raises:
            ConfigError: No shift joins the ends of a periodic axis.
        """
        super().__init__()
        self._grid_shape = grid_shape
        self._window = tuple(min(window_size, n) for n in grid_shape)
        self._n_windows = tuple(-(-n // w) for n, w in zip(grid_shape, self._window, strict=True))
        axes = zip(grid_shape, self._window, self._n_windows, periodic, strict=True)
        self._shifts = tuple(_shift(n, w, wraps) if shifted and k > 1 else 0 for n, w, k, wraps in axes)
        circles = tuple(wraps and k == 1 for wraps, k in zip(periodic, self._n_windows, strict=True))
        angles = rotary_angles(self._window, circles, n_pairs)
        self.register_buffer("cosines", angles.cos(), persistent=False)
        self.register_buffer("sines", angles.sin(), persistent=False)
        self.register_buffer("mask", self._mask(periodic), persistent=False)

    def forward(self, attention: Attention, x: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
        mask = None if self.mask is None else self.mask.repeat(x.shape[0], 1, 1, 1)
        return self.join(attention(self.split(x), self.cosines, self.sines, mask), x.shape[0])

    def split(self, x: Float[Tensor, "b n d"]) -> Float[Tensor, "bk w d"]:
        """The points of each window, all windows of a row one after the other; what is missing is 0."""
        axes = range(1, 1 + len(self._grid_shape))
        x = x.unflatten(1, self._grid_shape)
        if any(self._shifts):
            x = x.roll([-shift for shift in self._shifts], list(axes))
        missing = [k * w - n for k, w, n in zip(self._n_windows, self._window, self._grid_shape, strict=True)]
        if any(missing):
            x = F.pad(x, (0, 0, *(number for m in reversed(missing) for number in (0, m))))
        for axis in reversed(axes):
            x = x.unflatten(axis, (-1, self._window[axis - 1]))
        x = x.permute(0, *(2 * axis - 1 for axis in axes), *(2 * axis for axis in axes), -1)
        return x.flatten(0, len(axes)).flatten(1, len(axes))

    def join(self, windows: Float[Tensor, "bk w d"], n_rows: int) -> Float[Tensor, "b n d"]:
        """The inverse of `split`."""
        n_axes = len(self._grid_shape)
        x = windows.reshape(n_rows, *self._n_windows, *self._window, -1)
        x = x.permute(0, *(axis for i in range(1, 1 + n_axes) for axis in (i, i + n_axes)), -1)
        for axis in range(1, 1 + n_axes):
            x = x.flatten(axis, axis + 1).narrow(axis, 0, self._grid_shape[axis - 1])
        if any(self._shifts):
            x = x.roll(self._shifts, list(range(1, 1 + n_axes)))
        return x.flatten(1, n_axes)

    def _mask(self, periodic: tuple[bool, ...]) -> Bool[Tensor, "k 1 w w"] | None:
        """Points see each other if they carry the same label: parts that a shift has put together carry different
        ones, and what is missing in the last windows carries 0."""
        joined = [axis for axis, wraps in enumerate(periodic) if self._shifts[axis] and not wraps]
        if not joined and all(n % w == 0 for n, w in zip(self._grid_shape, self._window, strict=True)):
            return None
        labels = torch.ones(self._grid_shape)
        for axis in joined:
            labels.movedim(axis, 0)[: self._shifts[axis]] += 2**axis
        labels = self.split(labels.reshape(1, -1, 1))
        return (labels == labels.transpose(1, 2))[:, None]


def _shift(n: int, window: int, wraps: bool) -> int:
    """How far windows are shifted along an axis of `n` points: about half of one. On a periodic axis the shifted
    windows have borders at `n - shift` modulo `window`; one at 0 would part the ends in all blocks."""
    shifts = [shift for shift in range(1, window) if not wraps or shift != n % window]
    if not shifts:
        raise ConfigError(
            f"backbone.window_size={window}: windows of {window} patches cannot join the ends of a periodic axis of {n}"
            " patches. Choose another window_size or patch_size."
        )
    return min(shifts, key=lambda shift: abs(shift - window // 2))
