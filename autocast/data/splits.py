"""One way to open the trajectories of a data set, whatever its layout."""

from __future__ import annotations

from pathlib import Path

from autocast.data.headers import (
    PICTURES,
    SPLITS,
    DatasetHeader,
    describe,
    read_well_headers,
    torch_file,
    well_files,
)
from autocast.data.latents_file import LatentTrajectories
from autocast.data.latents_manifest import read_complete
from autocast.data.picture_trajectories import PictureTrajectories
from autocast.data.torch_folder import TorchTrajectories
from autocast.data.trajectories import Trajectories
from autocast.data.well import WellTrajectories, open_well_file
from autocast.errors import DataError


def open_split(data: str | Path | DatasetHeader, split: str) -> Trajectories:
    """The trajectories of `split` ("train", "valid" or "test") of a data set: its directory, or, where pictures are
    resized or of another column, its header."""
    path = data.path if isinstance(data, DatasetHeader) else Path(data)
    if well_files(path, split):
        return WellTrajectories(read_well_headers(path, split), dataset=path.name)
    if file := torch_file(path, split):
        return TorchTrajectories(path, file)
    if (latents := read_complete(path)) and split in latents.splits:
        return LatentTrajectories(latents.file(split), latents.latents)
    header = data if isinstance(data, DatasetHeader) else describe(path)
    if header.layout == PICTURES and header.spec is not None and split in header.splits:
        return PictureTrajectories(header.spec, header.splits[split].files)
    there = ", ".join(header.splits) or "none"
    raise DataError(f"data set {path}: has no split {split!r}. There are: {there}.")


def open_file(file: str | Path) -> Trajectories:
    """The trajectories of one file: HDF5 in The Well's layout, `data.pt` or `data.h5`."""
    file = Path(file)
    if not file.is_file():
        raise DataError(f"{file}: there is no such file.")
    if file.suffix == ".pt" or file.name == "data.h5":
        return TorchTrajectories(file.parent.parent if file.parent.name in SPLITS else file.parent, file)
    return open_well_file(file)
