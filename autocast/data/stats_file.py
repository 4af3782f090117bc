"""The Well's `stats.yaml`: what is read from it, when it is written, and what is done where it does not fit.

It holds `mean, std, rms, mean_delta, std_delta, rms_delta`, each a mapping of stored field to a number (a list for a
vector, nested lists for a tensor) with five significant digits; ours has `min` and `max` as well. What is used: the
file if it fits the data set, so that every tool normalises alike; otherwise what is computed, which is written beside
the data if there is no file yet. A file of someone else's is never overwritten. Pictures come and go more easily than
simulations: the file of theirs says by a digest which ones it is of, and is written anew for others.
"""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from autocast.data.headers import PICTURES, TORCH, TORCH_STATS_FILE, DatasetHeader, read_torch_stats
from autocast.data.statistics import Statistics, compute_statistics
from autocast.data.trajectories import Trajectories
from autocast.errors import DataError

QUANTITIES = ("mean", "std", "rms", "mean_delta", "std_delta", "rms_delta")
RANGE = {"min": "minimum", "max": "maximum"}
DIGEST = "data_digest"
Fields = tuple[tuple[str, int], ...]
"""Names and tensor orders."""


def training_statistics(header: DatasetHeader, train: Trajectories, *, with_range: bool = False) -> Statistics:
    """The data set's own statistics where they fit, else computed ones; `source` says which.

    Computed ones have the digits of the file, so that a run is the same whether it finds the file, writes it or cannot.

    Args:
        header: Of the data set.
        train: Its training split, whole.
        with_range: Minimum and maximum are needed, which files of other tools lack.
    """
    found, why = stored_statistics(header, train)
    if found is not None and (found.has_range or not with_range):
        return found
    if found is not None:
        why = f"{found.source} has no min and max"
    computed = as_stored(compute_statistics(train), train)
    if why:
        return dataclasses.replace(computed, source=f"computed, because {why}")
    try:
        digest = header.digest if header.layout == PICTURES else None
        write_statistics(header.path / header.stats_file, computed, train, digest=digest)
    except OSError as error:
        return dataclasses.replace(computed, source=f"computed, kept in memory ({error.strerror or error})")
    return dataclasses.replace(computed, source=f"computed, written to {header.stats_file}")


def stored_statistics(header: DatasetHeader, train: Trajectories) -> tuple[Statistics | None, str]:
    """Statistics out of the data set's file, or None and why that does not fit ("" where there is no file)."""
    file, content = header.path / header.stats_file, {}
    if header.layout == TORCH and (header.path / TORCH_STATS_FILE).is_file():
        file, content = header.path / TORCH_STATS_FILE, read_torch_stats(header.path).get("stats", {})
    elif file.is_file():
        content = read_stats_file(file)
    else:
        return None, ""
    if header.layout == PICTURES and content.get(DIGEST) != header.digest:
        return None, ""
    return parse_statistics(content, train, source=file.name)


def as_stored(statistics: Statistics, trajectories: Trajectories) -> Statistics:
    """What the file of these statistics reads as."""
    content = yaml.safe_load(stats_text(statistics, trajectories))
    found, why = parse_statistics(content, trajectories, source=statistics.source)
    assert found is not None, why
    return found


def read_stats_file(file: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(file.read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise DataError(f"{file} is not YAML: {error}. Delete it: statistics are then computed again.") from error
    return content if isinstance(content, dict) else {}


def parse_statistics(
    content: dict[str, Any], trajectories: Trajectories, *, source: str
) -> tuple[Statistics | None, str]:
    """Statistics out of a file's mappings, or None and what is wrong with them. A missing rms follows from the rest,
    and a range may be missing."""
    d = trajectories.spec.n_spatial_dims
    varying, constant = _divide(trajectories)
    found: dict[str, np.ndarray] = {}
    for quantity in ("mean", "std", "mean_delta", "std_delta"):
        for prefix, fields in (("", varying), ("constant_", constant)):
            if prefix and quantity.endswith("_delta"):
                continue
            values, why = _channels(content, quantity, fields, d)
            if values is None:
                return None, f"{source} {why}"
            found[prefix + quantity] = values
    for prefix, suffix in (("", ""), ("", "_delta"), ("constant_", "")):
        mean, std = found[f"{prefix}mean{suffix}"], found[f"{prefix}std{suffix}"]
        found[f"{prefix}rms{suffix}"] = np.sqrt(mean**2 + std**2)
    for quantity, name in RANGE.items():
        for prefix, fields in (("", varying), ("constant_", constant)):
            values, _ = _channels(content, quantity, fields, d)
            if values is not None:
                found[prefix + name] = values
    return Statistics(**found, source=source), ""


def write_statistics(
    file: Path, statistics: Statistics, trajectories: Trajectories, *, digest: str | None = None
) -> None:
    """The Well's file, replaced whole or not at all; with a `digest` it says which data it is of."""
    partial = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        partial.write_text(stats_text(statistics, trajectories) + (f"{DIGEST}: {digest}\n" if digest else ""))
        partial.replace(file)
    finally:
        partial.unlink(missing_ok=True)


def stats_text(statistics: Statistics, trajectories: Trajectories) -> str:
    """The content of The Well's file, with five digits."""
    d = trajectories.spec.n_spatial_dims
    varying, constant = _divide(trajectories)
    lines = []
    for quantity in (*QUANTITIES, *(RANGE if statistics.has_range else ())):
        name = RANGE.get(quantity, quantity)
        entries = _entries(getattr(statistics, name), varying, d)
        if not quantity.endswith("_delta"):
            entries |= _entries(getattr(statistics, f"constant_{name}"), constant, d)
        lines += [f"{quantity}:", *(f"  {yaml_key(name)}: {value}" for name, value in entries.items())]
    return "\n".join(lines) + "\n"


def yaml_key(name: str) -> str:
    """`name` as YAML reads it back: quoted where it would be taken for something else ("y" is one)."""
    return yaml.safe_dump(name, default_style='"').strip() if yaml.safe_load(name) != name else name


def _entries(values: np.ndarray, fields: Fields, d: int) -> dict[str, str]:
    entries, channel = {}, 0
    for name, order in fields:
        part = values[channel : channel + d**order].reshape((d,) * order)
        entries[name] = _formatted(part)
        channel += d**order
    return entries


def _formatted(values: np.ndarray) -> str:
    if values.ndim == 0:
        return f"{values.item():.4E}"
    return "[" + ", ".join(_formatted(row) for row in values) + "]"


def _divide(trajectories: Trajectories) -> tuple[Fields, Fields]:
    """Time-varying fields, which make up the channels, and constant ones."""
    fields, d = trajectories.field_orders, trajectories.spec.n_spatial_dims
    ends = np.cumsum([d**order for _, order in fields])
    n = int(np.searchsorted(ends, trajectories.spec.n_channels)) + 1
    return fields[:n], fields[n:]


def _channels(content: dict[str, Any], quantity: str, fields: Fields, d: int) -> tuple[np.ndarray | None, str]:
    """`quantity` of all fields as one array per channel."""
    values: list[float] = []
    for name, order in fields:
        entry = content.get(quantity)
        if not isinstance(entry, dict) or name not in entry:
            return None, f"has no {quantity} of {name}"
        flat = np.ravel(np.asarray(entry[name], dtype=object)).tolist()
        if len(flat) != d**order or not all(isinstance(v, int | float) and np.isfinite(v) for v in flat):
            return None, f"has {entry[name]!r} as {quantity} of {name}; expected {d**order} finite numbers"
        values += flat
    return np.array(values, np.float64), ""
