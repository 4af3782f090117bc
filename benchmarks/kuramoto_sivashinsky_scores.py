"""Scores of the Kuramoto-Sivashinsky benchmark: rollouts to numbers, numbers to tables and curves."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure

import autocast
from autocast.data.splits import open_split
from autocast.evaluation.trajectory_batches import TestTrajectories
from autocast.metrics import deterministic, probabilistic
from autocast.metrics.bootstrap import Interval, bootstrap, bootstrap_mean, paired_difference, paired_ratio

THRESHOLD = 0.8
SHOWN_TIMES = (2.0, 10.0, 20.0)
"""Lead times of the tables, in units of time, beside lead 1."""
COLOURS = {
    "direct": "#0072B2",
    "direct_noise": "#56B4E9",
    "unrolled": "#D55E00",
    "ensemble": "#009E73",
    "flow_matching": "#CC79A7",
}

COMPARED = ("direct", "direct_noise")
"""What every method is compared with."""

Scores = Mapping[str, np.ndarray]
"""Of one method and seed, by name: `(N, T)`, correlations of members `(N, T, M)`."""


@torch.no_grad()
def score(run: Path, data: Path, *, n_steps: int, n_members: int, split: str = "test") -> dict[str, np.ndarray]:
    """Scores of every trajectory of a split, rolled out once from its first frame."""
    emulator = autocast.load(str(run))
    test = TestTrajectories(open_split(data, split), emulator.n_steps_input, n_steps, emulator.stride)
    found: dict[str, list[torch.Tensor]] = {}
    for batch in test.batches(8):  # few rows at a time stay in the caches
        windows = emulator.forecast(
            batch.initial, batch.n_steps, n_members=n_members, trajectory=batch.numbers, scalars=batch.scalars
        )
        start = 0
        terms: dict[str, list[torch.Tensor]] = {}
        for forecast in windows:
            truth = batch.truth[:, start : start + forecast.shape[2]]
            start += forecast.shape[2]
            for name, value in _terms(truth, forecast).items():
                terms.setdefault(name, []).append(value)
        for name, values in terms.items():
            found.setdefault(name, []).append(torch.cat(values, dim=1))
    return {name: torch.cat(values).double().numpy() for name, values in found.items()}


def _terms(truth: torch.Tensor, forecast: torch.Tensor) -> dict[str, torch.Tensor]:
    """Of `(B, t, *S, 1)` and `(B, M, t, *S, 1)`, `(B, t)` each."""
    mean, axes = forecast.mean(1, keepdim=True), truth.ndim - 3
    members = range(forecast.shape[1])
    spread = probabilistic.ensemble_variance(forecast, axes) if len(members) > 1 else torch.zeros(*truth.shape[:2], 1)
    terms = {
        "crps": (probabilistic.crps_fair if len(members) > 1 else deterministic.mae)(truth, forecast, axes),
        "vrmse_member": deterministic.vrmse(truth, forecast, axes),
        "vrmse_mean": deterministic.vrmse(truth, mean, axes),
        "mse_of_mean": deterministic.mse(truth, mean, axes),
        "variance": spread,
        "correlation_mean": deterministic.correlation(truth, mean, axes),
        "correlation_member": torch.stack(
            [deterministic.correlation(truth, forecast[:, [m]], axes)[..., 0] for m in members], dim=-1
        ),
    }
    return {name: value if name == "correlation_member" else value[..., 0] for name, value in terms.items()}


def valid_steps(correlation: np.ndarray) -> np.ndarray:
    """First lead time `(N, ...)` at which a correlation `(N, T, ...)` is below the threshold, T if it never is."""
    below = ~(correlation >= THRESHOLD)  # what is not a number is not valid
    return np.where(below.any(axis=1), below.argmax(axis=1) + 1, correlation.shape[1])


def by_trajectory(scores: Sequence[Scores]) -> dict[str, np.ndarray]:
    """Scores of all seeds, averaged over the seeds and what has members: `(N,)` or `(N, T)` each."""
    each = [
        {
            **{name: values for name, values in of_seed.items() if not name.startswith("correlation")},
            "valid_steps_mean": valid_steps(of_seed["correlation_mean"]).astype(float),
            "valid_steps_member": valid_steps(of_seed["correlation_member"]).mean(axis=-1),
            "correlation": of_seed["correlation_mean"],
        }
        for of_seed in scores
    ]
    return {name: np.mean([of_seed[name] for of_seed in each], axis=0) for name in each[0]}


def ratio_of_spread(n_members: int) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    return lambda variance, mse: np.sqrt((n_members + 1) / n_members * variance / mse)


def described(interval: Interval) -> dict[str, float]:
    return {name: float(f"{float(value):.5g}") for name, value in vars(interval).items()}


def summary(scores: Mapping[str, Sequence[Scores]], time_step: float, n_members: int) -> dict[str, Any]:
    """What the table holds, with intervals, and the comparisons with the direct model."""
    leads = {"lead 1": 1, **{f"time {time:g}": round(time / time_step) for time in SHOWN_TIMES}}
    averages = {name: by_trajectory(of_seeds) for name, of_seeds in scores.items()}
    found: dict[str, Any] = {}
    for name, values in averages.items():
        row: dict[str, Any] = {
            score: {label: described(bootstrap_mean(values[score][:, lead - 1])) for label, lead in leads.items()}
            for score in ("crps", "vrmse_member", "vrmse_mean")
        }
        if values["variance"].any():
            row["ssr"] = {
                label: described(
                    bootstrap(
                        ratio_of_spread(n_members), values["variance"][:, lead - 1], values["mse_of_mean"][:, lead - 1]
                    )
                )
                for label, lead in leads.items()
            }
        for kind in ("member", "mean"):
            steps = values[f"valid_steps_{kind}"]
            row[f"valid_time_{kind}"] = described(bootstrap_mean(steps * time_step))
            row[f"valid_steps_{kind}"] = described(bootstrap_mean(steps))
        row["valid_time_mean_by_seed"] = [
            round(float(valid_steps(each["correlation_mean"]).mean() * time_step), 3) for each in scores[name]
        ]
        row["share_valid_to_the_end"] = float(
            np.mean([(each["correlation_mean"] >= THRESHOLD).all(1) for each in scores[name]])
        )
        others = [other for other in COMPARED if other in averages and other != name]
        row["against"] = {other: against(values, averages[other], leads) for other in others}
        found[name] = row
    return found


def against(values: Scores, other: Scores, leads: Mapping[str, int]) -> dict[str, Any]:
    """One method and another, paired on the same trajectories."""
    return {
        "valid_time_ratio": described(paired_ratio(values["valid_steps_mean"], other["valid_steps_mean"])),
        "valid_time_ratio_of_member": described(
            paired_ratio(values["valid_steps_member"], other["valid_steps_member"])
        ),
        "crps_difference": {
            label: described(paired_difference(values["crps"][:, lead - 1], other["crps"][:, lead - 1]))
            for label, lead in leads.items()
        },
        "vrmse_of_mean_ratio": {
            label: described(paired_ratio(values["vrmse_mean"][:, lead - 1], other["vrmse_mean"][:, lead - 1]))
            for label, lead in leads.items()
        },
    }


def table(found: Mapping[str, Any], training: Mapping[str, Mapping[str, Any]]) -> str:
    """The summary as a table in Markdown, with 95 % intervals."""
    labels = list(next(iter(found.values()))["crps"])
    lines = []
    for label in labels:
        lines += [
            f"**{label}**",
            "",
            "| | CRPS | VRMSE of a member | VRMSE of the mean | spread / skill |",
            "|---|---|---|---|---|",
            *(
                f"| {name} | "
                + " | ".join(cell(row[score][label]) for score in ("crps", "vrmse_member", "vrmse_mean"))
                + f" | {cell(row['ssr'][label]) if 'ssr' in row else '-'} |"
                for name, row in found.items()
            ),
            "",
        ]
    compared = [other for other in COMPARED if other in found]
    columns = ["valid time of the mean", "of a member", "in steps (mean)", *(f"over {other}" for other in compared)]
    columns += ["s / step", "steps", "training [s]"]
    lines += ["| | " + " | ".join(columns) + " |", "|---" * (1 + len(columns)) + "|"]
    for name, row in found.items():
        cells = [cell(row[key]) for key in ("valid_time_mean", "valid_time_member", "valid_steps_mean")]
        cells += [cell(row["against"][other]["valid_time_ratio"]) if other != name else "1" for other in compared]
        lines.append(f"| {name} | " + " | ".join([*cells, *map(str, training[name].values())]) + " |")
    return "\n".join(lines) + "\n"


def cell(interval: Mapping[str, float]) -> str:
    estimate, low, high = (f"{interval[key]:.3g}" for key in ("estimate", "low", "high"))
    return f"{estimate} ({low}, {high})"


def draw(scores: Mapping[str, Sequence[Scores]], time_step: float, n_members: int, file: Path) -> None:
    """Error of the mean, correlation of the mean, and spread over skill against lead time."""
    figure = Figure(figsize=(12, 3.6), layout="constrained")
    error, correlation, ratio = figure.subplots(1, 3)
    for name, of_seeds in scores.items():
        values = by_trajectory(of_seeds)
        times = time_step * np.arange(1, values["vrmse_mean"].shape[1] + 1)
        line = {"label": name.replace("_", " "), "color": COLOURS[name]}
        error.plot(times, values["vrmse_mean"].mean(axis=0), **line)
        correlation.plot(times, values["correlation"].mean(axis=0), **line)
        if values["variance"].any():
            spread, skill = (values[key].mean(axis=0) for key in ("variance", "mse_of_mean"))
            ratio.plot(times, ratio_of_spread(n_members)(spread, skill), **line)
    error.set(title="VRMSE of the mean", yscale="log")
    correlation.set(title="correlation of the mean", ylim=(0, 1.02))
    correlation.axhline(THRESHOLD, color="0.5", linewidth=0.8)
    ratio.set(title="spread / skill", ylim=(0, 2))
    ratio.axhspan(0.8, 1.2, color="0.9")
    for axes in (error, correlation, ratio):
        axes.set(xlabel="lead time [units of time]")
    error.legend()
    figure.savefig(file, dpi=120)
