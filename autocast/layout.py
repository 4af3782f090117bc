"""The border between data (channels-last) and networks (channels-first): the only place where axes move."""

from __future__ import annotations

from einops import rearrange
from torch import Tensor


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


def merge_frames(x: Tensor) -> Tensor:
    """`(B, T, *S, C)` to `(B, 1, *S, T*C)`: all frames in the channels of one step."""
    return rearrange(x, "b t ... c -> b 1 ... (t c)")


def split_frames(x: Tensor, n_channels: int) -> Tensor:
    """`(B, T, *S, F*C)` to `(B, T*F, *S, C)`: the inverse of `merge_frames` for `n_channels` per frame."""
    return rearrange(x, "b t ... (f c) -> b (t f) ... c", c=n_channels)


def fold_members(x: Tensor) -> Tensor:
    """`(B, M, ...)` to `(B*M, ...)`."""
    return x.flatten(0, 1)


def unfold_members(x: Tensor, n_members: int) -> Tensor:
    """`(B*M, ...)` to `(B, M, ...)`."""
    return x.unflatten(0, (-1, n_members))


def space_axes(n_spatial_dims: int) -> tuple[int, ...]:
    """The spatial axes of channels-last tensors, as negative indices."""
    return tuple(range(-1 - n_spatial_dims, -1))
