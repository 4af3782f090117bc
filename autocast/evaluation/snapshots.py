"""Still pictures: a forecast beside its truth at a few lead times, and the contact sheet of a data set."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from autocast.evaluation.drawings import INK, MOST_CHANNELS, Drawing, file_name, save, save_png, styled
from autocast.evaluation.pages import Row
from autocast.evaluation.scales import Scale, field_scale, number, plane_note, planes, shrink, with_unit
from autocast.evaluation.videos import example_rows

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from autocast.evaluation.result import Example
    from autocast.types import FieldSpec

N_LEADS = 6
_CELL, _LEFT, _RIGHT, _TOP, _GAP = 1.15, 1.2, 0.75, 0.62, 0.06
"""Inches: longer side of a picture, margins, gap."""
_PIXELS = 192


def draw_snapshots(example: Example, spec: FieldSpec, directory: Path) -> list[Drawing]:
    """One figure per channel: truth, mean, a member, error and spread at lead times spread evenly."""
    return [
        save(
            draw_snapshot(example, spec, channel),
            directory,
            f"snapshots_{file_name(name)}",
            section="snapshots",
            title=f"Snapshots of {name}, trajectory {example.trajectory}",
            alt=_description(example, spec, name),
            wide=True,
        )
        for channel, name in enumerate(spec.channel_names[:MOST_CHANNELS])
    ]


def _description(example: Example, spec: FieldSpec, name: str) -> str:
    rows = ", ".join(row.label for row in example_rows(example, 1))
    if spec.n_spatial_dims == 1:
        return f"Space-time pictures of {name}: {rows}, for test trajectory {example.trajectory}."
    leads = ", ".join(str(lead + 1) for lead in spread_evenly(example.n_steps, N_LEADS))
    return f"Pictures of {name}: {rows}, for test trajectory {example.trajectory} at lead times {leads}."


@styled
def draw_snapshot(example: Example, spec: FieldSpec, channel: int) -> Figure:
    """Rows truth, mean, member, error, spread; columns lead times (fields of one axis: one space-time picture)."""
    rows = [_one_channel(row, channel) for row in example_rows(example, n_members=1)]
    title = with_unit(spec.channel_names[channel], spec.units[channel])
    note = plane_note(spec.grid_shape, spec.dim_names)
    return _sheet(rows, f"{title} · trajectory {example.trajectory}" + (f" · {note}" if note else ""), spec)


def _one_channel(row: Row, channel: int) -> Row:
    return Row(row.label, row.fields[..., channel : channel + 1], [row.scales[channel]])


@styled
def draw_contact_sheet(
    fields: np.ndarray, spec: FieldSpec, path: Path, *, channel: int = 0, labels: Sequence[str] | None = None
) -> Path:
    """A PNG of trajectories `fields (N, T, *S, C)`: one row each, columns through time, one channel."""
    scale = field_scale(fields[..., channel])
    names = labels if labels is not None else [f"trajectory {i}" for i in range(len(fields))]
    rows = [Row(name, values[..., channel : channel + 1], [scale]) for name, values in zip(names, fields, strict=True)]
    title = with_unit(spec.channel_names[channel], spec.units[channel])
    note = plane_note(spec.grid_shape, spec.dim_names)
    heading = f"{spec.dataset_name} · {title}" + (f" · {note}" if note else "")
    return save_png(_sheet(rows, heading, spec, first_step=0, step_name="frame"), path)


def _sheet(rows: Sequence[Row], heading: str, spec: FieldSpec, first_step: int = 1, step_name: str = "lead") -> Figure:
    """Pictures in a regular grid on one pair of axes in inches: axes for each picture would cost ten times the time."""
    space_time = spec.n_spatial_dims == 1
    steps = np.array([0]) if space_time else spread_evenly(len(rows[0].fields), N_LEADS)
    pictures = [shrink(planes(row.fields)[steps], _PIXELS)[..., 0] for row in rows]
    width, height = (6 * _CELL, _CELL) if space_time else _cell(*pictures[0].shape[1:])
    size = (
        _LEFT + len(steps) * (width + _GAP) + _RIGHT,
        _TOP + len(rows) * (height + _GAP) + (0.45 if space_time else 0.1),
    )
    figure = Figure(figsize=size)
    canvas = figure.add_axes((0, 0, 1, 1))
    canvas.set_axis_off()
    canvas.text(0.1, size[1] - 0.1, heading, va="top", weight="bold")
    for r, (row, row_pictures) in enumerate(zip(rows, pictures, strict=True)):
        bottom = size[1] - _TOP - (r + 1) * (height + _GAP)
        canvas.text(0.1, bottom + height / 2, row.label, va="center")
        for i, picture in enumerate(row_pictures):
            box = (_LEFT + i * (width + _GAP), bottom, width, height)
            _place(canvas, row.scales[0].paint(picture), box)
            if r == 0 and not space_time:
                title = _step_title(step_name, int(steps[i]) + first_step, i == 0)
                canvas.text(box[0] + width / 2, bottom + height + 0.06, title, fontsize=9, ha="center")
        if r == 0 or row.scales[0] != rows[r - 1].scales[0]:
            _bar(canvas, row.scales[0], (_LEFT + len(steps) * (width + _GAP) + 0.04, bottom, 0.1, height))
    canvas.set(xlim=(0, size[0]), ylim=(0, size[1]), aspect="auto")
    if space_time:
        last = figure.add_axes((_LEFT / size[0], bottom / size[1], width / size[0], height / size[1]))
        _time_axis(last, len(rows[0].fields), first_step, spec.dim_names[0])
    return figure


def _step_title(name: str, step: int, first: bool) -> str:
    return f"{name} {step}" if first else str(step)


def _cell(height: int, width: int) -> tuple[float, float]:
    """Inches of a picture: its longer side is always the same."""
    unit = _CELL / max(height, width)
    return max(width * unit, 0.2), max(height * unit, 0.2)


def _place(canvas: Axes, colours: np.ndarray, box: tuple[float, float, float, float]) -> None:
    """A framed picture; `box` is left, bottom, width, height."""
    left, bottom, width, height = box
    canvas.imshow(colours, extent=(left, left + width, bottom, bottom + height))
    canvas.add_patch(Rectangle((left, bottom), width, height, fill=False, edgecolor=INK, linewidth=0.5))


def _bar(canvas: Axes, scale: Scale, box: tuple[float, float, float, float]) -> None:
    left, bottom, width, height = box
    _place(canvas, scale.paint(np.linspace(scale.high, scale.low, 128)[:, None]), box)
    for y, value, side in ((bottom + height, scale.high, "top"), (bottom, scale.low, "bottom")):
        canvas.text(left + 1.4 * width, y, number(value), va=side, fontsize=8, color=INK)


def _time_axis(axes: Axes, n_steps: int, first_step: int, dim_name: str) -> None:
    """Under the last of the space-time pictures: lead times, which all of them share."""
    shown = spread_evenly(n_steps, N_LEADS)
    axes.set(xlim=(-0.5, n_steps - 0.5), yticks=[])
    axes.grid(False)
    axes.set_xticks(shown, [str(step + first_step) for step in shown])
    axes.set_xlabel("lead time [steps]" if first_step else "frame")
    axes.set_ylabel(dim_name)


def spread_evenly(n: int, most: int) -> np.ndarray:
    """At most `most` of the indices 0 ... n - 1, both ends among them."""
    return np.unique(np.linspace(0, n - 1, min(n, most)).round().astype(int))
