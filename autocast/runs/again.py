"""How to start a training like the one of a run."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from autocast.diagnosis import Run
from autocast.errors import AutocastError
from autocast.runs.directory import TRAIN, RunDirectory
from autocast.runs.request import LOCAL, SLURM


def diagnosed_run(directory: RunDirectory, kind: str, config: Mapping[str, Any]) -> Run:
    """What `autocast.diagnosis` has to know of a training."""
    return Run(config, directory.quoted, functools.cache(lambda: _words(directory, kind, config)))


def _words(directory: RunDirectory, kind: str, config: Mapping[str, Any]) -> list[str] | None:
    """Of its config, whatever started it: a training that went on elsewhere was given none of it.

    None where configs cannot be composed now: no reason to end a training.
    """
    from autocast.runs.composer import REFUSALS  # what composes is imported when something ails a training
    from autocast.runs.retype import retype

    record = directory.run_record(kind, TRAIN)
    mode, weights = record.get("mode", LOCAL), record.get("init_from")
    try:
        overrides = retype(config, kind, mode)
    except (AutocastError, *REFUSALS):
        return None
    return [
        *("autocast", kind, "--dataset", str(config["datamodule"]["data_path"])),
        *(("--mode", SLURM) if mode == SLURM else ()),
        *(("--init-from", weights) if weights else ()),
        *overrides,
    ]
