"""What travels between the parts: field specifications and batches.

Axis legend, used in every shape of the package:

| axis | meaning |
|---|---|
| B | batch |
| M | member of an ensemble |
| T (Ti, To) | step (of the input, of the output) |
| W H D | space; `*S` is all of it, one to three axes |
| C | channel |
| K | scalar: a constant of a trajectory |

Data are channels-last, `(B, T, *S, C)`; networks are channels-first (see `autocast.layout`). This module imports no
torch, so that a data set can be described without it.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from operator import itemgetter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

PERIODIC, WALL, OPEN = "periodic", "wall", "open"
PICTURE_DIMS = ("row", "column")
"""Axes of pictures: rows from the top, columns from the left."""


@dataclass(frozen=True)
class FieldSpec:
    """What a data set knows of itself, so that no size is ever typed into a config."""

    dataset_name: str
    channel_names: tuple[str, ...]
    units: tuple[str, ...]
    """One unit per channel; "" is dimensionless or unknown."""
    dim_names: tuple[str, ...]
    grid_shape: tuple[int, ...]
    extent: tuple[float, ...]
    """Physical length of each spatial axis; of a periodic axis the whole period."""
    boundary: tuple[str, ...]
    """"periodic", "wall" or "open" for each spatial axis."""
    time_step: float
    """Physical time between two consecutive frames."""
    scalar_names: tuple[str, ...] = ()
    constant_field_names: tuple[str, ...] = ()

    @property
    def n_channels(self) -> int:
        return len(self.channel_names)

    @property
    def n_spatial_dims(self) -> int:
        return len(self.grid_shape)

    @property
    def is_picture(self) -> bool:
        """Whether its fields are pictures, `(H, W)` and upright, and not planes of x and y."""
        return self.dim_names == PICTURE_DIMS

    @property
    def periodic(self) -> tuple[bool, ...]:
        return tuple(kind == PERIODIC for kind in self.boundary)

    @property
    def n_scalars(self) -> int:
        return len(self.scalar_names)

    @property
    def n_constant_fields(self) -> int:
        return len(self.constant_field_names)

    def to_dict(self) -> dict[str, Any]:
        """Plain lists, strings and numbers, as YAML, JSON and `weights_only` checkpoints want them."""
        return {key: list(v) if isinstance(v, tuple) else v for key, v in dataclasses.asdict(self).items()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> FieldSpec:
        frozen: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in values.items()}
        return cls(**frozen)


@dataclass(frozen=True)
class EncodedSpec:
    """What a processor knows of the tensors that it maps: encoded steps `(B, T, *S, C)` to encoded steps.

    An encoder may merge several frames into the channels of one encoded step; the channels of an encoded step are then
    `(frame channel)` with the channel running fastest, so the last `n_channels` of the last step are the last frame.
    """

    n_channels: int
    """Channels of one encoded frame."""
    n_steps_input: int
    """Encoded steps of the input."""
    n_steps_output: int
    grid_shape: tuple[int, ...]
    periodic: tuple[bool, ...]
    n_frames_input: int = 1
    """Frames merged in the channels of one encoded input step."""
    n_frames_output: int = 1
    n_scalars: int = 0
    n_constant_channels: int = 0
    boundary: tuple[str, ...] = ()
    """The kind of each spatial axis, as in `FieldSpec`; empty where nobody knows."""

    @property
    def boundary_kinds(self) -> tuple[str, ...]:
        """The kinds of ends that the grid has; a periodic axis has none."""
        return tuple(kind for kind in (WALL, OPEN) if kind in self.boundary)

    @property
    def n_channels_input(self) -> int:
        return self.n_channels * self.n_frames_input

    @property
    def n_channels_output(self) -> int:
        return self.n_channels * self.n_frames_output

    @property
    def n_spatial_dims(self) -> int:
        return len(self.grid_shape)


@dataclass(frozen=True)
class Condition:
    """What is known of a trajectory beside its past: normalised scalars and constant fields."""

    scalars: Tensor | None = None
    """`(B, K)`"""
    fields: Tensor | None = None
    """`(B, *S, Cc)` on the processor's grid."""

    def repeat(self, n_members: int) -> Condition:
        """The condition of `n_members` members folded beside the batch: row b becomes rows b*M ... b*M + M - 1."""
        scalars, fields = (
            None if x is None else x.repeat_interleave(n_members, dim=0) for x in (self.scalars, self.fields)
        )
        return Condition(scalars, fields)

    def split(self, size: int, n_rows: int) -> list[Condition]:
        """The condition of `n_rows` rows in groups of at most `size` rows."""
        slices = [slice(first, first + size) for first in range(0, n_rows, size)]
        return [Condition(*(None if x is None else x[rows] for x in (self.scalars, self.fields))) for rows in slices]


@dataclass(frozen=True)
class Batch:
    """Windows of trajectories in physical units, channels-last."""

    input_fields: Tensor
    """`(B, Ti, *S, C)`"""
    output_fields: Tensor
    """`(B, To, *S, C)`"""
    scalars: Tensor | None = None
    """`(B, K)`"""
    constant_fields: Tensor | None = None
    """`(B, *S, Cc)`"""
    trajectory: Tensor | None = None
    """`(B,)` index of the trajectory in its split."""
    start: Tensor | None = None
    """`(B,)` index of the window's first frame in its trajectory."""

    @property
    def size(self) -> int:
        return self.input_fields.shape[0]

    def first_outputs(self, n_steps: int) -> Batch:
        """The batch with its first `n_steps` output steps only."""
        return dataclasses.replace(self, output_fields=self.output_fields[:, :n_steps])

    def split(self, size: int) -> list[Batch]:
        """The windows in groups of at most `size`."""
        slices = [slice(first, first + size) for first in range(0, self.size, size)]
        return [self.map(itemgetter(rows)) for rows in slices]

    def to(self, device: Any, non_blocking: bool = False) -> Batch:
        """All but `trajectory` and `start`, which name the windows: to read them never waits for a device."""
        moved = self.map(lambda x: x.to(device, non_blocking=non_blocking))
        return dataclasses.replace(moved, trajectory=self.trajectory, start=self.start)

    def pin_memory(self) -> Batch:
        """In memory that a GPU reads from directly; what is on a device already stays there."""
        return self.map(lambda x: x.pin_memory() if x.device.type == "cpu" else x)

    def map(self, function: Any) -> Batch:
        """A batch with `function` applied to each of its tensors."""
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        mapped: dict[str, Any] = {name: None if x is None else function(x) for name, x in values.items()}
        return type(self)(**mapped)


@dataclass(frozen=True)
class LatentBatch(Batch):
    """Windows of encoded frames as the autoencoder gives them, not normalised; constant fields are on their grid."""


@dataclass(frozen=True)
class EncodedBatch:
    """A batch as a processor sees it: encoded, normalised, channels-last."""

    inputs: Tensor
    """`(B, Ti', *S', Ci')`"""
    outputs: Tensor
    """`(B, To', *S', Co')`"""
    condition: Condition
