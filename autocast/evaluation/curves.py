"""Line charts of an evaluation: scores against lead time, spectra, spread against skill, coverage."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter, NullLocator

from autocast.evaluation.drawings import (
    BLUE,
    GREEN,
    GREY,
    INK,
    MOST_CHANNELS,
    ORANGE,
    PURPLE,
    RULE,
    VERMILION,
    panels,
    styled,
)
from autocast.evaluation.names import (
    BAND_METRICS,
    BASELINE_NAMES,
    COHERENCE_METRICS,
    forecast_name,
    headline_channel,
    headline_channels,
    metric_name,
    score_unit,
    window_name,
)
from autocast.evaluation.result import (
    ALL_CHANNELS,
    CLIMATOLOGY,
    ENSEMBLE,
    LINEAR,
    MEAN,
    MEMBER,
    PERSISTENCE,
    RECONSTRUCTION,
    SIMULATOR_HALF,
    SIMULATOR_QUARTER,
    EvaluationResult,
    LatentUsage,
    Spectrum,
)
from autocast.evaluation.scales import with_unit

if TYPE_CHECKING:
    import pandas as pd

SINGLE, WIDE = (5.6, 3.7), (8.4, 3.2)
MOST_SPECTRA = 4
_BASELINE_LINES: dict[str, dict[str, Any]] = {
    PERSISTENCE: {"color": VERMILION, "linestyle": (0, (5, 2))},
    CLIMATOLOGY: {"color": PURPLE, "linestyle": (0, (1, 1.5))},
    LINEAR: {"color": GREEN, "linestyle": (0, (6, 1.5, 1, 1.5))},
    RECONSTRUCTION: {"color": GREY, "linestyle": (0, (2, 2))},
    SIMULATOR_HALF: {"color": ORANGE, "linestyle": (0, (9, 1.5))},
    SIMULATOR_QUARTER: {"color": ORANGE, "linestyle": (0, (3, 1, 1, 1, 1, 1))},
}
"""A line is known by its dashes as well as by its colour."""
SERIES_LINES: list[dict[str, Any]] = [
    {"color": BLUE, "linestyle": "-", "marker": "o"},
    {"color": VERMILION, "linestyle": "--", "marker": "s"},
    {"color": GREEN, "linestyle": "-.", "marker": "^"},
    {"color": ORANGE, "linestyle": ":", "marker": "D"},
]
FITTING = (0.8, 1.25)
"""Ratios of spread to skill that count as calibrated."""


@styled
def draw_scores(result: EvaluationResult, metric: str) -> Figure:
    """One score against lead time: one member, the mean (or the whole ensemble), and the baselines.

    The average of the channels, or a panel for each of the first few where their units differ. Behind the model's lines
    are 95 % intervals over trajectories.
    """
    channels = headline_channels(result, metric)[:MOST_CHANNELS]
    figure, all_axes = panels(len(channels), size=SINGLE if len(channels) == 1 else WIDE)
    for axes, channel in zip(all_axes, channels, strict=True):
        _draw_score_lines(axes, result, metric, channel)
        lead_time_axis(axes, result.n_steps)
        log_where_wide(axes)
        axes.set_title("mean over channels" if channel == ALL_CHANNELS else channel)
        axes.set_ylabel(with_unit(metric_name(metric), score_unit(result, metric, channel)))
    handles, labels = all_axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3 if len(channels) == 1 else 6)
    return figure


def _draw_score_lines(axes: Axes, result: EvaluationResult, metric: str, channel: str) -> None:
    for model, line in _BASELINE_LINES.items():
        series = _baseline(result, metric, model, channel)
        if model != RECONSTRUCTION or _is_floor(series, result.series(metric, MEMBER, channel=channel)):
            plot(axes, series, BASELINE_NAMES[model], linewidth=1.4, **line)
    for kind, label, width in (
        (MEMBER, forecast_name(result) if result.n_members == 1 else "one member", 1.4),
        (MEAN, f"mean of {result.n_members}", 2.8),
        (ENSEMBLE, f"{result.n_members} members", 2.8),
    ):
        plot(axes, result.series(metric, kind, channel=channel), label, color=BLUE, linewidth=width)
        shade(axes, result.bounds(metric, kind, channel=channel), color=BLUE)


def _is_floor(reconstruction: pd.Series, forecast: pd.Series) -> bool:
    """Whether the autoencoder loses anything: where nothing is compressed, there is only rounding left."""
    return forecast.empty or bool(reconstruction.max() > 1e-4 * forecast.max())


def _baseline(result: EvaluationResult, metric: str, model: str, channel: str) -> pd.Series:
    """A baseline's scores: a single forecast, whatever kind of score it is compared with."""
    for kind in (MEMBER, MEAN, ENSEMBLE):
        series = result.series(metric, kind, model, channel)
        if not series.empty:
            break
    return series


