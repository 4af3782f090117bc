"""What scores are made of: means over space per trajectory, lead time and channel, each computed once.

A window of a rollout is reduced to its terms as it comes; the fields are then forgotten. All scores are formulas of
terms (see `autocast.metrics.registry`), so an RMSE and a VRMSE share one pass over the errors.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property, partial

from torch import Tensor

from autocast.metrics import deterministic, probabilistic, stability
from autocast.metrics.catalogue import BANDS, INTERPOLATED_LEVELS
from autocast.metrics.spectral import (
    Grid,
    coherence,
    isotropic_cross_power,
    power_and_fine_energy,
    spectral_rmse,
)
from autocast.metrics.stability import Reference


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
    def largest_errors(self) -> Tensor:
        """`(B, M, T, C)`"""
        return deterministic.largest_errors(self.truth, self.forecast, self.grid.n_dims)

    @property
    def truth_power(self) -> Tensor:
        """`(B, T, n_shells, C)`"""
        return self._truth_spectra[0]

    @property
    def power(self) -> Tensor:
        """`(B, M, T, n_shells, C)`"""
        return self._spectra[0]

    @property
    def truth_fine_energy(self) -> Tensor:
        """`(B, T, C)`"""
        return self._truth_spectra[1]

    @property
    def fine_energies(self) -> Tensor:
        """`(B, M, T, C)`"""
        return self._spectra[1]

    @cached_property
    def _truth_spectra(self) -> tuple[Tensor, Tensor]:
        return power_and_fine_energy(self.truth, self.grid)

    @cached_property
    def _spectra(self) -> tuple[Tensor, Tensor]:
        return power_and_fine_energy(self.forecast, self.grid)

    @cached_property
    def band_errors(self) -> dict[str, Tensor]:
        """`(B, T, C)` by band."""
        errors = spectral_rmse(self.truth_power.unsqueeze(1), self.power)
        return {band: error.mean(1) for band, error in errors.items()}

    @cached_property
    def band_coherences(self) -> dict[str, Tensor]:
        """`(B, T, C)` by band."""
        truth = self.truth.unsqueeze(1)
        cross_power = isotropic_cross_power(self.forecast, truth, self.grid)
        found = coherence(self.truth_power.unsqueeze(1), self.power, cross_power)
        return {band: values.mean(1) for band, values in found.items()}


class Window:
    """Some steps of an ensemble forecast and the truth: the members and their mean, which are different forecasts.

    Args:
        truth: `(B, T, *S, C)`
        forecast: `(B, M, T, *S, C)`
        grid: Of both.
        reference: What stability is measured against; by default of this window's truth.
    """

    def __init__(self, truth: Tensor, forecast: Tensor, grid: Grid, reference: Reference | None = None):
        self.truth = truth
        self.grid = grid
        self.reference = reference or Reference.of(truth, grid.n_dims)
        self.member = Comparison(truth, forecast, grid)

    @cached_property
    def mean(self) -> Comparison:
        if self.n_members == 1:
            return self.member
        return Comparison(self.truth, self.member.forecast.mean(1, keepdim=True), self.grid)

    @property
    def n_members(self) -> int:
        return self.member.forecast.shape[1]

    def scaled(self, factor: Tensor) -> Window:
        """The ensemble with deviations from its mean times a factor `(T, C)`; the mean is the same."""
        forecast, centre = self.member.forecast, self.mean.forecast
        factor = factor.view(len(factor), *[1] * self.grid.n_dims, -1)
        other = Window(self.truth, centre + factor * (forecast - centre), self.grid, self.reference)
        other.mean = self.mean
        return other


def _band_error(comparison: Comparison, band: str) -> Tensor:
    return comparison.band_errors[band]


def _band_coherence(comparison: Comparison, band: str) -> Tensor:
    return comparison.band_coherences[band]


FORECAST_TERMS: dict[str, Callable[[Comparison], Tensor]] = {
    "mse": lambda c: c.squared_errors.mean(1),
    "rmse": lambda c: c.squared_errors.sqrt().mean(1),
    "mae": lambda c: deterministic.mae(c.truth, c.forecast, c.grid.n_dims),
    "linf": lambda c: c.largest_errors.mean(1),
    "correlation": lambda c: deterministic.correlation(c.truth, c.forecast, c.grid.n_dims),
    "fine_energy": lambda c: c.fine_energies.mean(1),
    **{f"psrmse_{band}": partial(_band_error, band=band) for band in BANDS},
    **{f"coherence_{band}": partial(_band_coherence, band=band) for band in BANDS},
}
"""Terms of the members and of their mean, as `member_<name>` and `mean_<name>`: `(B, T, C)`."""


def _of_member(window: Window, term: Callable[[Comparison], Tensor]) -> Tensor:
    return term(window.member)


def _of_mean(window: Window, term: Callable[[Comparison], Tensor]) -> Tensor:
    return term(window.mean)


def _of_truth(window: Window, term: Callable[[Tensor, int], Tensor]) -> Tensor:
    return term(window.truth, window.grid.n_dims)


def _of_members(window: Window, term: Callable[[Tensor, int], Tensor]) -> Tensor:
    return term(window.member.forecast, window.grid.n_dims)


def _of_both(window: Window, term: Callable[[Tensor, Tensor, int], Tensor]) -> Tensor:
    return term(window.truth, window.member.forecast, window.grid.n_dims)


def _since_reference(window: Window, term: Callable[[Reference, Tensor, int], Tensor]) -> Tensor:
    return term(window.reference, window.member.forecast, window.grid.n_dims)


TERMS: dict[str, Callable[[Window], Tensor]] = {
    "truth_square": partial(_of_truth, term=deterministic.mean_square),
    "truth_magnitude": partial(_of_truth, term=deterministic.mean_magnitude),
    "truth_variance": partial(_of_truth, term=deterministic.variance),
    "truth_fine_energy": lambda w: w.member.truth_fine_energy,
    "pair_distance": partial(_of_both, term=probabilistic.half_pair_distance),
    "pair_rms_distance": partial(_of_members, term=probabilistic.half_pair_rms_distance),
    "ensemble_variance": partial(_of_members, term=probabilistic.ensemble_variance),
    "variogram": partial(_of_both, term=probabilistic.variogram_score),
    "rank_cdf": partial(_of_both, term=probabilistic.rank_cdf),
    "coverage_interpolated": partial(_of_both, term=probabilistic.interpolated_coverage),
    "interval_score": partial(_of_both, term=probabilistic.interval_score),
    "blow_up": lambda w: stability.blow_up(w.reference, w.member.largest_errors),
    "mean_drift": partial(_since_reference, term=stability.mean_drift),
    "energy_drift": partial(_since_reference, term=stability.energy_drift),
    **{f"member_{name}": partial(_of_member, term=term) for name, term in FORECAST_TERMS.items()},
    **{f"mean_{name}": partial(_of_mean, term=term) for name, term in FORECAST_TERMS.items()},
}
"""`(B, T, C)`; those of `WIDE_TERMS` have an axis of several values behind."""
WIDE_TERMS: dict[str, Callable[[int], int]] = {
    "rank_cdf": lambda n_members: len(probabilistic.rank_cuts(n_members)),
    "coverage_interpolated": lambda _: len(INTERPOLATED_LEVELS),
    "interval_score": lambda n_members: len(probabilistic.interval_ranks(n_members)),
}
"""Number of values from that of members: bounded, however many those are."""
