"""A directory of pictures: which of them is in which split, and what they have in common.

Splits are folders or lists with names such as `train`, `val` and `test` (`SPLIT_NAMES`); of one folder for all a tenth
is drawn for validation and a tenth for tests. Where only the validation split is missing, a tenth of the training split
is held out for it. What is drawn depends on the names of the pictures alone, so that runs with any seed are compared on
the same ones.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from autocast.data.pictures import PictureError, PictureHeader, read_picture_header
from autocast.errors import ConfigError, DataError
from autocast.picture_files import ENCODING, SEPARATOR, SPLIT_NAMES, is_list, picture_files
from autocast.types import OPEN, PICTURE_DIMS, FieldSpec

HELD_OUT = 0.1
"""Share of the pictures that is drawn for a split."""
DRAW_SEED = 0
TARGET = "SDCT"
"""The column of a list that is read unless another is asked for."""
N_NAMED = 3
COLOURS = {1: ("intensity",), 3: ("red", "green", "blue")}


@dataclass(frozen=True)
class Entry:
    """A picture of a set."""

    key: str
    """What it is drawn by: its name within the set, in a list its case. Entries of one key stay together."""
    file: Path


@dataclass(frozen=True)
class PictureSet:
    path: Path
    splits: dict[str, tuple[Entry, ...]]
    others: tuple[Path, ...] = ()
    """Files of the other columns of a list."""
    notes: tuple[str, ...] = ()

    @property
    def files(self) -> list[Path]:
        return [entry.file for entries in self.splits.values() for entry in entries]


@dataclass(frozen=True)
class Survey:
    """What the headers of all pictures say together."""

    shape: tuple[int, int]
    n_channels: int
    n_resized: int
    notes: tuple[str, ...]

    def spec(self, dataset_name: str) -> FieldSpec:
        """A picture is a field of one step: spacing and time step are 1, boundaries open."""
        names = COLOURS.get(self.n_channels, tuple(f"channel_{c}" for c in range(self.n_channels)))
        return FieldSpec(
            dataset_name=dataset_name,
            channel_names=names,
            units=("",) * self.n_channels,
            dim_names=PICTURE_DIMS,
            grid_shape=self.shape,
            extent=(float(self.shape[0]), float(self.shape[1])),
            boundary=(OPEN, OPEN),
            time_step=1.0,
        )


def picture_size(size: int | Sequence[int] | None) -> tuple[int, int] | None:
    """Height and width that `datamodule.size` says.

    Raises:
        ConfigError: It says something else.
    """
    if size is None:
        return None
    sides = (size, size) if isinstance(size, int) else tuple(size)
    if len(sides) != 2 or min(sides) < 1:
        raise ConfigError(f"datamodule.size={size}: give height and width in pixels, one number for both, or null.")
    return sides


def find_pictures(path: Path, column: str | None = None) -> PictureSet | None:
    """The pictures of a directory by split, or None where there are none.

    Args:
        path: The directory.
        column: Of lists, the one whose files are read.

    Raises:
        DataError: A list has no such column or names files that are not there, lists share cases, or nothing is left
            to draw from.
    """
    lists = {split: file for split in SPLIT_NAMES if (file := _list_of(path, split))}
    if lists:
        return _from_lists(path, lists, column or TARGET)
    check_no_column(path, column)
    folders = {split: entries for split in SPLIT_NAMES if (entries := _folder_of(path, split))}
    if folders:
        return _with_validation(PictureSet(path, folders, notes=_beside(path, folders)))
    entries = _entries(path, path)
    return _drawn(path, entries) if entries else None


def check_no_column(path: Path, column: str | None) -> None:
    """Raises `DataError` where a column is asked for of a data set without lists."""
    if column is not None:
        raise DataError(
            f"datamodule.column={column}: chooses among the columns of lists of pictures, and data set {path} has no "
            "list train.txt. Leave it null."
        )


def survey(pictures: PictureSet, size: tuple[int, int] | None = None) -> Survey:
    """Looks at the header of every picture.

    Args:
        pictures: The set.
        size: Height and width that pictures of others are resized to.

    Raises:
        DataError: Some cannot be read, or they differ in channels or, without `size`, in size: all in one message.
    """
    headers, unreadable = _read_headers(pictures.files)
    shapes = {file: header.shape for file, header in headers.items()}
    channels = {file: header.n_channels for file, header in headers.items()}
    problems = [f"{_named(files, pictures.path)}: {reason}." for reason, files in unreadable.items()]
    if len(set(channels.values())) > 1:
        kinds = _kinds({file: f"{n} channel{'s' * (n > 1)}" for file, n in channels.items()}, pictures.path)
        problems.append(f"channels differ: {kinds}. Make all grey or all colour.")
    if size is None and len(set(shapes.values())) > 1:
        kinds = _kinds({file: _size_text(shape) for file, shape in shapes.items()}, pictures.path)
        problems.append(
            f"sizes (height × width) differ: {kinds}. Set datamodule.size=[HEIGHT,WIDTH] to resize them "
            "(--size of 'autocast data inspect')."
        )
    if problems:
        listed = "".join(f"\n  {problem}" for problem in problems)
        raise DataError(f"data set {pictures.path}: its pictures cannot be read as one set:{listed}")
    shape, n_alpha = size or next(iter(shapes.values())), sum(header.has_alpha for header in headers.values())
    n_resized, n = sum(found != shape for found in shapes.values()), len(shapes)
    notes = list(pictures.notes)
    notes += [f"{n_resized} of {n} pictures are resized to {_size_text(shape)}"] if n_resized else []
    notes += [f"{n_alpha} of {n} pictures have an alpha channel, which is dropped"] if n_alpha else []
    return Survey(shape, next(iter(channels.values())), n_resized, tuple(notes))


def _read_headers(files: Sequence[Path]) -> tuple[dict[Path, PictureHeader], dict[str, list[Path]]]:
    """The headers of the pictures, and the files that cannot be read by the reason."""
    headers: dict[Path, PictureHeader] = {}
    unreadable: dict[str, list[Path]] = defaultdict(list)
    for file in files:
        try:
            headers[file] = read_picture_header(file)
        except PictureError as error:
            unreadable[str(error).replace(str(file), "the file").rstrip(".")].append(file)
    return headers, unreadable


def _kinds(kinds: Mapping[Path, str], root: Path) -> str:
    """How many pictures there are of each kind, the rarest with names."""
    counts = Counter(kinds.values()).most_common()
    rarest = [file for file, kind in kinds.items() if kind == counts[-1][0]]
    return ", ".join(f"{n} of {kind}" for kind, n in counts) + f" ({_named(rarest, root)})"


def _named(files: Sequence[Path], root: Path) -> str:
    """The first of some files by name, and how many there are beside them."""
    return _first([name_within(root, file) for file in files])


def _first(names: Sequence[str]) -> str:
    return ", ".join(names[:N_NAMED]) + (f" and {len(names) - N_NAMED} more" if len(names) > N_NAMED else "")


def name_within(root: Path, file: Path) -> str:
    """A file's path from the directory of its set; as it is where it lies elsewhere."""
    return file.relative_to(root).as_posix() if file.is_relative_to(root) else str(file)


