"""The tables of a report as HTML: scores beside the baselines, scores by channel, provenance."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from autocast.evaluation.names import (
    BAND_METRICS,
    BASELINE_NAMES,
    MIXED_UNITS,
    curve_metrics,
    forecast_name,
    headline_channel,
    metric_name,
    unit_text,
    window_name,
)
from autocast.evaluation.result import (
    ALL_CHANNELS,
    ENSEMBLE,
    KNOWN_BASELINES,
    MEAN,
    MEMBER,
    MODEL,
    EvaluationResult,
    LatentUsage,
)
from autocast.evaluation.simulator_cost import seconds_per_step
from autocast.evaluation.snapshots import spread_evenly
from autocast.evaluation.spectral_reach import TOLERANCE, spectral_reaches

if TYPE_CHECKING:
    import pandas as pd

_MOST_LEADS = 8


def baseline_table(result: EvaluationResult) -> str:
    """The headline score of the model and of each baseline at a few lead times; where a baseline is a simulator, also
    what a step of a trajectory takes."""
    metric = next(iter(curve_metrics(result)), None)
    if metric is None:
        return ""
    channel = headline_channel(result, metric)
    s = result.scores
    shown = s[(s.metric == metric) & (s.channel == channel)]
    leads = sorted(shown.lead_time.unique())
    leads = [leads[i] for i in spread_evenly(len(leads), _MOST_LEADS)]
    timed = "baselines" in result.provenance.get("timing", {})
    rows = []
    for model in (MODEL, *KNOWN_BASELINES):
        for kind in (MEAN, MEMBER, ENSEMBLE):
            values = result.series(metric, kind, model, channel)
            if not values.empty:
                label = _forecast_name(result, kind) if model == MODEL else BASELINE_NAMES[model]
                cost = [1e3 * seconds_per_step(result, model, kind)] if timed else []
                rows.append((label, [*(values.get(lead, math.nan) for lead in leads), *cost], model == MODEL))
    heads = ["forecast", *(f"lead {lead}" for lead in leads), *(["ms a step"] if timed else [])]
    of = "" if channel == ALL_CHANNELS else f" of {channel}"
    return _table(f"{metric_name(metric)}{of}, beside the baselines", heads, 1, [
        ([label], values, subject) for label, values, subject in rows
    ])  # fmt: skip


def _forecast_name(result: EvaluationResult, kind: str) -> str:
    if result.n_members == 1:
        return forecast_name(result)
    return {MEAN: f"mean of {result.n_members}", MEMBER: "one member", ENSEMBLE: f"{result.n_members} members"}[kind]


def reconstruction_table(result: EvaluationResult) -> str:
    """What an autoencoder loses of each channel, over all frames: in pure numbers, so that channels compare."""
    names = {"vrmse": "VRMSE", "nrmse": "NRMSE", "high_frequency_ratio": "fine energy, of the truth's"}
    names |= {m: f"spectrum, {band}" for m, band in BAND_METRICS.items()}
    metrics = [metric for metric in names if not result.series(metric).empty]
    reaches = {reach.channel: reach for reach in spectral_reaches(result)}
    heads = ["channel", *map(names.__getitem__, metrics), *(["kept to wavenumber"] if reaches else [])]
    rows = []
    for channel in result.spec.channel_names:
        values = [float(result.series(metric, channel=channel).mean(skipna=False)) for metric in metrics]
        if reaches:
            reach = reaches.get(channel)
            values.append(math.nan if reach is None or reach.wavenumber is None else reach.wavenumber)
        rows.append(([channel], values, False))
    kept = f"kept within {100 * TOLERANCE:.0f} %"
    note = f"Of the spectrum: the RMSE of the power in each band, and up to where it is {kept}."
    caption = "What encoding and decoding lose of each channel, the mean over all frames"
    return _table(caption, heads, 1, rows) + (f'<p class="note">{note}</p>' if reaches else "")


def latent_table(latents: LatentUsage) -> str:
    """Every channel of the latents, and all of them in words."""
    columns = [name for name in latents.table.columns if name not in ("channel", "active")]
    rows = [
        ([str(row.channel), "yes" if row.active else "no"], [float(getattr(row, name)) for name in columns], False)
        for row in latents.table.itertuples()
    ]
    heads = ["channel", "active", *(name.replace("_", " ") for name in columns)]
    note = (
        f"{latents.n_values:,} numbers of a frame become {latents.n_latents:,} "
        f"({latents.compression:.3g} times fewer). {latents.n_active} of {latents.n_channels} channels are active, "
        f"their std above {latents.active_above:.2g}, a hundredth of the largest. Participation ratio "
        f"{latents.participation_ratio:.3g}: as many channels of equal variance, free of each other, would be as "
        f"spread out. Saturated: {100 * latents.saturated:.1f} % of the values, beyond 90 % of the encoder's bound."
    )
    table = _table("Channels of the latents, over all frames and points", heads, 2, rows)
    return f'<p class="note">{note}</p>{table}'


def channel_table(result: EvaluationResult) -> str:
    """Every score of the model by channel, over windows of lead times (or at a few of them)."""
    frame, column = (result.scores, "lead_time") if result.windows is None else (result.windows, "window")
    # An average over channels of different units is no quantity.
    frame = frame[(frame.model == MODEL) & ~((frame.channel == ALL_CHANNELS) & (frame.unit == MIXED_UNITS))]
    if frame.empty:
        return ""
    columns = list(dict.fromkeys(frame[column]))
    if result.windows is None:
        columns = [columns[i] for i in spread_evenly(len(columns), _MOST_LEADS)]
    keys = ["metric", "kind", "channel", "unit"]
    rows: list[tuple[list[str], list[float], bool]] = []
    for (metric, kind, channel, unit), group in frame.groupby(keys, sort=False):
        values = group.drop_duplicates(column).set_index(column)["value"]
        labels = [metric_name(str(metric)), str(channel), _forecast_name(result, str(kind)), unit_text(str(unit))]
        rows.append((labels, [values.get(c, math.nan) for c in columns], False))
    order = {metric_name(metric): i for i, metric in enumerate(curve_metrics(result))}
    rows.sort(key=lambda row: order.get(row[0][0], len(order)))
    heads = ["score", "channel", "of", "unit", *(window_name(str(c)) for c in columns)]
    return _table("Every score of the model, by channel and lead time", heads, 4, rows)


def interval_table(result: EvaluationResult) -> str:
    """Every score of the model over windows of lead times, with its interval over trajectories."""
    frame = result.windows
    if frame is None or frame[["low", "high"]].dropna().empty:
        return ""
    shown = frame[(frame.model == MODEL) & ~((frame.channel == ALL_CHANNELS) & (frame.unit == MIXED_UNITS))]
    rows: list[tuple[list[str], list[float], bool]] = []
    numbers = ("value", "low", "high", "n_trajectories")
    for row in shown.itertuples():
        labels = [metric_name(str(row.metric)), str(row.channel), _forecast_name(result, str(row.kind))]
        labels += [window_name(str(row.window)), unit_text(str(row.unit))]
        rows.append((labels, [float(getattr(row, name)) for name in numbers], False))
    heads = ["score", "channel", "of", "lead times", "unit", "value", "low", "high", "trajectories"]
    return _table("Scores of the model over windows of lead times, with 95 % intervals", heads, 5, rows)


def winkler_table(winkler: pd.DataFrame) -> str:
    """Winkler's score of central intervals by level and window of lead times."""
    windows = list(dict.fromkeys(winkler.window))
    shown = winkler[~((winkler.channel == ALL_CHANNELS) & (winkler.unit == MIXED_UNITS))]
    rows: list[tuple[list[str], list[float], bool]] = []
    for (channel, level, unit), group in shown.groupby(["channel", "level", "unit"], sort=False):
        values = group.set_index("window")["value"]
        labels = [str(channel), f"{100 * float(str(level)):.3g} %", unit_text(str(unit))]
        rows.append((labels, [values.get(window, math.nan) for window in windows], False))
    heads = ["channel", "level", "unit", *map(window_name, windows)]
    return _table("Winkler score of central intervals, lower is better", heads, 3, rows)


