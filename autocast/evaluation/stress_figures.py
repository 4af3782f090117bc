"""Figures of rollouts far beyond the data: moments of the fields over time, and spectra."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from autocast.evaluation.curves import WIDE, draw_spectra
from autocast.evaluation.drawings import BLUE, MOST_CHANNELS, RULE, Drawing, file_name, panels, save, styled
from autocast.evaluation.result import EvaluationResult, Stress
from autocast.evaluation.scales import with_unit

SECTION = "stability"
MOMENTS = {"std": "std over space", "mean": "mean over space"}


def draw_stress(result: EvaluationResult, directory: Path) -> list[Drawing]:
    """The std and the mean over space against lead time, and the power spectra of the first channels."""
    stress = result.stress
    if stress is None or stress.table.empty:
        return []
    drawings = [_save_moment(result, stress, moment, directory) for moment in MOMENTS]
    if stress.spectra is not None and stress.spectra.lead_times:
        for c, name in enumerate(result.spec.channel_names[:MOST_CHANNELS]):
            drawings.append(
                save(
                    draw_spectra(stress.spectra, c, name),
                    directory,
                    f"stress_spectra_{file_name(name)}",
                    section=SECTION,
                    title=f"Spectra of {name} far beyond the data",
                    alt=(
                        f"Power spectrum of {name} in one member at a few lead times up to {stress.n_steps:,}, beside "
                        "the average over the data's frames."
                    ),
                    wide=True,
                    extra=c > 0,
                )
            )
    return drawings


def _save_moment(result: EvaluationResult, stress: Stress, moment: str, directory: Path) -> Drawing:
    name = MOMENTS[moment]
    return save(
        draw_moment(stress, moment, result.spec.channel_names[:MOST_CHANNELS]),
        directory,
        f"stress_{moment}",
        section=SECTION,
        title=f"The {name} through {stress.n_steps:,} steps",
        alt=(
            f"The {name} of each channel against lead time, averaged over the trajectories that have not blown up, "
            f"beside the range that it has in the data. {stress.n_lost} of {len(stress.lost_at)} trajectories blow up."
        ),
        wide=True,
    )


@styled
def draw_moment(stress: Stress, moment: str, channels: tuple[str, ...]) -> Figure:
    """A moment of each channel against lead time; shaded is the range that it has in the data."""
    figure, all_axes = panels(len(channels), size=WIDE)
    for axes, channel in zip(all_axes, channels, strict=True):
        rows = stress.table[stress.table.channel == channel]
        _draw_channel(axes, rows, moment)
        axes.set(title=channel, xlabel="lead time [steps]", xlim=(0, stress.n_steps))
        axes.set_ylabel(with_unit(MOMENTS[moment], str(rows.unit.iloc[0])))
    handles, labels = all_axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2)
    return figure


def _draw_channel(axes: Axes, rows: pd.DataFrame, moment: str) -> None:
    low, high = (float(rows[f"data_{moment}_{end}"].iloc[0]) for end in ("low", "high"))
    axes.axhspan(low, high, color=RULE, alpha=0.5, linewidth=0, label="range in the data")
    axes.plot(rows.lead_time, rows[moment], color=BLUE, linewidth=1.4, label="one member, mean over trajectories")
