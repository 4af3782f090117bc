"""What an import makes: files of config groups, as text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import yaml

from autocast.runs.beta import kl_beta

PREFIX = "imported_"
"""Before the names of what is imported, for no config may have the name of one of the package."""
GLOBAL = "_global_"
KL = "autocast.losses.terms.KL"
LINEAR, PIECEWISE, DELAYED = (f"autocast.losses.annealing.{name}" for name in ("Linear", "Piecewise", "Delayed"))
TOO_MUCH = 100.0
"""A beta from which on latents say nothing."""


@dataclass(frozen=True)
class Imported:
    """One option of a config group."""

    group: str
    name: str
    content: dict[str, Any]
    package: str | None = None
    """None is the group's own."""
    comments: Sequence[str] = ()
    root: str | None = "autoencoder"
    """The root config that it is for; None is any."""

    @property
    def file(self) -> Path:
        """Below a directory for `--config-dir`."""
        return Path(self.group) / f"{self.name}.yaml"

    @property
    def text(self) -> str:
        header = [f"# @package {self.package}"] if self.package else []
        header += [f"# @for {self.root}"] if self.root else []
        lines = [*header, *(f"# {comment}" for comment in self.comments)]
        body = yaml.safe_dump(self.content, sort_keys=False, allow_unicode=True, default_flow_style=None, width=120)
        return "\n".join([*lines, body])


def error(kind: str) -> dict[str, Any]:
    return {"_target_": f"autocast.losses.terms.{kind}"}


def kl_term() -> dict[str, Any]:
    return {"_target_": KL, "free_bits": 0.0, "free_bits_mode": "elementwise", "capacity": None}


def perceptual_term(features: str) -> dict[str, Any]:
    return {
        "_target_": "autocast.losses.perceptual.Perceptual",
        "features": features,
        "layers": None,
        "weights_file": "${oc.select:perceptual.weights_file,null}",
        "value_range": [-1.0, 1.0],
        "device": "${oc.select:perceptual.device,null}",
        "seed": 0,
    }


def linear(weight: float, warmup: float | str) -> dict[str, Any]:
    return {"_target_": LINEAR, "weight": weight, "warmup": warmup}


def objective(terms: dict[str, Any], weights: dict[str, Any]) -> dict[str, Any]:
    """Means over the numbers of a frame, and the KL summed, as both older trainers have it."""
    return {
        "_target_": "autocast.losses.objective.Objective",
        "reduction": "mean",
        "terms": terms,
        "weights": weights,
    }


def beta_comment(made: dict[str, Any], shape: Sequence[int]) -> str | None:
    """What the weight of the KL term of an objective is in the units of an ELBO, for frames of a shape."""
    beta = kl_beta(made, prod(shape))
    if beta is None:
        return None
    told = f"beta {beta:.3g} in the units of an ELBO, for frames of {' × '.join(map(str, shape))}"
    collapse = ": the latents will collapse. Take one of the package's objectives, or a smaller weight of kl"
    return told + (collapse if beta >= TOO_MUCH else "")