def _table(
    caption: str, heads: Sequence[str], n_labels: int, rows: Sequence[tuple[list[str], list[float], bool]]
) -> str:
    """A table that sorts by any of its columns; rows are (labels, numbers, whether it is the table's subject)."""
    head = "".join(
        f'<th scope="col"{_number_class(i >= n_labels)}><button type="button">{escape(text)}</button></th>'
        for i, text in enumerate(heads)
    )
    body = "".join(_row(labels, values, subject) for labels, values, subject in rows)
    tall = " tall" if len(rows) > 20 else ""
    return (
        f'<div class="scroll{tall}" tabindex="0" role="region" aria-label="{escape(caption, quote=True)}">'
        f"<table><caption>{escape(caption)}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _number_class(is_number: bool) -> str:
    return ' class="number"' if is_number else ""


def _row(labels: Sequence[str], values: Sequence[float], subject: bool) -> str:
    first, *others = labels
    cells = f'<th scope="row">{escape(first)}</th>' + "".join(f"<td>{escape(text)}</td>" for text in others)
    cells += "".join(_number_cell(float(value)) for value in values)
    start = '<tr class="subject">' if subject else "<tr>"
    return f"{start}{cells}</tr>"


def _number_cell(value: float) -> str:
    if math.isnan(value):
        return '<td class="number">–</td>'
    return f'<td class="number" data-value="{value!r}">{value:.3g}</td>'


def provenance_table(values: Mapping[str, Any]) -> str:
    """Nested plain values as one table; the names of nested ones are joined by dots."""
    rows = "".join(
        f'<tr><th scope="row">{escape(name)}</th><td>{escape(str(value))}</td></tr>' for name, value in _flat(values)
    )
    if not rows:
        return ""
    return f'<table class="provenance"><caption class="unseen">Provenance</caption><tbody>{rows}</tbody></table>'


def _flat(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    pairs: list[tuple[str, Any]] = []
    for name, value in values.items():
        if isinstance(value, Mapping):
            pairs += _flat(value, f"{prefix}{name}.")
        elif isinstance(value, (list, tuple)):
            pairs.append((f"{prefix}{name}", ", ".join(str(v) for v in value)))
        else:
            pairs.append((f"{prefix}{name}", f"{value:.6g}" if isinstance(value, float) else value))
    return pairs
