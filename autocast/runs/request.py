"""What a user asked for, as words: the command line turned into one value, before anything is composed or checked."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

LOCAL, SLURM = "local", "slurm"


@dataclass(frozen=True)
class Request:
    """One command with its overrides and shared options; nothing in it has been checked yet."""

    command: str
    """The verb: "ae", "epd", "train-eval", "eval", "forecast", "simulate", ..."""
    overrides: tuple[str, ...] = ()
    """Hydra overrides and the friendly short forms, as typed; `::eval::` may still be among them."""
    eval_overrides: tuple[str, ...] = ()
    """What was typed after `::eval::`."""
    dataset: str | None = None
    date: str | None = None
    run_name: str | None = None
    workdir: Path | None = None
    output_base: Path | None = None
    autoencoder: str | None = None
    resume_from: str | None = None
    init_from: str | None = None
    no_resume: bool = False
    overwrite: bool = False
    preset: str | None = None
    mode: str = LOCAL
    cluster: str | None = None
    detach: bool = False
    dry_run: bool = False
    check: bool = False
    estimate: bool = False
    """Whether only the sanity gate is to run."""
    json: bool = False
    config_dir: Path | None = None
    verbose: bool = False
    after: tuple[str, ...] = ()
    """Runs or job ids that must be done before the first stage starts."""
    single_allocation: bool = False
    """Whether both stages of a `train-eval` share one job."""