def _size_text(shape: tuple[int, int]) -> str:
    return f"{shape[0]} × {shape[1]}"


def _folder_of(path: Path, split: str) -> tuple[Entry, ...]:
    folders = (_entries(path, path / name) for name in SPLIT_NAMES[split])
    return next((entries for entries in folders if entries), ())


def _beside(path: Path, folders: Mapping[str, Sequence[Entry]]) -> tuple[str, ...]:
    """A note of the folders with pictures that lie beside those of the splits."""
    read = {PurePosixPath(entries[0].key).parts[0] for entries in folders.values()}
    others = sorted(folder for folder in path.iterdir() if folder.name not in read and not folder.name.startswith("."))
    left = [f"{folder.name} ({n})" for folder in others if (n := sum(1 for _ in picture_files(folder)))]
    return (f"not read are the pictures in folders beside those of the splits: {', '.join(left)}",) if left else ()


def _entries(root: Path, folder: Path) -> tuple[Entry, ...]:
    return tuple(Entry(name_within(root, file), file) for file in picture_files(folder))


def _list_of(path: Path, split: str) -> Path | None:
    files = (path / f"{name}.txt" for name in SPLIT_NAMES[split])
    return next((file for file in files if is_list(file)), None)


def _from_lists(path: Path, lists: Mapping[str, Path], column: str) -> PictureSet:
    splits: dict[str, tuple[Entry, ...]] = {}
    others: list[Path] = []
    for split, file in lists.items():
        names, rows = _read_list(file)
        if column not in names[1:]:
            raise DataError(
                f"{file}: has no column {column!r}. Set datamodule.column (--column of 'autocast data inspect') to one "
                f"of {', '.join(names[1:])}."
            )
        place = names.index(column)
        splits[split] = tuple(Entry(row[0], path / row[place]) for row in rows)
        others += [path / cell for row in rows for c, cell in enumerate(row) if c not in (0, place)]
    missing = [entry.file for entries in splits.values() for entry in entries if not entry.file.is_file()]
    if missing:
        raise DataError(f"data set {path}: {len(missing)} files of its lists are not there: {_named(missing, path)}.")
    _check_cases(path, lists, splits)
    return _with_validation(PictureSet(path, splits, others=tuple(file for file in others if file.is_file())))


