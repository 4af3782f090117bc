"""The perceptual terms of a config: the published weights that they are computed with."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from autocast.objective_config import PERCEPTUAL
from autocast.runs.problems import Problem

TERMS = "model.objective.terms"
SECTION = "perceptual"
"""Of a root config: what all terms of a run get."""
SHARED = ("weights_file", "device")
PUBLISHED = ("vgg16", "vgg19", "lpips")
"""Features with published weights; the last can do without."""


def link_perceptual(config: DictConfig) -> None:
    """What the terms of a saved config have from their section, they have from it again: it may be given anew."""
    for path, term in _terms(config):
        for key in SHARED:
            if term.get(key) == OmegaConf.select(config, f"{SECTION}.{key}", default=None):
                OmegaConf.update(config, f"{path}.{key}", f"${{oc.select:{SECTION}.{key},null}}", force_add=True)


def settle_perceptual(config: DictConfig) -> tuple[list[Problem], list[str]]:
    """Writes into a resolved config what its terms compare by: `lpips` without weights is `random_conv`.

    Returns:
        Files that are missing, and what is worth saying.
    """
    problems, notes = [], []
    for path, term in _terms(config):
        features, files = term.get("features"), term.get("weights_file")
        if features == "lpips" and not files:
            OmegaConf.update(config, f"{path}.features", "random_conv")
            notes.append(f"{path}: lpips without {SECTION}.weights_file is random_conv")
        elif features in PUBLISHED:
            is_shared = files == OmegaConf.select(config, f"{SECTION}.weights_file", default=None)
            key = f"{SECTION}.weights_file" if is_shared else f"{path}.weights_file"
            problems += [Problem(key, message) for message in _missing(features, files)]
    return problems, notes


def _terms(config: DictConfig) -> Iterator[tuple[str, dict[str, Any]]]:
    terms = OmegaConf.select(config, TERMS)
    plain: Any = OmegaConf.to_container(terms, resolve=False) if isinstance(terms, DictConfig) else {}
    for name, term in plain.items():
        if isinstance(term, dict) and term.get("_target_") == PERCEPTUAL:
            yield f"{TERMS}.{name}", term


def _missing(features: str, files: Any) -> Iterator[str]:
    if not files:
        remedy = "Give their file, or choose features=random_conv, which needs none."
        yield f"{features} has published weights, which are not part of autocast. {remedy}"
    for file in files if isinstance(files, list) else [files]:
        if isinstance(file, str) and not Path(file).expanduser().is_file():
            yield f"{file}: no such file."
