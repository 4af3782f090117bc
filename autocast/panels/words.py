"""Words, numbers and commands that several panels have."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

from autocast.runs.console import duration
from autocast.runs.directory import RunDirectory
from autocast.runs.job import Job

if TYPE_CHECKING:
    from autocast.data.datamodule import FieldDataModule

Rows = list[tuple[str, str]]
DAY = 24 * 3600.0
PLACES = {"disk": "on disk", "ram": "in memory", "device": "on the device"}
MARKS = {"good": "✓", "warn": "!", "bad": "✗"}


def class_name(leaf: dict[str, Any]) -> str:
    return str(leaf.get("_target_", "")).rpartition(".")[2]


def short(n: float) -> str:
    for unit, scale in (("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if n >= scale:
            return f"{n / scale:.3g} {unit}"
    return f"{n:.0f}"


def count(n: int, noun: str, plural: str = "") -> str:
    return f"{n} {noun if n == 1 else plural or noun + 's'}"


def time_text(seconds: float) -> str:
    """`1.23 ms`, `34.5 s`, `5:52`."""
    if seconds >= 100:
        return duration(seconds)
    for unit, scale in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= scale:
            return f"{three_digits(seconds / scale)} {unit}"
    return f"{three_digits(seconds / 1e-6)} µs"


def three_digits(value: float) -> str:
    """`13.0`, `276`"""
    return f"{value:#.3g}".rstrip(".")


def evaluation_command(job: Job) -> str:
    name = job.config["eval"]["name"]
    return f"autocast eval --workdir {job.directory.quoted} eval.name={'again' if name is None else f'{name}-again'}"


def forecast_command(run: RunDirectory, config: dict[str, Any], *, deterministic: bool) -> str:
    data = shlex.quote(str(config["datamodule"]["data_path"]))
    members = "" if deterministic else " --n-members 8"
    return f"autocast forecast {run.quoted} --from {data}{members} --out forecast.hdf5"


def data_line(datamodule: FieldDataModule) -> str:
    spec, splits = datamodule.spec, datamodule.header.splits
    counts = "/".join(str(datamodule.split(name).n_trajectories) for name in splits)
    if spec.is_picture:
        shape = " × ".join(map(str, (*spec.grid_shape, spec.n_channels)))
        return f"{spec.dataset_name} · {counts} pictures · {shape} · {PLACES[datamodule.place()]}"
    shape = " × ".join(map(str, (datamodule.split("train").n_steps(0), *spec.grid_shape, spec.n_channels)))
    where = PLACES[datamodule.place()]
    steps = f"{datamodule.n_steps_input} → {datamodule.n_steps_output} steps"
    return f"{spec.dataset_name} · {counts} trajectories · {shape} · {steps} · {where}"
