"""What figures, tables and the report call scores, forecasts and windows, and which scores they show first."""

from __future__ import annotations

from autocast.evaluation.result import (
    ALL_CHANNELS,
    CLIMATOLOGY,
    LINEAR,
    MODEL,
    PERSISTENCE,
    RECONSTRUCTION,
    SIMULATOR_HALF,
    SIMULATOR_QUARTER,
    EvaluationResult,
)

BASELINE_NAMES = {
    PERSISTENCE: "persistence",
    CLIMATOLOGY: "climatology",
    LINEAR: "linear map",
    RECONSTRUCTION: "reconstruction floor",
    SIMULATOR_HALF: "simulator, half resolution",
    SIMULATOR_QUARTER: "simulator, quarter resolution",
}
METRIC_NAMES = {
    "vrmse": "VRMSE",
    "vrmse@well": "VRMSE (The Well's)",
    "vrmse@lola": "VRMSE (LOLA's)",
    "nrmse": "NRMSE",
    "nrmse@pdebench": "NRMSE (PDEBench's)",
    "vmse": "VMSE",
    "nmse": "NMSE",
    "nmae": "NMAE",
    "rmse": "RMSE",
    "mse": "MSE",
    "mae": "MAE",
    "linf": "largest error",
    "correlation": "correlation",
    "crps": "CRPS",
    "crps_fair": "CRPS (fair)",
    "crps_almost_fair": "CRPS (almost fair)",
    "ssr": "spread / skill",
    "spread@lola": "spread (LOLA's)",
    "coverage@interpolated": "coverage error of interpolated quantiles",
    "rank_error": "unevenness of ranks",
    "winkler": "Winkler score",
    "energy_score_fair": "energy score (fair)",
    "valid_time_correlation": "valid time by correlation",
    "valid_time_ssr": "valid time by spread / skill",
    "blow_up": "share of members that blew up",
    "high_frequency_ratio": "high-frequency energy over the truth's",
    "psrmse_low": "spectrum RMSE, low band",
    "psrmse_mid": "spectrum RMSE, middle band",
    "psrmse_high": "spectrum RMSE, high band",
    "psrmse_tail": "spectrum RMSE, tail",
    "coherence_low": "coherence, low band",
    "coherence_mid": "coherence, middle band",
    "coherence_high": "coherence, high band",
    "coherence_tail": "coherence, tail",
}
NO_UNITS = ("", "1")
"""Unknown, and a pure number: nothing to print."""
MIXED_UNITS = "mixed"
"""Unit of an average over channels that should not be shown: the channels are measured in different units."""
HEADLINE_METRIC = "vrmse"
STABILITY_METRICS = ("blow_up", "mean_drift", "energy_drift")
"""Metrics by lead time that say whether a rollout holds."""
DRAWN_ELSEWHERE = (
    *("spread", "skill", "ssr", "coverage_error", "rank_error", "high_frequency_ratio"),
    *STABILITY_METRICS,
)
"""Metrics without a curve: they have a figure of their own, as the bands of wavenumbers have, or say enough as
numbers."""
BAND_METRICS = {"psrmse_low": "low", "psrmse_mid": "middle", "psrmse_high": "high", "psrmse_tail": "tail"}
COHERENCE_METRICS = {
    "coherence_low": "low",
    "coherence_mid": "middle",
    "coherence_high": "high",
    "coherence_tail": "tail",
}


def metric_name(metric: str) -> str:
    return METRIC_NAMES.get(metric) or metric.replace("_", " ")


def window_name(window: str) -> str:
    """`"all"`, `"3"` and `"6:12"` in words."""
    if window == "all":
        return "all leads"
    first, _, last = str(window).partition(":")
    return f"leads {first}–{last}" if last else f"lead {first}"


def forecast_name(result: EvaluationResult) -> str:
    """What the only member of a result is."""
    return "reconstruction" if result.reconstructs else "forecast"


def curve_metrics(result: EvaluationResult) -> list[str]:
    """Metrics of the model that are drawn against lead time, the headline first."""
    found = dict.fromkeys(result.scores[result.scores.model == MODEL].metric)
    curves = (m for m in found if m not in (*DRAWN_ELSEWHERE, *BAND_METRICS, *COHERENCE_METRICS))
    return sorted(curves, key=lambda m: m != HEADLINE_METRIC)


def headline_channel(result: EvaluationResult, metric: str) -> str:
    """The average of the channels where it means something, else the first channel that was measured."""
    return headline_channels(result, metric)[0]


def headline_channels(result: EvaluationResult, metric: str) -> list[str]:
    """The average of the channels alone where it means something, else all the channels that were measured."""
    rows = result.scores[result.scores.metric == metric]
    channels = list(dict.fromkeys(rows[(rows.channel != ALL_CHANNELS)].channel))
    average = rows[rows.channel == ALL_CHANNELS]
    if not channels or not (average.empty or average.unit.iloc[0] == MIXED_UNITS):
        return [ALL_CHANNELS]
    return channels


def score_unit(result: EvaluationResult, metric: str, channel: str) -> str:
    """The unit as it is printed: "" for a pure number."""
    s = result.scores
    units = s[(s.metric == metric) & (s.channel == channel)].unit
    return "" if units.empty else unit_text(str(units.iloc[0]))


def unit_text(unit: str) -> str:
    return "" if unit in NO_UNITS else unit
