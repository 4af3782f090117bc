"""What works with an autoencoder takes it from its run: the architecture, so that it is never typed twice, the weights,
and, where it works on cached latents, the data."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf

from autocast.errors import LaunchError
from autocast.runs.directory import KINDS, LATENTS, RunDirectory, default_output_base, find_run, run_of_file
from autocast.runs.overrides import Overrides
from autocast.runs.problems import Problem
from autocast.runs.request import SLURM, Request

KEY, DATA = "autoencoder_checkpoint", "datamodule"
PARTS = ("encoder", "bottleneck", "decoder")
CONFIG_NAME = f"{KINDS['ae']}.yaml"
FIELDS = ("data_path", "normalisation", "augment")
"""Keys of `datamodule` that latents depend on: a processor has those of its autoencoder. A cache has all of them."""
REQUIRED = "required"
"""Stands in a recipe for the file of an autoencoder that is to be given."""
WITHOUT = "no autoencoder is given. Give --autoencoder RUN; 'autocast ae' trains one."


def adopt_autoencoder(config: DictConfig, request: Request, typed: Overrides) -> list[Problem]:
    """Puts the encoder, bottleneck and decoder of a given autoencoder into `config.model`, and its file beside them;
    where latents are cached or used also its data into `config.datamodule`.

    In slurm mode the file may be one that the autoencoder's job is still to make.
    """
    flag = request.autoencoder
    if KEY not in config:
        return [Problem(f"--autoencoder {flag}", "an autoencoder is trained here, not used.")] if flag else []
    source = flag or config[KEY]
    if source in (None, REQUIRED):
        return [Problem("--autoencoder", WITHOUT)] if source or LATENTS in config else []
    overrides = typed.touching(KEY)
    subject = f"--autoencoder {flag}" if flag else overrides[-1].text if overrides else KEY
    problems = [Problem(o.text, f"said twice: --autoencoder {flag} is given too.") for o in overrides if flag]
    problems += [
        Problem(o.text, f"said twice: the autoencoder is that of {source}. Leave one of them out.")
        for o in typed.touching(*(f"model.{part}" for part in PARTS))
    ]
    find = find_coming_autoencoder if request.mode == SLURM else find_autoencoder
    try:
        checkpoint, saved = find(str(source), request.output_base or default_output_base())
    except LaunchError as error:
        return [*problems, Problem(subject, str(error))]
    theirs = yaml.safe_load(saved.read_text())
    for part in PARTS if "model" in config else ():
        OmegaConf.update(config, f"model.{part}", theirs["model"][part], merge=False, force_add=True)
    if LATENTS in config:
        _adopt_data(config, theirs["datamodule"], request, typed)
    config[KEY] = str(checkpoint)
    return problems


def _adopt_data(config: DictConfig, theirs: Mapping[str, Any], request: Request, typed: Overrides) -> None:
    """Whatever was typed stays; a data set that was named brings its own symmetries."""
    named = request.dataset is not None or any(choice.key == DATA for choice in typed.choices)
    keys = FIELDS if "model" in config else tuple(theirs)
    for key in ("normalisation",) if named else keys:
        if not typed.touching(f"{DATA}.{key}"):
            OmegaConf.update(config, f"{DATA}.{key}", theirs[key], merge=False, force_add=True)


def find_coming_autoencoder(source: str, output_base: Path) -> tuple[Path, Path]:
    """As `find_autoencoder`, where a run that is not trained yet will do: its config is there and says the rest.

    Raises:
        LaunchError: There is no such run.
    """
    file = Path(source).expanduser()
    is_file = file.suffix == ".ckpt" or file.is_file()
    run = run_of_file(file) if is_file else find_run(source, output_base)
    if run is None or not run.config_file("ae").is_file():
        return find_autoencoder(source, output_base)
    coming = run.checkpoint_file("ae")
    if is_file and file.resolve() != coming.resolve():
        return find_autoencoder(source, output_base)
    return coming, run.config_file("ae")


def find_autoencoder(source: str, output_base: Path) -> tuple[Path, Path]:
    """The checkpoint and the saved config that a file, a run directory or `<date>/<run-name>` means.

    Raises:
        LaunchError: There is none.
    """
    file = Path(source).expanduser()
    if file.suffix == ".ckpt" or file.is_file():
        return file, _config_of(file)
    run = find_run(source, output_base)
    checkpoint, saved = run.checkpoint_file("ae"), run.config_file("ae")
    if not checkpoint.is_file() or not saved.is_file():
        raise LaunchError(f"{run.path} has no trained autoencoder. Train one: autocast ae --workdir {run.path}")
    return checkpoint, saved


def _config_of(file: Path) -> Path:
    if not file.is_file():
        raise LaunchError("no such file. Train an autoencoder first (autocast ae), or give another checkpoint.")
    run = run_of_file(file)
    if _belongs_to_another_kind(file, run):
        raise LaunchError(f"not the checkpoint of an autoencoder. One is called {KINDS['ae']}.ckpt.")
    places = [run.config_file("ae")] if run else []
    saved = next((place for place in [file.with_name(CONFIG_NAME), *places] if place.is_file()), None)
    if saved is None:
        raise LaunchError(f"there is no {CONFIG_NAME} beside it, so its architecture is not known.")
    return saved


def _belongs_to_another_kind(file: Path, run: RunDirectory | None) -> bool:
    first = file.resolve().relative_to(run.path.resolve()).parts[0] if run else file.name
    others = {kind: name for kind, name in KINDS.items() if kind != "ae"}
    return first in others or first in {f"{name}.ckpt" for name in others.values()}
