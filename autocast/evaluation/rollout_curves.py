"""Figure of the ways of rolling a latent emulator out: through its latents, through the fields, and the floor."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from autocast.evaluation.curves import SINGLE, lead_time_axis, log_where_wide, plot, shade
from autocast.evaluation.drawings import BLUE, GREY, VERMILION, Drawing, panels, save, styled
from autocast.evaluation.names import BASELINE_NAMES, metric_name
from autocast.evaluation.result import CARRIES, MEMBER, MODEL, RECONSTRUCTION, EvaluationResult

METRIC = "vrmse"
_LINES: dict[str, dict[str, Any]] = {
    "encode_once": {"color": BLUE},
    "ambient": {"color": VERMILION, "linestyle": (0, (5, 2))},
}


def draw_rollouts(result: EvaluationResult, directory: Path) -> list[Drawing]:
    """VRMSE of one member by what it carries from window to window; nothing where there is one way alone."""
    forecasts = _forecasts(result)
    if len(forecasts) < 2:
        return []
    ends = "; ".join(
        f"carrying {CARRIES[mode]} {result.series(METRIC, MEMBER, model).iloc[-1]:.3g}"
        for mode, model in forecasts.items()
    )
    drawing = save(
        _draw(result, forecasts),
        directory,
        "rollouts",
        section="rollouts",
        title="Ways of rolling out",
        alt=(
            f"VRMSE of one member against lead time, by what it carries from window to window, beside the loss of the "
            f"autoencoder alone. At lead {result.n_steps}: {ends}."
        ),
    )
    return [drawing]


def _forecasts(result: EvaluationResult) -> dict[str, str]:
    """Value of the column `model` by mode of the rollout, the model's own mode first."""
    own = str(result.provenance.get("rollout", {}).get("mode"))
    others = [mode for mode in CARRIES if not result.series(METRIC, MEMBER, mode).empty]
    return {own: MODEL, **dict(zip(others, others, strict=True))} if own in CARRIES else {}


@styled
def _draw(result: EvaluationResult, forecasts: dict[str, str]) -> Figure:
    figure, (axes,) = panels(1, size=SINGLE)
    for mode, model in forecasts.items():
        plot(axes, result.series(METRIC, MEMBER, model), f"carries {CARRIES[mode]} ({mode})", **_LINES[mode])
        shade(axes, result.bounds(METRIC, MEMBER, model), color=_LINES[mode]["color"])
    floor = result.series(METRIC, MEMBER, RECONSTRUCTION)
    plot(axes, floor, BASELINE_NAMES[RECONSTRUCTION], color=GREY, linestyle=(0, (2, 2)), linewidth=1.4)
    lead_time_axis(axes, result.n_steps)
    log_where_wide(axes)
    axes.set(title="one member, mean over channels", ylabel=metric_name(METRIC))
    figure.legend(loc="outside lower center", ncols=1)
    return figure
