"""The border between data (channels-last) and networks (channels-first): the only place where axes move."""

from __future__ import annotations

from typing import Any

from einops import rearrange
from torch import Tensor, nn


def frames_to_images(x: Tensor) -> Tensor:
    """`(B, T, *S, C)` to `(B*T, C, *S)`: every frame an image. A view in torch's `channels_last` memory format."""
    return x.flatten(0, 1).movedim(-1, 1)


def images_to_frames(x: Tensor, n_steps: int) -> Tensor:
    """`(B*T, C, *S)` to `(B, T, *S, C)`."""
    return x.movedim(1, -1).unflatten(0, (-1, n_steps))


def steps_to_channels(x: Tensor) -> Tensor:
    """`(B, T, *S, C)` to `(B, T*C, *S)`: steps stacked as channels, the channel running fastest."""
    return rearrange(x, "b t ... c -> b (t c) ...")


def channels_to_steps(x: Tensor, n_steps: int) -> Tensor:
    """`(B, T*C, *S)` to `(B, T, *S, C)`: the inverse of `steps_to_channels`."""
    return rearrange(x, "b (t c) ... -> b t ... c", t=n_steps)


def merge_frames(x: Tensor, n_steps: int = 1) -> Tensor:
    """`(B, n_steps*F, *S, C)` to `(B, n_steps, *S, F*C)`: frames in the channels of a step; by default all in one."""
    return rearrange(x, "b (t f) ... c -> b t ... (f c)", t=n_steps)


def split_frames(x: Tensor, n_channels: int) -> Tensor:
    """`(B, T, *S, F*C)` to `(B, T*F, *S, C)`: the inverse of `merge_frames` for `n_channels` per frame."""
    return rearrange(x, "b t ... (f c) -> b (t f) ... c", c=n_channels)


def fold_members(x: Tensor) -> Tensor:
    """`(B, M, ...)` to `(B*M, ...)`."""
    return x.flatten(0, 1)


def unfold_members(x: Tensor, n_members: int) -> Tensor:
    """`(B*M, ...)` to `(B, M, ...)`."""
    return x.unflatten(0, (-1, n_members))


def average_onto(fields: Tensor, grid_shape: tuple[int, ...]) -> Tensor:
    """`(B, *S, C)` averaged onto a coarser grid, `(B, *S', C)`."""
    if tuple(fields.shape[1:-1]) == tuple(grid_shape):
        return fields
    pool: tuple[Any, ...] = (
        nn.functional.adaptive_avg_pool1d,
        nn.functional.adaptive_avg_pool2d,
        nn.functional.adaptive_avg_pool3d,
    )
    return pool[len(grid_shape) - 1](fields.movedim(-1, 1), grid_shape).movedim(1, -1)


def space_axes(n_spatial_dims: int) -> tuple[int, ...]:
    """The spatial axes of channels-last tensors, as negative indices."""
    return tuple(range(-1 - n_spatial_dims, -1))
