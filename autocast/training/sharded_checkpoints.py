"""Checkpoints that are directories, in which each process has written its part of the weights and optimiser states."""

from __future__ import annotations

import io
import os
import pickle
import shutil
import zipfile
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.utilities.load import _METADATA_FILENAME as REST
from lightning.fabric.utilities.load import _load_distributed_checkpoint
from torch.distributed.checkpoint import CheckpointException, FileSystemReader

DAMAGED = (zipfile.BadZipFile, OSError, RuntimeError, EOFError, KeyError, pickle.UnpicklingError, CheckpointException)
"""What reading a checkpoint that is not whole may raise."""


def read_shards(directory: Path) -> dict[str, Any]:
    """A whole checkpoint, in main memory, as one process would have written it."""
    checkpoint = _load_distributed_checkpoint(directory)
    numbered = sorted(name for name in checkpoint if name.startswith("optimizer_") and name != "optimizer_states")
    checkpoint["optimizer_states"] = [by_number(checkpoint.pop(name)) for name in numbered]
    return checkpoint


def check_shards(directory: Path) -> str | None:
    """The name of a part that is damaged; None where all are whole.

    Raises:
        OSError: A part is missing; reading one may raise the others of `DAMAGED` too.
    """
    torch.load(directory / REST, map_location="cpu", weights_only=True)
    places = FileSystemReader(directory).read_metadata().storage_data
    for place in sorted(places.values(), key=lambda place: (place.relative_path, place.offset)):
        with (directory / place.relative_path).open("rb") as stream:
            stream.seek(place.offset)
            part = io.BytesIO(stream.read(place.length))
        with zipfile.ZipFile(part) as archive:
            if archive.testzip() is not None:
                return place.relative_path
    return None


def by_number(state: dict[str, Any]) -> dict[str, Any]:
    """An optimiser's state with its parameters numbered in the order of its groups, as optimisers themselves do."""
    return _renamed(state, range(sum(len(group["params"]) for group in state["param_groups"])))


def by_name(state: dict[str, Any], optimizer: torch.optim.Optimizer, model: torch.nn.Module) -> dict[str, Any]:
    """An optimiser's state with its parameters named as in the model that the optimiser trains."""
    names = {parameter: name for name, parameter in model.named_parameters()}
    return _renamed(state, [names[parameter] for group in optimizer.param_groups for parameter in group["params"]])


def _renamed(state: dict[str, Any], keys: Any) -> dict[str, Any]:
    """`keys` in the order of the groups."""
    new = dict(zip((key for group in state["param_groups"] for key in group["params"]), keys, strict=True))
    groups = [{**group, "params": [new[key] for key in group["params"]]} for group in state["param_groups"]]
    return {"state": {new[key]: value for key, value in state["state"].items()}, "param_groups": groups}


def link_tree(source: Path, target: Path) -> None:
    """Gives all files of a directory other names in a new one; copies them where there are no hard links."""
    shutil.copytree(source, target, copy_function=link_or_copy)


def link_or_copy(source: Any, target: Any) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def rename(partial: Path, target: Path) -> None:
    """Gives `partial` the name of `target`.

    At once where both are files; else a kill may come while neither has the name, and the old one is lost with it.
    """
    if not partial.is_dir() and not target.is_dir():
        partial.replace(target)
        return
    old = target.with_name(f".{target.name}.old")
    remove(old)
    if target.exists():
        target.rename(old)
    partial.rename(target)
    remove(old)


def remove(checkpoint: Path) -> None:
    """A file or a directory, if it is there."""
    if checkpoint.is_dir():
        shutil.rmtree(checkpoint)
    else:
        checkpoint.unlink(missing_ok=True)
