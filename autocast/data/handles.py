"""HDF5 files kept open for reading: opening one costs ten times as much as reading a window."""

from __future__ import annotations

import os
from pathlib import Path

import h5py

from autocast.data.well_header import open_for_reading


class Handles:
    """At most `limit` open files with their data sets. A handle is never used in another process than its own."""

    def __init__(self, limit: int = 64):
        self.limit = limit
        self._reset()

    def dataset(self, file: Path, key: str) -> h5py.Dataset:
        if self._process != os.getpid():
            self._reset()
        if file not in self._files:
            self._open(file)
        datasets = self._datasets[file]
        if key not in datasets:
            datasets[key] = self._files[file][key]
        return datasets[key]

    def _open(self, file: Path) -> None:
        if len(self._files) >= self.limit:
            oldest = next(iter(self._files))
            del self._datasets[oldest]
            self._files.pop(oldest).close()
        self._files[file] = open_for_reading(file)
        self._datasets[file] = {}

    def _reset(self) -> None:
        """Forgets the handles of the process that this one was forked from; they are that process's to close."""
        self._process = os.getpid()
        self._files: dict[Path, h5py.File] = {}
        self._datasets: dict[Path, dict[str, h5py.Dataset]] = {}

    def __getstate__(self) -> dict[str, int]:
        return {"limit": self.limit}

    def __setstate__(self, state: dict[str, int]) -> None:
        self.__init__(**state)  # type: ignore[misc]
