"""Until when forecasts can be trusted: valid times, what blows up, and how rollouts far beyond the data end."""

from __future__ import annotations

import numpy as np

from autocast.evaluation.findings import MOST_NAMED, Finding, Mark, join, percent
from autocast.evaluation.result import MEMBER
from autocast.evaluation.result import EvaluationResult as Result
from autocast.evaluation.validity import validity, worst_blow_up
from autocast.metrics.catalogue import VALID_CORRELATION

TOLERABLE_BLOW_UP = 0.05
MOSTLY = 0.9
"""Share of trajectories that ends within the data's range."""


def stability(result: Result) -> Finding | None:
    """From which lead time on some forecast is no number; nothing where all are."""
    vrmse = result.series("vrmse", MEMBER)
    lost = vrmse.index[~np.isfinite(vrmse.to_numpy())]
    if not len(lost):
        return None
    return Finding("stability", "bad", f"The forecast is not finite in some trajectory from lead {lost[0]} on.")


def valid_time(result: Result) -> Finding | None:
    """Until when the forecast goes with the truth."""
    found = validity(result, "valid_time_correlation")
    if found is None:
        return None
    who = f"The mean of {result.n_members} members" if result.n_members > 1 else "The forecast"
    stays = f"{who} can be trusted (correlation with the truth at least {VALID_CORRELATION:g})"
    time = found.mean * result.spec.time_step
    if found.complete.all():
        return Finding(
            "valid_time", "good", f"{stays} to the end of every trajectory ({found.mean:.3g} steps, t = {time:.3g})."
        )
    if found.mean == 0:
        text = f"{who} cannot be trusted: at lead 1 its correlation with the truth is below {VALID_CORRELATION:g}."
        return Finding("valid_time", "bad", text)
    interval = "" if np.isnan(found.low) else f", 95 % interval {found.low:.3g} to {found.high:.3g}"
    text = f"{stays} for {found.mean:.3g} of {result.n_steps} steps (t = {time:.3g}{interval})"
    to_the_end = percent(found.share_complete) if found.share_complete else "none"
    mark: Mark = "warn" if found.mean >= 1 else "bad"
    return Finding("valid_time", mark, f"{text}; to the end in {to_the_end} of the trajectories.")


def blow_up(result: Result) -> Finding | None:
    """How many members blow up, and when."""
    worst = worst_blow_up(result)
    if worst is None:
        return None
    lead, share, channel = worst
    if share == 0:
        who = "No member" if result.n_members > 1 else "No forecast"
        return Finding("blow_up", "good", f"{who} blew up in {result.n_steps} steps.")
    who = "members" if result.n_members > 1 else "forecasts"
    where = f", in {channel}" if result.spec.n_channels > 1 else ""
    mark: Mark = "warn" if share <= TOLERABLE_BLOW_UP else "bad"
    return Finding("blow_up", mark, f"{percent(share)} of the {who} had blown up by lead {lead}{where}.")


def stress(result: Result) -> Finding | None:
    """How rollouts far beyond the data end."""
    stress = result.stress
    if stress is None:
        return None
    n, lost = len(stress.lost_at), stress.lost_at[stress.lost_at > 0]
    start = f"{stress.n_steps:,} steps from {n} trajectories"
    if len(lost):
        return Finding("stress", "bad", f"{start}: {len(lost)} blow up, the first at lead {lost.min():,}.")
    end = stress.table[stress.table.lead_time == stress.n_steps]
    strayed = [str(channel) for channel, share in zip(end.channel, end.within, strict=True) if share < MOSTLY]
    if not strayed:
        return Finding("stress", "good", f"{start}: none blows up, and mean and std over space end as in the data.")
    named = join(strayed[:MOST_NAMED])
    return Finding("stress", "warn", f"{start}: none blows up, but {named} end outside of what the data show.")
