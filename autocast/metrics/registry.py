"""The scores by name: what each is computed from, and how."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from autocast.metrics.catalogue import (
    ALPHA,
    BANDS,
    ENTRIES,
    INTERPOLATED_LEVELS,
    LOLA_EPS,
    VALID_CORRELATION,
    VALID_SSR,
    VRMSE_EPS,
    Entry,
    resolve_names,
)
from autocast.metrics.probabilistic import coverage_of_ranks, interval_levels, rank_shares, winkler_place
from autocast.metrics.spectral import fine_energy_ratio
from autocast.metrics.terms import FORECAST_TERMS

Terms = Mapping[str, Any]
"""Terms `(..., C)` by name, and the numbers `n_members` and `n_points`; of a score in steps they are `(N, L, C)`, and
`counted` `(N, L)` says which lead times of each trajectory were scored."""
Compute = Callable[[Terms], np.ndarray]


@dataclass(frozen=True, kw_only=True)
class Metric(Entry):
    """A score with its formula as a function of terms: to `(..., C)`, or to `(N, C)` if it counts steps."""

    compute: Compute
    terms: tuple[str, ...]

    def terms_of(self, kind: str) -> dict[str, str]:
        """Names in `autocast.metrics.terms.TERMS` by the names in the formula."""
        return {term: f"{kind}_{term}" if term in FORECAST_TERMS else term for term in self.terms}


def _crps(t: Terms, pair_share: float) -> np.ndarray:
    """`pair_share` is that of the fair score's pair term."""
    return t["member_mae"] - pair_share * t["pair_distance"]


def _energy_score(t: Terms, pair_share: float) -> np.ndarray:
    return np.sqrt(t["n_points"]) * (t["member_rmse"] - pair_share * t["pair_rms_distance"])


def _all_pairs(t: Terms) -> float:
    """The share of the fair pair term that a mean over all M² pairs has."""
    return (t["n_members"] - 1) / t["n_members"]


def _ssr(t: Terms) -> np.ndarray:
    return np.sqrt((t["n_members"] + 1) / t["n_members"] * t["ensemble_variance"] / t["mean_mse"])


def _coverage_error(t: Terms) -> np.ndarray:
    n_members = t["n_members"]
    return np.abs(coverage_of_ranks(t["rank_cdf"], n_members) - np.array(interval_levels(n_members))).mean(-1)


def _rank_error(t: Terms) -> np.ndarray:
    shares, expected = rank_shares(t["rank_cdf"], t["n_members"])
    return np.abs(shares - expected).sum(-1)


def _first_lead(fails: np.ndarray, counted: np.ndarray) -> np.ndarray:
    """First lead time that fails, `(N, L, C)` to `(N, C)`; the length + 1 where none does."""
    fails = fails & counted[..., None]
    return np.where(fails.any(1), fails.argmax(1) + 1, counted.sum(1)[:, None] + 1).astype(float)


def _correlation_fails(t: Terms) -> np.ndarray:
    return _first_lead(~(t["correlation"] >= VALID_CORRELATION) & (t["truth_variance"] > 0), t["counted"])


def _ssr_fails(t: Terms) -> np.ndarray:
    low, high = VALID_SSR
    ratio = _ssr(t)
    return _first_lead(~((ratio >= low) & (ratio <= high)), t["counted"])


def _high_frequency_ratio(t: Terms) -> np.ndarray:
    return fine_energy_ratio(t["fine_energy"], t["truth_fine_energy"], t["truth_variance"])


def _plain(name: str) -> tuple[Compute, tuple[str, ...]]:
    """A score that is a term."""
    return lambda t: t[name], (name,)


_FORMULAS: dict[str, tuple[Compute, tuple[str, ...]]] = {
    **{name: _plain(name) for name in ("mse", "mae", "rmse", "linf", "correlation")},
    "nmse": (lambda t: t["mse"] / t["truth_square"], ("mse", "truth_square")),
    "nmae": (lambda t: t["mae"] / t["truth_magnitude"], ("mae", "truth_magnitude")),
    "nrmse": (lambda t: t["rmse"] / np.sqrt(t["truth_square"]), ("rmse", "truth_square")),
    "vmse": (lambda t: t["mse"] / (t["truth_variance"] + VRMSE_EPS), ("mse", "truth_variance")),
    "vrmse": (lambda t: t["rmse"] / np.sqrt(t["truth_variance"] + VRMSE_EPS), ("rmse", "truth_variance")),
    "vrmse@well": (lambda t: t["rmse"] / np.sqrt(t["truth_variance"] + 1e-7), ("rmse", "truth_variance")),
    "vrmse@lola": (lambda t: t["rmse"] / np.sqrt(t["truth_variance"] + LOLA_EPS), ("rmse", "truth_variance")),
    "nrmse@pdebench": (lambda t: t["rmse"] / np.sqrt(t["truth_square"]), ("rmse", "truth_square")),
    "high_frequency_ratio": (_high_frequency_ratio, ("fine_energy", "truth_fine_energy", "truth_variance")),
    **{f"{family}_{band}": _plain(f"{family}_{band}") for family in ("psrmse", "coherence") for band in BANDS},
    "crps": (lambda t: _crps(t, _all_pairs(t)), ("member_mae", "pair_distance")),
    "crps_fair": (lambda t: _crps(t, 1.0), ("member_mae", "pair_distance")),
    "crps_almost_fair": (
        lambda t: _crps(t, 1 - (1 - ALPHA) / t["n_members"]),
        ("member_mae", "pair_distance"),
    ),
    "spread": (lambda t: np.sqrt(t["ensemble_variance"]), ("ensemble_variance",)),
    "skill": (lambda t: np.sqrt(t["mean_mse"]), ("mean_mse",)),
    "ssr": (_ssr, ("ensemble_variance", "mean_mse")),
    "spread@lola": (
        lambda t: np.sqrt((t["n_members"] + 1) / t["n_members"] * t["ensemble_variance"]),
        ("ensemble_variance",),
    ),
    "coverage_error": (_coverage_error, ("rank_cdf",)),
    "coverage@interpolated": (
        lambda t: np.abs(t["coverage_interpolated"] - np.array(INTERPOLATED_LEVELS)).mean(-1),
        ("coverage_interpolated",),
    ),
    "rank_error": (_rank_error, ("rank_cdf",)),
    "winkler": (lambda t: t["interval_score"][..., winkler_place(t["n_members"])], ("interval_score",)),
    "energy_score": (lambda t: _energy_score(t, _all_pairs(t)), ("member_rmse", "pair_rms_distance")),
    "energy_score_fair": (lambda t: _energy_score(t, 1.0), ("member_rmse", "pair_rms_distance")),
    "variogram_score": _plain("variogram"),
    "valid_time_correlation": (_correlation_fails, ("correlation", "truth_variance")),
    "valid_time_ssr": (_ssr_fails, ("ensemble_variance", "mean_mse")),
    **{name: _plain(name) for name in ("blow_up", "mean_drift", "energy_drift")},
}
METRICS: dict[str, Metric] = {
    name: Metric(**vars(entry), compute=_FORMULAS[name][0], terms=_FORMULAS[name][1]) for name, entry in ENTRIES.items()
}


def resolve_metrics(names: Iterable[str]) -> list[Metric]:
    """The metrics of these names and families, each once, in this order.

    Raises:
        ConfigError: With the nearest name, if there is no such metric.
    """
    return [METRICS[name] for name in resolve_names(names)]
