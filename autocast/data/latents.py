"""A cache of latents as training uses it: the data module of fields, over encoded frames."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from autocast.data.augmentations import RandomSymmetry
from autocast.data.datamodule import Augmentation, FieldDataModule
from autocast.data.latents_manifest import AGAIN, LatentsManifest, check_latents, read_complete
from autocast.data.statistics import Statistics
from autocast.errors import DataError
from autocast.types import Batch, FieldSpec, LatentBatch

OF_FIELDS = {"normalisation": "zscore", "size": None, "column": None}
"""Settings that say how fields are read, with what they are for latents."""


class LatentDataModule(FieldDataModule):
    """Batches of windows of latents, with the windows, the order and the options of the fields' data module.

    Its spec, statistics and normaliser are the latents'. Of the fields' augmentation it keeps what encoders commute
    with: shifts along periodic axes, by whole points of the coarse grid.

    Args:
        data_path: Directory of the cache.
        checkpoint_sha256: Of the autoencoder that the latents are to be used with.
        data_digest: Of the data set that they are to be used for.
        augment: That of the fields.
        settings: Those of `FieldDataModule`; latents are always z-scored, whatever `normalisation` fields have,
            and were encoded from pictures of whatever size.

    Raises:
        CheckpointError: The cache is of another encoder.
        DataError: There is none, it is not complete, or it is of other data.
    """

    batch_type: type[Batch] = LatentBatch

    def __init__(
        self,
        data_path: str | Path,
        *,
        checkpoint_sha256: str,
        data_digest: str,
        augment: Callable[[FieldSpec], Augmentation] | None = None,
        **settings: Any,
    ):
        self.manifest = _open(data_path)
        check_latents(self.manifest, checkpoint_sha256=checkpoint_sha256, data_digest=data_digest)
        super().__init__(data_path, augment=augment, **(settings | OF_FIELDS))

    @cached_property
    def augmentation(self) -> Augmentation | None:
        """The part of the fields' augmentation that may be done after encoding."""
        symmetry = None if self._augment is None else self._augment(self.manifest.fields)
        return RandomSymmetry(self.spec) if isinstance(symmetry, RandomSymmetry) and symmetry.roll else None

    @cached_property
    def statistics(self) -> Statistics:
        """Of the whole training split, measured when the cache was made."""
        measured = self.manifest.statistics or {}
        values: dict[str, Any] = {k: np.array(v) if isinstance(v, list) else v for k, v in measured.items()}
        return Statistics(**values)


def _open(directory: str | Path) -> LatentsManifest:
    manifest = read_complete(directory)
    if manifest is None:
        raise DataError(f"latents {directory}: there is no cache of latents. {AGAIN}")
    return manifest
