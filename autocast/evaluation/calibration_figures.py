"""Figures of a calibration: the model before, and after it."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from autocast.evaluation.curves import (
    FITTING,
    SERIES_LINES,
    SINGLE,
    WIDE,
    coverage_lines,
    lead_time_axis,
    plot,
    rank_lines,
    shade,
    top,
)
from autocast.evaluation.drawings import BLUE, INK, MOST_CHANNELS, RULE, VERMILION, Drawing, panels, save, styled
from autocast.evaluation.names import window_name
from autocast.evaluation.result import (
    CALIBRATED,
    ENSEMBLE,
    MODEL,
    Calibration,
    EvaluationResult,
)


def draw_calibration(result: EvaluationResult, calibration: Calibration, directory: Path) -> list[Drawing]:
    """Coverage, and of a calibrated ensemble ratio of spread to skill and ranks, each before and after."""
    drawings = [
        save(
            draw_coverage_change(result, calibration),
            directory,
            "coverage",
            section="calibration",
            title="Coverage of central intervals, before and after calibration",
            alt=(
                "How often intervals hold the truth, against how often they should, of the model and after "
                f"calibration. One line each for {', '.join(map(window_name, calibration.coverage.window.unique()))}."
            ),
            wide=result.coverage is not None,
        ),
        save(
            draw_coverage_by_lead(result, calibration),
            directory,
            "coverage_by_lead",
            section="calibration",
            title=f"Coverage at level {calibration.shown_level:.3g} against lead time",
            alt=f"Share of points inside the interval of level {calibration.shown_level:.3g} at each lead time.",
        ),
    ]
    if calibration.ranks is None or result.ranks is None:
        return drawings
    return [
        *drawings,
        save(
            draw_rank_change(result.ranks, calibration.ranks),
            directory,
            "rank_histogram",
            section="calibration",
            title="Ranks of the truth among the members, before and after calibration",
            alt="How often the truth has each rank, relative to a calibrated ensemble, flat at 1.",
            wide=True,
        ),
        save(
            draw_ratio_change(result),
            directory,
            "spread_skill_calibrated",
            section="calibration",
            title="Ratio of spread to skill, before and after calibration",
            alt="Ratio of spread to skill against lead time; it is 1 where the spread fits the error.",
            wide=True,
        ),
    ]


@styled
def draw_coverage_change(result: EvaluationResult, calibration: Calibration) -> Figure:
    """Observed against nominal coverage: of the model, if it is an ensemble, and of the calibrated intervals."""
    before = [("before", result.coverage)] if result.coverage is not None else []
    tables = [*before, ("after", calibration.coverage)]
    figure, all_axes = panels(len(tables), size=WIDE if before else SINGLE)
    for axes, (name, table) in zip(all_axes, tables, strict=True):
        coverage_lines(axes, table)
        axes.set_title(name)
    figure.legend(*all_axes[-1].get_legend_handles_labels(), loc="outside right upper")
    return figure


@styled
def draw_coverage_by_lead(result: EvaluationResult, calibration: Calibration) -> Figure:
    """Coverage of one level against lead time, with 95 % intervals over trajectories."""
    figure, (axes,) = panels(1, size=SINGLE)
    axes.axhline(calibration.shown_level, color=INK, linewidth=1.0, label="nominal")
    for model, label, color in ((MODEL, "before", VERMILION), (CALIBRATED, "after", BLUE)):
        rows = calibration.coverage_at_level(model)
        plot(axes, rows["coverage"], label, color=color)
        shade(axes, rows[["low", "high"]], color=color)
    lead_time_axis(axes, result.n_steps)
    axes.set(title="mean over channels", ylim=(0, 1), ylabel="observed coverage")
    figure.legend(loc="outside lower center", ncols=3)
    return figure


@styled
def draw_rank_change(before: pd.DataFrame, after: pd.DataFrame) -> Figure:
    """Rank histograms over a perfect ensemble's, to the same scale."""
    figure, all_axes = panels(2, size=WIDE)
    for axes, name, ranks in zip(all_axes, ("before", "after"), (before, after), strict=True):
        rank_lines(axes, ranks)
        axes.set_title(name)
    highest = max(axes.get_ylim()[1] for axes in all_axes)
    for axes in all_axes:
        axes.set_ylim(0, highest)
    figure.legend(*all_axes[-1].get_legend_handles_labels(), loc="outside right upper")
    return figure


@styled
def draw_ratio_change(result: EvaluationResult) -> Figure:
    """Ratio of spread to skill of each channel against lead time, to the same scale."""
    figure, all_axes = panels(2, size=WIDE)
    for axes, name, model in zip(all_axes, ("before", "after"), (MODEL, CALIBRATED), strict=True):
        axes.axhspan(*FITTING, color=RULE, alpha=0.5, linewidth=0)
        axes.axhline(1.0, color=INK, linewidth=1.0)
        for line, channel in zip(SERIES_LINES, result.spec.channel_names[:MOST_CHANNELS], strict=False):
            series = result.series("ssr", ENSEMBLE, model, channel)
            plot(axes, series, channel, **{**line, "marker": "o" if len(series) == 1 else ""})
        lead_time_axis(axes, result.n_steps)
        axes.set(title=name, ylabel="spread / skill")
    highest = max(1.5, *(top(axes) for axes in all_axes))
    for axes in all_axes:
        axes.set_ylim(0, highest)
    figure.legend(*all_axes[-1].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return figure
