"""Random symmetries of the equations: shifts along periodic axes, reflections, exchanges of equal axes.

Input, output and constant fields of a sample are transformed alike. The components of vectors and tensors are found by
their names (`velocity_x, velocity_y`) and change sign or place with their axes. Pseudo-scalars (vorticity) and anything
that singles out a direction or a place (gravity, a mean flow) are not symmetric: choose what holds for the data.
"""

from __future__ import annotations

import dataclasses
import itertools

import torch
from torch import Tensor

from autocast.generative.noise import Noise
from autocast.types import Batch, FieldSpec


class RandomSymmetry:
    """One random symmetry per sample; what a sample gets does not depend on those beside it.

    Args:
        spec: The data set; its boundaries say along which axes a shift is a symmetry, its grid and extent which axes
            may be exchanged.
        roll: Shift along periodic axes by a whole number of grid points.
        flip: Reflect along each axis with probability 1/2.
        transpose: Exchange axes that have equal grids, extents and boundaries.
    """

    def __init__(
        self,
        spec: FieldSpec,
        *,
        roll: bool = True,
        flip: bool = False,
        transpose: bool = False,
    ):
        self.spec = spec
        self.roll = roll
        self.flip = flip
        self.permutations = _permutations(spec) if transpose else [tuple(range(spec.n_spatial_dims))]

    def __call__(self, batch: Batch, noise: Noise) -> Batch:
        """`noise` has a stream for each sample; its numbers are drawn on the CPU, so any device gets the same."""
        d, device = self.spec.n_spatial_dims, batch.input_fields.device
        # All numbers are drawn whatever the options, so that one option does not change what another one does.
        drawn = noise.uniform(2 * d + 1, like=torch.empty(0))
        flips = (drawn[:, :d] < 0.5) & self.flip
        sources = [self._sources(axis, flips[:, axis], drawn[:, d + axis]) for axis in range(d)]
        choice = _whole(drawn[:, -1], len(self.permutations))
        symmetry = _Symmetry(
            self.spec,
            _to(device, flips),
            [_to(device, source) for source in sources],
            [_to(device, choice == p) for p in range(len(self.permutations))],
            self.permutations,
        )
        names, constants = self.spec.channel_names, batch.constant_fields
        return dataclasses.replace(
            batch,
            input_fields=symmetry(batch.input_fields, names),
            output_fields=symmetry(batch.output_fields, names),
            constant_fields=(
                None if constants is None else symmetry(constants[:, None], self.spec.constant_field_names)[:, 0]
            ),
        )

    def _sources(self, axis: int, flip: Tensor, drawn: Tensor) -> Tensor:
        """For each point along `axis` the one that its value comes from: `(B, N)`."""
        n_points = self.spec.grid_shape[axis]
        points = torch.arange(n_points)
        sources = torch.where(flip[:, None], n_points - 1 - points, points)
        if not (self.roll and self.spec.periodic[axis]):
            return sources
        return (sources + _whole(drawn, n_points)[:, None]) % n_points


@dataclasses.dataclass(frozen=True)
class _Symmetry:
    """What was drawn, for each sample."""

    spec: FieldSpec
    flips: Tensor
    """`(B, d)`"""
    sources: list[Tensor]
    """For each axis `(B, N)`."""
    chosen: list[Tensor]
    """For each permutation `(B,)`: whether it is the sample's."""
    permutations: list[tuple[int, ...]]

    def __call__(self, x: Tensor, names: tuple[str, ...]) -> Tensor:
        """`(B, T, *S, C)` to the same."""
        components = _components(names, self.spec.dim_names)
        for axis, source in enumerate(self.sources):
            shape = [1] * x.ndim
            shape[0], shape[2 + axis] = source.shape
            x = torch.take_along_dim(x, source.view(shape), dim=2 + axis)
        if any(axes for _, axes in components):
            x = x * self._signs(components).view(-1, *[1] * (x.ndim - 2), len(names)).to(x)
        return self._exchange_axes(x, components)

    def _signs(self, components: list[tuple[str, tuple[int, ...]]]) -> Tensor:
        """`(B, C)`: a component changes sign with each reflected axis that it points along."""
        signs = 1 - 2 * self.flips.long()
        return torch.stack([signs[:, list(axes)].prod(dim=1) for _, axes in components], dim=1)

    def _exchange_axes(self, x: Tensor, components: list[tuple[str, tuple[int, ...]]]) -> Tensor:
        if len(self.permutations) == 1:
            return x
        out = x  # the first permutation changes nothing
        for chosen, permutation in zip(self.chosen[1:], self.permutations[1:], strict=True):
            channels = [components.index((base, tuple(permutation[a] for a in axes))) for base, axes in components]
            moved = x.permute(0, 1, *(2 + axis for axis in permutation), x.ndim - 1)
            if channels != sorted(channels):
                moved = moved[..., channels]
            out = torch.where(chosen.view(-1, *[1] * (x.ndim - 1)), moved, out)
        return out


def _to(device: torch.device, tensor: Tensor) -> Tensor:
    """Without waiting for a GPU."""
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


def _whole(drawn: Tensor, n: int) -> Tensor:
    """Numbers in [0, 1) as whole ones below `n`; in double precision, as the product may be rounded up to `n`."""
    return (drawn.double() * n).long()


def _permutations(spec: FieldSpec) -> list[tuple[int, ...]]:
    """All orders of the axes under which the domain looks the same; the identity is the first."""
    axes = list(zip(spec.grid_shape, spec.extent, spec.boundary, strict=True))
    orders = itertools.permutations(range(spec.n_spatial_dims))
    return [order for order in orders if [axes[a] for a in order] == axes]


def _components(names: tuple[str, ...], dim_names: tuple[str, ...]) -> list[tuple[str, tuple[int, ...]]]:
    """For each channel the field that it belongs to and the axes that it points along: `("velocity", (0,))`."""
    found: dict[str, tuple[str, tuple[int, ...]]] = {name: (name, ()) for name in names}
    for order, base in itertools.product((1, 2), {name.rpartition("_")[0] for name in names}):
        axes = list(itertools.product(range(len(dim_names)), repeat=order))
        members = {f"{base}_{''.join(dim_names[a] for a in each)}": each for each in axes}
        if base and all(name in found for name in members):
            found |= {name: (base, each) for name, each in members.items()}
    return list(found.values())
