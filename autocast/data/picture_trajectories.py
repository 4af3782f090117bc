"""Pictures as trajectories: each is a field of one step, read from its file when it is wanted."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from autocast.data.pictures import PictureError, read_picture, resize
from autocast.data.trajectories import Trajectories
from autocast.errors import DataError
from autocast.types import FieldSpec


class PictureTrajectories(Trajectories):
    """The pictures of one split, in the size that `spec` says."""

    def __init__(self, spec: FieldSpec, files: Sequence[Path]):
        self.spec = spec
        self.files = tuple(files)
        self.n_trajectories = len(self.files)
        self.field_orders = tuple((name, 0) for name in spec.channel_names)

    def n_steps(self, i: int) -> int:  # noqa: ARG002
        return 1

    def read(self, i: int, start: int, stop: int, stride: int = 1) -> np.ndarray:
        self.check_range(i, start, stop, stride)
        height, width = self.spec.grid_shape
        try:
            picture = read_picture(self.files[i])
        except PictureError as error:
            raise DataError(f"data set {self.spec.dataset_name}: {self.files[i]}: damaged: {error}.") from error
        return (picture if picture.shape[:2] == (height, width) else resize(picture, (height, width)))[None]

    def scalars(self, i: int) -> np.ndarray:  # noqa: ARG002
        return np.empty(0, np.float32)

    def constant_fields(self, i: int) -> None:  # noqa: ARG002
        return None

    def name(self, i: int) -> str:
        return str(self.files[i])
