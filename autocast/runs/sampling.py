"""Whose latents are sampled, from which checkpoints, and where the pictures go."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autocast.errors import ConfigError
from autocast.runs.directory import NoSuchRunError, RunDirectory, all_runs, find_run, read_config
from autocast.runs.place import saved_config

BEST, LAST, BOTH = "best", "last", "both"
NORMAL, MEASURED, AUTO = "normal", "measured", "auto"
PRIORS = (NORMAL, MEASURED)


@dataclass(frozen=True)
class SampleRequest:
    """An autoencoder, and what is drawn of it."""

    run: RunDirectory
    checkpoints: dict[str, Path]
    """By label: "best", "last"."""
    config: dict[str, Any]
    """Of the run."""
    n_samples: int
    prior: str
    """"normal", "measured", or "auto"."""
    seed: int
    out: Path
    """A directory."""

    @property
    def n_rows(self) -> int:
        """Of a grid, which is a square."""
        return math.isqrt(self.n_samples)


def read_sample(
    name: str | None,
    base: Path,
    *,
    samples: int,
    checkpoint: str,
    prior: str,
    seed: int,
    out: Path | None,
    overwrite: bool,
) -> SampleRequest:
    """Finds the autoencoder of a run; nothing is loaded.

    Args:
        name: A run; None: the newest that has an autoencoder.
        base: Where runs lie.
        samples: In a grid: a square number.
        checkpoint: "best", "last" or "both".
        prior: One of `PRIORS`, or "auto".
        seed: Of the draws.
        out: A directory; None: the run's.
        overwrite: Whether pictures that are there may be replaced.

    Raises:
        NoSuchRunError: There is no such run, or none at all.
        ConfigError: There is no autoencoder in it, something is asked for that there is not (all of that at once), or
            there are pictures already.
    """
    _check(samples, checkpoint, prior)
    run = _newest(base) if name is None else find_run(name, base)
    places = {BEST: run.checkpoint_file("ae"), LAST: run.last_checkpoint("ae")}
    wanted = (BEST, LAST) if checkpoint == BOTH else (checkpoint,)
    found = {label: place for label in wanted if (place := places[label]) is not None and place.is_file()}
    if missing := [label for label in wanted if label not in found]:
        raise ConfigError(
            f"{run.path}: there is no {' and no '.join(missing)} checkpoint of an autoencoder. Train one: autocast ae."
        )
    out = run.path if out is None else out
    there = sorted(file.name for label in found for file in out.glob(f"vae_*_{label}.png"))
    if there and not overwrite:
        raise ConfigError(
            f"{out}: there are pictures already ({', '.join(there)}). --overwrite replaces them, --out DIR keeps them."
        )
    return SampleRequest(run, found, read_config(saved_config(run, "ae")), samples, prior, seed, out)


def _check(samples: int, checkpoint: str, prior: str) -> None:
    problems = []
    if samples < 1 or math.isqrt(samples) ** 2 != samples:
        below = max(1, math.isqrt(max(samples, 1)))
        problems.append(f"--samples {samples}: a square number is wanted, such as {below**2} or {(below + 1) ** 2}")
    if checkpoint not in (BEST, LAST, BOTH):
        problems.append(f"--checkpoint {checkpoint}: there are {BEST}, {LAST}, {BOTH}")
    if prior not in (AUTO, *PRIORS):
        problems.append(f"--prior {prior}: there are {AUTO}, {', '.join(PRIORS)}")
    if problems:
        raise ConfigError("\n".join(problems))


def _newest(base: Path) -> RunDirectory:
    trained = [run for run in all_runs(base) if run.checkpoint_file("ae").is_file()]
    if not trained:
        raise NoSuchRunError(f"{base}: no run has an autoencoder. 'autocast ae' trains one; or name a run.")
    return max(trained, key=lambda run: run.checkpoint_file("ae").stat().st_mtime)
