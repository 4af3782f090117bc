"""The scores by name: their formulas, what they are formulas of, and their units."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from autocast.errors import ConfigError
from autocast.metrics.deterministic import VRMSE_EPS
from autocast.metrics.probabilistic import ALPHA, interval_levels
from autocast.metrics.spectral import BANDS
from autocast.metrics.terms import FORECAST_TERMS

MEMBER, MEAN, ENSEMBLE = "member", "mean", "ensemble"

Formula = Callable[[Mapping[str, Any]], np.ndarray]
"""Of terms `(..., C)` by name, and of the number `n_members`."""


@dataclass(frozen=True)
class Metric:
    """A score as a formula of terms.

    A score of single forecasts has the kinds `member` (the average of the members' scores) and `mean` (the score of
    their mean). A pooled one is the formula of terms averaged over trajectories and lead times (a ratio of means);
    any other is the average of the formula over them (a mean of ratios).
    """

    name: str
    about: str
    formula: Formula
    terms: tuple[str, ...]
    kinds: tuple[str, ...] = (MEMBER, MEAN)
    unit_power: int = 1
    """1: the field's unit, 2: its square, 0: a pure number."""
    pooled: bool = False
    min_members: int = 1

    def terms_of(self, kind: str) -> dict[str, str]:
        """Names in `autocast.metrics.terms.TERMS` by the names in the formula."""
        return {term: f"{kind}_{term}" if term in FORECAST_TERMS else term for term in self.terms}

    def kinds_of(self, n_members: int) -> tuple[str, ...]:
        """The kinds that an ensemble of this size has: one member is its own mean, and has no spread."""
        if n_members < self.min_members:
            return ()
        return tuple(kind for kind in self.kinds if kind != MEAN or n_members > 1)

    def unit(self, field_unit: str) -> str:
        """The score's unit for a field's; "" stays unknown."""
        if self.unit_power == 0:
            return "1"
        if self.unit_power == 1 or not field_unit:
            return field_unit
        return f"{field_unit}²" if field_unit.isalpha() else f"({field_unit})²"


def _single(name: str, about: str, formula: Formula, *terms: str, unit_power: int = 1) -> Metric:
    return Metric(name, about, formula, terms, unit_power=unit_power)


def _crps(name: str, about: str, formula: Formula) -> Metric:
    return Metric(name, about, formula, ("member_mae", "pair_distance"), kinds=(ENSEMBLE,))


def _pooled(name: str, about: str, formula: Formula, *terms: str, unit_power: int = 1) -> Metric:
    return Metric(name, about, formula, terms, (ENSEMBLE,), unit_power, pooled=True, min_members=2)


def _spectral(band: str) -> Metric:
    about = f"root of the mean of (1 - P_forecast / P_truth)² over the {band} band of wavenumbers"
    name = f"psrmse_{band}"
    return _single(name, about, lambda t: t[name], name, unit_power=0)


_METRICS = (
    _single("mse", "mean over space of the squared error", lambda t: t["mse"], "mse", unit_power=2),
    _single("mae", "mean over space of the absolute error", lambda t: t["mae"], "mae"),
    _single("rmse", "root of the mean over space of the squared error", lambda t: t["rmse"], "rmse"),
    _single(
        "vrmse",
        "rmse / sqrt(variance of the truth in space + 1e-7), unbiased variance, as in The Well",
        lambda t: t["rmse"] / np.sqrt(t["truth_variance"] + VRMSE_EPS),
        *("rmse", "truth_variance"),
        unit_power=0,
    ),
    _single(
        "nrmse",
        "rmse / root of the truth's mean square in space",
        lambda t: t["rmse"] / np.sqrt(t["truth_square"]),
        *("rmse", "truth_square"),
        unit_power=0,
    ),
    _single("linf", "largest absolute error in space", lambda t: t["linf"], "linf"),
    _single("correlation", "Pearson's, over space", lambda t: t["correlation"], "correlation", unit_power=0),
    *map(_spectral, BANDS),
    _crps(
        "crps",
        "E|x - y| - 1/2 E|x - x'| with the pair term over all M² pairs",
        lambda t: t["member_mae"] - t["pair_distance"] * (t["n_members"] - 1) / t["n_members"],
    ),
    _crps(
        "crps_fair",
        "E|x - y| - 1/2 E|x - x'| with the pair term over M(M - 1) pairs",
        lambda t: t["member_mae"] - t["pair_distance"],
    ),
    _crps(
        "crps_almost_fair",
        f"the fair score with the pair term times 1 - (1 - alpha) / M, alpha = {ALPHA}",
        lambda t: t["member_mae"] - t["pair_distance"] * (1 - (1 - ALPHA) / t["n_members"]),
    ),
    _pooled(
        "spread",
        "root of the mean unbiased variance of the members",
        lambda t: np.sqrt(t["ensemble_variance"]),
        "ensemble_variance",
    ),
    _pooled("skill", "root of the mean squared error of their mean", lambda t: np.sqrt(t["mean_mse"]), "mean_mse"),
    _pooled(
        "ssr",
        "sqrt((M + 1) / M) spread / skill, a ratio of roots of means: 1 if the spread fits the error",
        lambda t: np.sqrt((t["n_members"] + 1) / t["n_members"] * t["ensemble_variance"] / t["mean_mse"]),
        *("ensemble_variance", "mean_mse"),
        unit_power=0,
    ),
    _pooled(
        "coverage_error",
        "mean deviation of the coverage of central rank intervals from (b - a) / (M + 1)",
        lambda t: np.abs(t["coverage"] - np.array(interval_levels(t["n_members"]))).mean(-1),
        "coverage",
        unit_power=0,
    ),
)
METRICS: dict[str, Metric] = {metric.name: metric for metric in _METRICS}
FAMILIES: dict[str, tuple[str, ...]] = {
    "psrmse": tuple(f"psrmse_{band}" for band in BANDS),
    "coverage": ("coverage_error",),
}
"""Names that stand for several scores, or for a table with a score of its own."""
DEFAULT_METRICS: tuple[str, ...] = (
    *("mse", "mae", "rmse", "vrmse", "nrmse", "linf", "crps_fair", "crps_almost_fair"),
    *("spread", "skill", "ssr", "psrmse", "coverage"),
)


def resolve_metrics(names: Iterable[str]) -> list[Metric]:
    """The metrics of these names and families, each once, in this order.

    Raises:
        ConfigError: With the nearest name, if there is no such metric.
    """
    found: dict[str, Metric] = {}
    for name in names:
        if name not in METRICS and name not in FAMILIES:
            raise ConfigError(_unknown(name))
        found.update({each: METRICS[each] for each in FAMILIES.get(name, (name,))})
    return list(found.values())


def _unknown(name: str) -> str:
    known = [*METRICS, *FAMILIES]
    near = difflib.get_close_matches(name, known, n=1)
    hint = f" Did you mean {near[0]}?" if near else ""
    return f"eval.metrics: no such metric {name!r}. There are: {', '.join(known)}.{hint}"
