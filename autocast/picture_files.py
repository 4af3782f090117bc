"""Which files of a directory are pictures, told by their names alone, so that a command line can ask."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".npy")
SPLIT_NAMES = {
    "train": ("train", "training"),
    "valid": ("valid", "val", "validation", "dev"),
    "test": ("test", "testing"),
}
"""What folders and lists of a split may be called; the first that is there is read."""
LISTS = tuple(f"{name}.txt" for names in SPLIT_NAMES.values() for name in names)
"""Tab-separated, with a header: a name for each case, and a column of files for each kind of picture."""
ENCODING = "utf-8-sig"
"""Of lists: with or without the mark that spreadsheets put first."""
SEPARATOR, CASE = "\t", "Case"
FIELD_FILES = ("data/*/*.h5", "data/*/*.hdf5", "*/data.pt", "*/data.h5")
"""A directory with one of these holds fields, whatever pictures lie beside them."""


def picture_files(directory: Path) -> Iterator[Path]:
    """All below `directory`, folder by folder, but hidden ones."""
    for folder, names, files in os.walk(directory):
        names[:] = sorted(name for name in names if not name.startswith("."))
        for file in sorted(files):
            if file.lower().endswith(SUFFIXES) and not file.startswith("."):
                yield Path(folder, file)


def is_list(file: Path) -> bool:
    """Whether a file begins as a list of pictures does: with names between tabs, of which the first is Case."""
    if not file.is_file():
        return False
    with file.open(encoding=ENCODING, errors="replace") as stream:
        first, *others = stream.readline(4096).split(SEPARATOR)
    return first.strip() == CASE and bool(others)


def holds_pictures(directory: Path) -> bool:
    """Whether pictures are what a directory is for."""
    if any(next(directory.glob(pattern), None) for pattern in FIELD_FILES):
        return False
    return any(is_list(directory / name) for name in LISTS) or next(picture_files(directory), None) is not None
