"""A training that goes on from the weights of a run whose KL weight was too large: with its architecture, its data as
they were made to and a smaller beta."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf

from autocast.errors import LaunchError
from autocast.objective_config import KL, term_of
from autocast.runs.adoption import PARTS, find_autoencoder, find_coming_autoencoder
from autocast.runs.beta import count_numbers, kl_beta, kl_unit
from autocast.runs.directory import TRAIN, default_output_base, run_of_file
from autocast.runs.overrides import Overrides
from autocast.runs.problems import Problem
from autocast.runs.request import SLURM, Request

KEY, OBJECTIVE, DATA = "rescue", "model.objective", "datamodule"
MEANING = ("size", "column", "normalisation", "subset", "seed", "n_steps_input", "n_steps_output")
"""Keys of `datamodule` that say what weights have learnt from: other fields are nothing to them."""
WITHOUT = "the weights of a run are what is rescued. Give --init-from RUN; its architecture is taken over with them."


def take_over(config: DictConfig, request: Request, typed: Overrides) -> tuple[list[Problem], list[str]]:
    """Puts the architecture of `--init-from` into a config that has a `rescue`, what its data are made to, and into its
    objective a part of that run's beta; of the last two what was typed stays.

    Returns:
        What is wrong, and what is worth saying.
    """
    if config.get(KEY) is None:
        return [], []
    if request.init_from is None:
        return [Problem("--init-from", WITHOUT)], []
    find = find_coming_autoencoder if request.mode == SLURM else find_autoencoder
    try:
        _, saved = find(request.init_from, request.output_base or default_output_base())
    except LaunchError as error:
        return [Problem(f"--init-from {request.init_from}", str(error))], []
    known = yaml.safe_load(saved.read_text(encoding="utf-8"))
    theirs = known["model"]
    for part in PARTS:
        OmegaConf.update(config, f"model.{part}", theirs.get(part), merge=False, force_add=True)
    _take_data(config, known[DATA], typed)
    found = _lower_beta(config, request.init_from, theirs["objective"], _numbers_of_frame(saved), typed)
    problems = [*_typed_twice(request, typed), *([found] if isinstance(found, Problem) else [])]
    return problems, [found] if isinstance(found, str) else []


def _take_data(config: DictConfig, theirs: Mapping[str, Any], typed: Overrides) -> None:
    """A key may be typed by itself, or as one of the top level that it follows: `seed`, `subset`."""
    for key in MEANING:
        if key in theirs and not typed.touching(f"{DATA}.{key}", key):
            OmegaConf.update(config, f"{DATA}.{key}", theirs[key], merge=False, force_add=True)


def _typed_twice(request: Request, typed: Overrides) -> Iterator[Problem]:
    for override in typed.typed:
        if override.key == "model" or any(override.key.startswith(f"model.{part}") for part in PARTS):
            message = f"said twice: the architecture is that of --init-from {request.init_from}. Leave one of them out."
            yield Problem(override.text, message)


def _lower_beta(
    config: DictConfig, run: str, theirs: Mapping[str, Any], n_numbers: int | None, typed: Overrides
) -> Problem | str | None:
    """Sets the weight of the KL term; what was done, or why it cannot be. None where it was typed."""
    ours: Any = OmegaConf.to_container(config["model"]["objective"], resolve=False)
    name = term_of(ours, KL)
    if name is None:
        return Problem("objective", f"has no KL term whose weight {KEY} could set. Choose objective=resume_fix.")
    key, weight = f"{OBJECTIVE}.weights.{name}", ours["weights"][name]
    if typed.touching(key):
        return None
    if isinstance(weight, dict) and "weight" not in weight:
        return Problem(key, "its end is not one number that could be set. Choose objective=resume_fix, or give it.")
    before, unit = kl_beta(theirs, n_numbers), kl_unit(ours, n_numbers)
    if not before or not unit:
        why = "has no KL term beside a squared error, or its record does not say how many numbers a frame has"
        return Problem(f"--init-from {run}", f"{why}. Give the weight yourself: {key}.weight=VALUE.")
    factor, most = config[KEY]["kl_factor"], config[KEY]["kl_at_most"]
    if not isinstance(factor, int | float) or not isinstance(most, int | float):
        return None  # which the check of the whole config tells
    beta = min(factor * before, most)
    OmegaConf.update(config, f"{key}.weight" if isinstance(weight, dict) else key, float(f"{beta / unit:.6g}"))
    return f"beta {beta:.3g} after {before:.3g} in {run}, in the units of an ELBO"


def _numbers_of_frame(saved: Path) -> int | None:
    """As the run recorded at its start; None where it has not started, or is no run directory."""
    run = run_of_file(saved)
    record = run.run_record("ae", TRAIN) if run and run.run_file("ae", TRAIN).is_file() else {}
    return count_numbers(record["spec"]) if "spec" in record else None
