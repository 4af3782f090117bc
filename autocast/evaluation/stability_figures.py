"""Figures of whether rollouts hold: drift and blow-up over lead time, and until when trajectories stay valid."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from autocast.evaluation.curves import SINGLE, draw_scores, lead_time_axis
from autocast.evaluation.drawings import BLUE, VERMILION, Drawing, file_name, panels, save, styled
from autocast.evaluation.names import STABILITY_METRICS, headline_channels, metric_name
from autocast.evaluation.result import MEMBER, EvaluationResult
from autocast.evaluation.validity import VALID_TIMES, Validity, validity

_LINES: dict[str, dict[str, Any]] = {
    "valid_time_correlation": {"color": BLUE, "linestyle": "-"},
    "valid_time_ssr": {"color": VERMILION, "linestyle": (0, (5, 2))},
}


def draw_stability(result: EvaluationResult, directory: Path) -> list[Drawing]:
    """What was measured of it, as PNG and SVG in `directory`; no blow-up where nothing blew up."""
    found = {metric: each for metric in VALID_TIMES if (each := validity(result, metric)) is not None}
    drawings = [_save_valid_times(result, found, directory)] if found else []
    for metric in STABILITY_METRICS:
        channels = headline_channels(result, metric)
        series = [result.series(metric, MEMBER, channel=channel) for channel in channels]
        measured = [values for values in series if not values.dropna().empty]
        if measured and (metric != "blow_up" or max(values.max() for values in measured) > 0):
            drawings.append(_save_scores(result, metric, directory))
    return drawings


def _save_scores(result: EvaluationResult, metric: str, directory: Path) -> Drawing:
    name = metric_name(metric)
    return save(
        draw_scores(result, metric),
        directory,
        f"stability_{file_name(metric)}",
        section="stability",
        title=f"{name[0].upper()}{name[1:]} against lead time",
        alt=f"Line chart of {name} against lead time, the model and the baselines; 0 is best.",
        wide=len(headline_channels(result, metric)) > 1,
    )


def _save_valid_times(result: EvaluationResult, found: dict[str, Validity], directory: Path) -> Drawing:
    said = "; ".join(
        f"by {VALID_TIMES[metric]} {each.mean:.3g} of {result.n_steps} steps on average, "
        f"{100 * each.share_complete:.0f} % to the end"
        for metric, each in found.items()
    )
    return save(
        draw_valid_times(result, found),
        directory,
        "valid_times",
        section="stability",
        title="Trajectories that are still valid",
        alt=f"Share of the trajectories whose forecast is still valid, against lead time: {said}.",
    )


@styled
def draw_valid_times(result: EvaluationResult, found: dict[str, Validity]) -> Figure:
    """Share of trajectories that are still valid; a mark for each one where it ends, open where it ends valid."""
    figure, (axes,) = panels(1, size=SINGLE)
    for metric, each in found.items():
        order = np.argsort(each.steps, kind="stable")
        steps, n = each.steps[order], len(order)
        share = 1 - np.arange(1, n + 1) / n
        line = _LINES[metric]
        axes.step([0, *steps, result.n_steps], [1, *share, share[-1]], where="post", label=VALID_TIMES[metric], **line)
        for complete, filling in ((False, line["color"]), (True, "none")):
            mine = each.complete[order] == complete
            axes.plot(steps[mine], share[mine] + 1 / n, "o", markersize=4, color=line["color"], markerfacecolor=filling)
    lead_time_axis(axes, result.n_steps)
    axes.set_xlim(left=-0.02 * max(result.n_steps, 10))
    axes.set(ylim=(-0.03, 1.05), ylabel="share of trajectories")
    figure.legend(loc="outside lower center", ncols=2)
    return figure
