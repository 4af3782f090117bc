"""What the shell offers after an option: data sets, presets, runs and scores, without importing anything heavy."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from autocast.runs.directory import RunDirectory


def data_sets(incomplete: str) -> list[str]:
    """Those in `$AUTOCAST_DATASETS`."""
    return _beginning(incomplete, _data_sets())


def data_sets_and_options(context: typer.Context, incomplete: str) -> list[str]:
    """Those in `$AUTOCAST_DATASETS`, and the options of `datamodule/`."""
    return _beginning(incomplete, [*_data_sets(), *_options(context, "datamodule")])


def data_sets_and_simulators(context: typer.Context, incomplete: str) -> list[str]:
    """Those in `$AUTOCAST_DATASETS`, and what can be simulated."""
    return _beginning(incomplete, [*_data_sets(), *_options(context, "simulator")])


def presets(context: typer.Context, incomplete: str) -> list[str]:
    return _beginning(incomplete, _options(context, "preset"))


def profiles(context: typer.Context, incomplete: str) -> list[str]:
    """Cluster profiles."""
    return _beginning(incomplete, _options(context, "cluster"))


def runs(context: typer.Context, incomplete: str) -> list[str]:
    """`<date>/<run-name>` of those in the output base."""
    return _beginning(incomplete, [run.label for run in _runs(context)])


def run_directories(context: typer.Context, incomplete: str) -> list[str]:
    """Paths of the runs in the output base."""
    return _beginning(incomplete, [str(run.path) for run in _runs(context)])


def scores(incomplete: str) -> list[str]:
    """Names of scores and of families of them."""
    from autocast.metrics.catalogue import ENTRIES, FAMILIES

    return _beginning(incomplete, [*ENTRIES, *FAMILIES, "all"])


def _beginning(incomplete: str, names: list[str]) -> list[str]:
    return sorted({name for name in names if name.startswith(incomplete)})


def _data_sets() -> list[str]:
    from autocast.runs.environment import datasets_dir, read_environment

    read_environment()
    directory = datasets_dir()
    return [path.name for path in directory.iterdir() if path.is_dir()] if directory.is_dir() else []


def _options(context: typer.Context, group: str) -> list[str]:
    from autocast.runs.environment import own_config_dirs, read_environment
    from autocast.runs.tree import config_tree

    read_environment()
    return config_tree(own_config_dirs(context.params.get("config_dir"))).shown(group)


def _runs(context: typer.Context) -> list[RunDirectory]:
    from autocast.runs.directory import all_runs, default_output_base
    from autocast.runs.environment import read_environment

    read_environment()
    typed: Path | None = context.params.get("output_base")
    return all_runs(typed or default_output_base())