def _check_cases(path: Path, lists: Mapping[str, Path], splits: Mapping[str, Sequence[Entry]]) -> None:
    """Raises `DataError` where a case is in several lists: what is scored would have been trained on."""
    counts = Counter(case for entries in splits.values() for case in {entry.key for entry in entries})
    if shared := sorted(case for case, n in counts.items() if n > 1):
        files = ", ".join(file.name for file in lists.values())
        raise DataError(
            f"data set {path}: in several of {files}: {_first(shared)}. What is trained on would be scored. Leave all "
            "rows of a case in one list; cases that only share a name need names of their own."
        )


def _read_list(file: Path) -> tuple[list[str], list[list[str]]]:
    """The names of the columns, and the cells of each case."""
    lines = file.read_text(encoding=ENCODING).splitlines()
    names, *rows = ([cell.strip() for cell in line.split(SEPARATOR)] for line in lines if line.strip())
    short = [row[0] for row in rows if len(row) != len(names)]
    if short or not rows:
        found = f"the row of {short[0]!r} has other columns" if short else "has no case"
        raise DataError(f"{file}: {found}. Expected {len(names)} columns between tabs: {', '.join(names)}.")
    return names, rows


def _with_validation(pictures: PictureSet) -> PictureSet:
    """The set with a part of its training split as validation split, if it has none."""
    if "valid" in pictures.splits or "train" not in pictures.splits:
        return pictures
    train, valid = _draw(pictures.path, pictures.splits["train"], "valid")
    note = f"no validation split: {len(valid)} of {len(train) + len(valid)} training pictures are held out for it"
    splits = {"train": train, "valid": valid, **{k: v for k, v in pictures.splits.items() if k != "train"}}
    return PictureSet(pictures.path, splits, pictures.others, (*pictures.notes, note))


def _drawn(path: Path, entries: Sequence[Entry]) -> PictureSet:
    """All splits out of one folder."""
    rest, test = _draw(path, entries, "test")
    train, valid = _draw(path, rest, "valid", share=HELD_OUT / (1 - HELD_OUT))
    counts = f"{len(train)}, {len(valid)} and {len(test)}"
    return PictureSet(
        path,
        {"train": train, "valid": valid, "test": test},
        notes=(f"no folders train, valid and test: {counts} pictures are drawn for them",),
    )


def _draw(
    path: Path, entries: Sequence[Entry], split: str, share: float = HELD_OUT
) -> tuple[tuple[Entry, ...], tuple[Entry, ...]]:
    """Entries without those drawn for a split, and these; at least one key on either side.

    Raises:
        DataError: All have one key.
    """
    keys = sorted({entry.key for entry in entries}, key=lambda key: _lot(split, key))
    if len(keys) < 2:
        raise DataError(f"data set {path}: too few pictures to draw a {split} split from. Give it one of its own.")
    drawn = set(keys[: max(1, round(share * len(keys)))])
    return (
        tuple(entry for entry in entries if entry.key not in drawn),
        tuple(entry for entry in entries if entry.key in drawn),
    )


def _lot(split: str, key: str) -> bytes:
    return hashlib.sha256(f"{DRAW_SEED}/{split}/{key}".encode()).digest()
