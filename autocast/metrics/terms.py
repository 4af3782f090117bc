"""What scores are made of: means over space per trajectory, lead time and channel, each computed once.

A window of a rollout is reduced to its terms as it comes; the fields are then forgotten. All scores are formulas of
terms (see `autocast.metrics.registry`), so an RMSE and a VRMSE share one pass over the errors.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property, partial

from torch import Tensor

from autocast.metrics import deterministic, probabilistic
from autocast.metrics.spectral import BANDS, Grid, isotropic_power, spectral_rmse


class Comparison:
    """Forecasts `(B, M, T, *S, C)`, each by itself, against the truth `(B, T, *S, C)`."""

    def __init__(self, truth: Tensor, forecast: Tensor, grid: Grid):
        self.truth = truth
        self.forecast = forecast
        self.grid = grid

    @cached_property
    def squared_errors(self) -> Tensor:
        """`(B, M, T, C)`"""
        return deterministic.squared_errors(self.truth, self.forecast, self.grid.n_dims)

    @cached_property
    def truth_power(self) -> Tensor:
        """`(B, T, n_shells, C)`"""
        return isotropic_power(self.truth, self.grid)

    @cached_property
    def power(self) -> Tensor:
        """`(B, M, T, n_shells, C)`"""
        return isotropic_power(self.forecast, self.grid)

    @cached_property
    def band_errors(self) -> dict[str, Tensor]:
        """`(B, T, C)` by band."""
        errors = spectral_rmse(self.truth_power.unsqueeze(1), self.power)
        return {band: error.mean(1) for band, error in errors.items()}


class Window:
    """Some steps of an ensemble forecast and the truth: the members and their mean, which are different forecasts."""

    def __init__(self, truth: Tensor, forecast: Tensor, grid: Grid):
        self.truth = truth
        self.grid = grid
        self.member = Comparison(truth, forecast, grid)

    @cached_property
    def mean(self) -> Comparison:
        if self.n_members == 1:
            return self.member
        return Comparison(self.truth, self.member.forecast.mean(1, keepdim=True), self.grid)

    @property
    def n_members(self) -> int:
        return self.member.forecast.shape[1]


def _band_error(comparison: Comparison, band: str) -> Tensor:
    return comparison.band_errors[band]


FORECAST_TERMS: dict[str, Callable[[Comparison], Tensor]] = {
    "mse": lambda c: c.squared_errors.mean(1),
    "rmse": lambda c: c.squared_errors.sqrt().mean(1),
    "mae": lambda c: deterministic.mae(c.truth, c.forecast, c.grid.n_dims),
    "linf": lambda c: deterministic.linf(c.truth, c.forecast, c.grid.n_dims),
    "correlation": lambda c: deterministic.correlation(c.truth, c.forecast, c.grid.n_dims),
    **{f"psrmse_{band}": partial(_band_error, band=band) for band in BANDS},
}
"""Terms of the members and of their mean, as `member_<name>` and `mean_<name>`: `(B, T, C)`."""


def _of_member(window: Window, term: Callable[[Comparison], Tensor]) -> Tensor:
    return term(window.member)


def _of_mean(window: Window, term: Callable[[Comparison], Tensor]) -> Tensor:
    return term(window.mean)


TERMS: dict[str, Callable[[Window], Tensor]] = {
    "truth_square": lambda w: deterministic.mean_square(w.truth, w.grid.n_dims),
    "truth_variance": lambda w: deterministic.variance(w.truth, w.grid.n_dims),
    "pair_distance": lambda w: probabilistic.half_pair_distance(w.truth, w.member.forecast, w.grid.n_dims),
    "ensemble_variance": lambda w: probabilistic.ensemble_variance(w.member.forecast, w.grid.n_dims),
    "coverage": lambda w: probabilistic.interval_coverage(w.truth, w.member.forecast, w.grid.n_dims),
    **{f"member_{name}": partial(_of_member, term=term) for name, term in FORECAST_TERMS.items()},
    **{f"mean_{name}": partial(_of_mean, term=term) for name, term in FORECAST_TERMS.items()},
}
"""`(B, T, C)`; coverage has an axis of levels behind."""