def shade(axes: Axes, bounds: pd.DataFrame, color: str) -> None:
    """The 95 % interval over trajectories behind a line; nothing where it is not known."""
    known = bounds.dropna()
    if not known.empty:
        axes.fill_between(known.index, known["low"], known["high"], color=color, alpha=0.18, linewidth=0)


def plot(axes: Axes, series: pd.Series, label: str, **line: Any) -> None:
    """A line through the finite values; a mark where there is only one, for a line needs two."""
    values = series[np.isfinite(series.to_numpy(dtype=float))]
    if not values.empty:
        axes.plot(values.index, values, label=label, **{"marker": "o" if len(values) == 1 else "", **line})


def lead_time_axis(axes: Axes, n_steps: int) -> None:
    axes.set_xlabel("lead time [steps]")
    step = next(s for s in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 10**9) if n_steps <= 8 * s)
    axes.set_xticks([1, *(tick for tick in range(step, n_steps + 1, step) if tick > max(1, step // 2))])
    axes.set_xlim(1 - 0.02 * max(n_steps - 1, 10), n_steps + 0.02 * max(n_steps - 1, 10))


def log_where_wide(axes: Axes) -> None:
    """A logarithmic axis where the curves span more than a factor of thirty, else one from zero."""
    values = np.concatenate([np.ones(0), *(np.asarray(line.get_ydata(), dtype=float) for line in axes.lines)])
    if not values.size or values.min() < 0:
        return
    if values.min() > 0 and values.max() > 30 * values.min():
        axes.set_yscale("log")
    else:
        axes.set_ylim(bottom=0)


@styled
def draw_spectra(spectra: Spectrum, channel: int, name: str, *, forecast: str = "one member") -> Figure:
    """Power against wavenumber at a few lead times: what a forecast smooths away shows on the right."""
    shown = np.unique(np.linspace(0, len(spectra.lead_times) - 1, MOST_SPECTRA).round().astype(int))
    figure, all_axes = panels(len(shown), size=WIDE, sharex=True, sharey=True)
    lines: list[tuple[str, np.ndarray | None, dict[str, Any]]] = [
        ("truth", spectra.truth, {"color": INK, "linewidth": 2.6}),
        ("reconstruction floor", spectra.reconstruction, {**_BASELINE_LINES[RECONSTRUCTION], "linewidth": 1.4}),
        (forecast, spectra.member, {"color": BLUE, "linewidth": 1.4}),
        ("ensemble mean", spectra.mean, {"color": VERMILION, "linestyle": (0, (5, 2)), "linewidth": 1.4}),
    ]
    for axes, i in zip(all_axes, shown, strict=True):
        for label, power, line in lines:
            if power is not None:
                axes.plot(spectra.wavenumber, _positive(power[i, :, channel]), label=label, **line)
        if spectra.member_bounds is not None:
            low, high = (_positive(bound[i, :, channel]) for bound in spectra.member_bounds)
            axes.fill_between(spectra.wavenumber, low, high, color=BLUE, alpha=0.18, linewidth=0)
        axes.set(xscale="log", yscale="log", title=f"lead time {spectra.lead_times[i]}", xlabel="wavenumber")
        # Labels of minor ticks run into each other on a narrow logarithmic axis.
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.yaxis.set_minor_locator(NullLocator())
    all_axes[0].set_ylabel(f"power of {name}")
    handles, labels = all_axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4)
    return figure


def _positive(power: np.ndarray) -> np.ndarray:
    """Only what a logarithmic axis can show."""
    return np.where(np.isfinite(power) & (power > 0), power, np.nan)


@styled
def draw_band_errors(result: EvaluationResult) -> Figure:
    """Relative error of the power spectrum of one member against lead time, a line for each band of wavenumbers."""
    figure = _draw_bands(result, BAND_METRICS, "error of the power spectrum")
    log_where_wide(figure.axes[0])
    return figure


@styled
def draw_coherence(result: EvaluationResult) -> Figure:
    """Coherence of one member with the truth against lead time, a line for each band of wavenumbers; 1 is best."""
    figure = _draw_bands(result, COHERENCE_METRICS, "coherence with the truth")
    figure.axes[0].set_ylim(0, 1.05)
    return figure


def _draw_bands(result: EvaluationResult, metrics: dict[str, str], name: str) -> Figure:
    figure, (axes,) = panels(1, size=SINGLE)
    for line, (metric, band) in zip(SERIES_LINES, metrics.items(), strict=True):
        series = result.series(metric, MEMBER)
        plot(axes, series, band, **{**line, "marker": "o" if len(series) == 1 else ""})
    lead_time_axis(axes, result.n_steps)
    axes.set(title="mean over channels", ylabel=name)
    figure.legend(loc="outside lower center", ncols=4)
    return figure


@styled
def draw_spread_skill(result: EvaluationResult) -> Figure:
    """Left spread and skill (the error of the mean); right their ratio, calibrated near 1."""
    channel = headline_channel(result, "spread")
    figure, (left, right) = panels(2, size=WIDE)
    plot(left, result.series("skill", ENSEMBLE, channel=channel), "skill: error of the mean", color=VERMILION)
    plot(left, result.series("spread", ENSEMBLE, channel=channel), "spread", color=BLUE, linestyle=(0, (5, 2)))
    for metric, color in (("skill", VERMILION), ("spread", BLUE)):
        shade(left, result.bounds(metric, ENSEMBLE, channel=channel), color=color)
    name = "mean over channels" if channel == ALL_CHANNELS else channel
    left.set(title=name, ylim=(0, top(left)), ylabel=with_unit("spread, skill", score_unit(result, "spread", channel)))
    left.legend(loc="best")
    right.axhspan(*FITTING, color=RULE, alpha=0.5, linewidth=0)
    right.axhline(1.0, color=INK, linewidth=1.0)
    for line, (label, series, bounds) in zip(SERIES_LINES, _ratios(result), strict=False):
        plot(right, series, label, **{**line, "marker": "o" if len(series) == 1 else ""})
        shade(right, bounds, color=line["color"])
    right.set(title="ratio, calibrated in the band", ylabel="spread / skill", ylim=(0, max(1.5, top(right))))
    right.legend(loc="lower right", ncols=2)
    for axes in (left, right):
        lead_time_axis(axes, result.n_steps)
    return figure


@styled
def draw_latents(latents: LatentUsage) -> Figure:
    """Left the std of each latent channel, the largest first; right how few axes hold how much of the variance."""
    figure, (left, right) = panels(2, size=WIDE)
    std = latents.table["std"].sort_values(ascending=False).to_numpy()
    numbers = np.arange(1, latents.n_channels + 1)
    left.plot(numbers, _positive(std), color=BLUE, marker="o", markersize=3.5, linewidth=1.0)
    left.axhline(latents.active_above, color=VERMILION, linewidth=1.0, linestyle=(0, (5, 2)), label="active above")
    left.set(title="by channel", yscale="log", xlabel="channels, the most variable first", ylabel="std of latents")
    left.legend(loc="best")
    share = np.cumsum(latents.spectrum) / max(float(latents.spectrum.sum()), 1e-300)
    right.plot([0, *numbers], [0.0, *share], color=BLUE)
    right.axvline(
        latents.participation_ratio, color=INK, linewidth=1.0, linestyle=(0, (1, 1.5)), label="participation ratio"
    )
    right.set(title="by principal axis", ylim=(0, 1.05), xlabel="principal axes", ylabel="share of the variance")
    right.legend(loc="lower right")
    return figure


def top(axes: Axes) -> float:
    """A little above the highest finite value."""
    values = np.concatenate([np.asarray(line.get_ydata(), dtype=float) for line in axes.lines] or [np.ones(1)])
    values = values[np.isfinite(values)]
    return float(1.08 * values.max()) if values.size and values.max() > 0 else 1.0


def _ratios(result: EvaluationResult) -> list[tuple[str, pd.Series, pd.DataFrame]]:
    """Ratios of spread to skill by name, with their bounds."""
    channels = {name: name for name in result.spec.channel_names[:MOST_CHANNELS]}
    measured = {name: c for name, c in channels.items() if not result.series("ssr", ENSEMBLE, channel=c).empty}
    return [
        (name, result.series("ssr", ENSEMBLE, channel=c), result.bounds("ssr", ENSEMBLE, channel=c))
        for name, c in (measured or {"all channels": ALL_CHANNELS}).items()
    ]


@styled
def draw_coverage(coverage: pd.DataFrame) -> Figure:
    """Observed against nominal coverage, one line per window of lead times, averaged over channels."""
    figure, (axes,) = panels(1, size=SINGLE)
    coverage_lines(axes, coverage)
    figure.legend(loc="outside right upper")
    return figure


def coverage_lines(axes: Axes, coverage: pd.DataFrame) -> None:
    rows = coverage[coverage.channel == ALL_CHANNELS]
    table = (
        (coverage if rows.empty else rows).groupby(["window", "level"], sort=False)[["coverage", "low", "high"]].mean()
    )
    axes.plot([0, 1], [0, 1], color=INK, linewidth=1.0, label="calibrated")
    for i, window in enumerate(coverage.window.unique()):
        levels = table.loc[window].sort_index()
        line = SERIES_LINES[i % len(SERIES_LINES)]
        axes.plot(levels.index, levels.coverage, label=window_name(window), linewidth=1.4, markersize=4.5, **line)
        shade(axes, levels[["low", "high"]], color=line["color"])
    axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="nominal coverage", ylabel="observed coverage", aspect="equal")


@styled
def draw_ranks(ranks: pd.DataFrame) -> Figure:
    """Share of each rank over a perfect ensemble's, one line per window of lead times, averaged over channels."""
    figure, (axes,) = panels(1, size=SINGLE)
    rank_lines(axes, ranks)
    figure.legend(loc="outside right upper")
    return figure


def rank_lines(axes: Axes, ranks: pd.DataFrame) -> None:
    axes.axhline(1.0, color=INK, linewidth=1.0, label="calibrated")
    for i, window in enumerate(ranks.window.unique()):
        rows = ranks[(ranks.window == window) & (ranks.channel == ALL_CHANNELS)]
        centre = (rows.first_rank + rows.last_rank) / 2
        line = SERIES_LINES[i % len(SERIES_LINES)]
        axes.plot(centre, rows.share / rows.expected, label=window_name(window), linewidth=1.4, markersize=4.5, **line)
        bounds = rows[["low", "high"]].div(rows.expected, axis=0).set_axis(centre)
        shade(axes, bounds, color=line["color"])
    axes.set(ylim=(0, top(axes)), xlabel="rank of the truth among the members", ylabel="share / calibrated share")
