"""Until when forecasts can be trusted: valid times of trajectories, and members that blew up."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from autocast.evaluation.result import ALL_CHANNELS, MEMBER, MODEL, EvaluationResult

VALID_TIMES = {"valid_time_correlation": "correlation", "valid_time_ssr": "spread / skill"}
"""What they ask of a forecast, by score."""
WHOLE = "all"
"""Window of the whole rollout."""


@dataclass(frozen=True)
class Validity:
    """How long the forecasts of the trajectories stay valid: in steps, of which the last is still valid."""

    kind: str
    """ "mean", "member" or "ensemble"."""
    steps: np.ndarray
    """`(N,)` of each trajectory, the mean over channels; as long as the trajectory where it stays valid to the end."""
    low: float
    """Of the 95 % interval of the mean over trajectories; nan where it is not known."""
    high: float
    complete: np.ndarray
    """`(N,)` whether a trajectory stays valid to its end, in all channels."""

    @property
    def mean(self) -> float:
        return float(self.steps.mean())

    @property
    def share_complete(self) -> float:
        return float(self.complete.mean())


def validity(result: EvaluationResult, metric: str) -> Validity | None:
    """One of `VALID_TIMES`; None where it was not measured."""
    table, windows = result.trajectories, result.windows
    if table is None or windows is None:
        return None
    rows = table[(table.metric == metric) & (table.model == MODEL) & (table.window == WHOLE)].sort_values("trajectory")
    first_invalid = rows.value.to_numpy(dtype=float)
    known = np.isfinite(first_invalid)
    if not known.any():
        return None
    steps, lengths = first_invalid[known] - 1, np.array(result.lengths)[rows.trajectory.to_numpy()[known]]
    w = windows
    of_all = w[(w.metric == metric) & (w.model == MODEL) & (w.window == WHOLE) & (w.channel == ALL_CHANNELS)]
    low, high = (float(of_all[name].iloc[0]) - 1 for name in ("low", "high"))
    return Validity(str(rows.kind.iloc[0]), steps, low, high, steps >= lengths)


def worst_blow_up(result: EvaluationResult) -> tuple[int, float, str] | None:
    """First lead time of the largest share of members that blew up, the share, and the channel where that is.

    None where it was not measured.
    """
    shares = {name: result.series("blow_up", MEMBER, channel=name) for name in result.spec.channel_names}
    shares = {name: values for name, values in shares.items() if not values.dropna().empty}
    if not shares:
        return None
    channel = max(shares, key=lambda name: shares[name].max())
    return int(shares[channel].index.to_numpy()[shares[channel].argmax()]), float(shares[channel].max()), channel
