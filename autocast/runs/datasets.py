"""What `--dataset X` means: a directory, one in `$AUTOCAST_DATASETS`, or an option of `datamodule/`."""

from __future__ import annotations

import shlex
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from autocast.picture_files import holds_pictures
from autocast.runs.environment import datasets_dir
from autocast.runs.problems import Problem, did_you_mean, nearest
from autocast.runs.tree import ConfigTree

GENERIC, IMAGES = "directory", "images"
"""The data module's settings for fields, and for pictures, that have none of their own."""
ANY_SIMULATOR = "reaction_diffusion"


@dataclass(frozen=True)
class Dataset:
    """Where the data are (None: where the option says) and the option whose settings go with them."""

    path: Path | None
    option: str


def resolve_dataset(name: str, tree: ConfigTree) -> Dataset | Problem:
    options = tree.options["datamodule"]
    directory = next((p for p in (Path(name).expanduser(), datasets_dir() / name) if p.is_dir()), None)
    if directory is not None:
        known = directory.absolute().name
        alike = IMAGES if known not in options and holds_pictures(directory) else GENERIC
        return Dataset(directory, known if known in options else alike)
    if name in options:
        return Dataset(None, name)
    return Problem(f"--dataset {name}", _not_there(name, tree))


def missing_data(path: Path, tree: ConfigTree) -> str:
    """What to say of a config's `data_path` that is not there."""
    return f"there is no {path}. {_remedy(path.name, tree, in_place=path.parent == datasets_dir())}"


def new_dataset_path(name: str) -> Path:
    """Where `data simulate`, `fetch` and `convert` write: a path as it is, a name in `$AUTOCAST_DATASETS`."""
    path = Path(name).expanduser()
    return path if len(path.parts) > 1 or path.is_absolute() else datasets_dir() / name


def _not_there(name: str, tree: ConfigTree) -> str:
    options = tree.shown("datamodule")
    near = did_you_mean(nearest(name, [*options, *_names_in(datasets_dir())]))
    places = f"neither a directory nor {datasets_dir() / name} nor an option of datamodule ({', '.join(options)})"
    return f"{places}.{near} {_remedy(Path(name).name, tree, in_place=True)}"


def _remedy(name: str, tree: ConfigTree, *, in_place: bool) -> str:
    simulated = name in tree.options["simulator"]
    if not in_place or (name in tree.options["datamodule"] and not simulated):
        return "Give --dataset DIR."
    simulator = "" if simulated else f" simulator={ANY_SIMULATOR}"
    return f"Run 'autocast data simulate --dataset {shlex.quote(name)}{simulator}' or give --dataset DIR."


def _names_in(directory: Path) -> Collection[str]:
    return [path.name for path in directory.iterdir() if path.is_dir()] if directory.is_dir() else []
