"""Still pictures: a forecast beside its truth at a few lead times, and the contact sheet of a data set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from autocast.evaluation.drawings import INK, MOST_CHANNELS, Drawing, file_name, save, save_png, styled
from autocast.evaluation.pages import Row
from autocast.evaluation.scales import Scale, as_planes, field_scale, number, plane_note, planes, shrink, with_unit
from autocast.evaluation.videos import example_rows

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from autocast.evaluation.result import Example
    from autocast.types import FieldSpec

N_LEADS = 6
_CELL, _LEFT, _RIGHT, _TOP, _GAP = 1.15, 1.2, 0.75, 0.62, 0.06
"""Inches: longer side of a picture, margins, gap."""
_PIXELS = 192


@dataclass(frozen=True)
class Strip:
    """One quantity of one channel, as pictures side by side."""

    label: str
    pictures: np.ndarray
    """`(N, H, W)` in the field's unit, first row at the top."""
    scale: Scale


@dataclass(frozen=True)
class Sheet:
    """Strips below each other, one for each quantity, and what is written around them."""

    heading: str
    strips: tuple[Strip, ...]
    steps: tuple[int, ...]
    """`(N,)` of the pictures, as they are written over them; of space-time pictures those below the time axis."""
    n_steps: int
    first_step: int = 1
    step_name: str = "lead"
    space_axis: str = ""
    """Name of the axis of fields that have one only: each picture is then of all steps, time to the right."""


@dataclass(frozen=True)
class Snapshot:
    """A sheet of an example, and what it shows."""

    name: str
    title: str
    alt: str
    sheet: Sheet


def take_snapshots(example: Example, spec: FieldSpec) -> list[Snapshot]:
    """One for each channel: truth, mean, a member, error and spread at lead times spread evenly.

    All that is needed of an example to draw them, and much less than the example.
    """
    return [
        Snapshot(
            name=f"snapshots_{file_name(name)}",
            title=f"Snapshots of {name}, trajectory {example.trajectory}",
            alt=_description(example, spec, name),
            sheet=_example_sheet(example, spec, channel),
        )
        for channel, name in enumerate(spec.channel_names[:MOST_CHANNELS])
    ]


def save_snapshots(snapshots: Sequence[Snapshot], directory: Path) -> list[Drawing]:
    return [
        save(_draw(each.sheet), directory, each.name, section="snapshots", title=each.title, alt=each.alt, wide=True)
        for each in snapshots
    ]


def _description(example: Example, spec: FieldSpec, name: str) -> str:
    rows = ", ".join(row.label for row in example_rows(example, spec, 1))
    if spec.n_spatial_dims == 1:
        return f"Space-time pictures of {name}: {rows}, for test trajectory {example.trajectory}."
    leads = ", ".join(str(lead + 1) for lead in spread_evenly(example.n_steps, N_LEADS))
    return f"Pictures of {name}: {rows}, for test trajectory {example.trajectory} at lead times {leads}."


def draw_snapshot(example: Example, spec: FieldSpec, channel: int) -> Figure:
    """Rows truth, mean, member, error, spread; columns lead times (fields of one axis: one space-time picture)."""
    return _draw(_example_sheet(example, spec, channel))


def _example_sheet(example: Example, spec: FieldSpec, channel: int) -> Sheet:
    rows = [_one_channel(row, channel) for row in example_rows(example, spec, n_members=1)]
    title = with_unit(spec.channel_names[channel], spec.units[channel])
    note = plane_note(spec.grid_shape, spec.dim_names)
    return _sheet(rows, f"{title} · trajectory {example.trajectory}" + (f" · {note}" if note else ""), spec)


def _one_channel(row: Row, channel: int) -> Row:
    return Row(row.label, row.fields[..., channel : channel + 1], [row.scales[channel]])


def draw_contact_sheet(
    fields: np.ndarray, spec: FieldSpec, path: Path, *, channel: int = 0, labels: Sequence[str] | None = None
) -> Path:
    """A PNG of trajectories `fields (N, T, *S, C)`: one row each, columns through time, one channel."""
    fields = as_planes(fields, spec)
    scale = field_scale(fields[..., channel])
    names = labels if labels is not None else [f"trajectory {i}" for i in range(len(fields))]
    rows = [Row(name, values[..., channel : channel + 1], [scale]) for name, values in zip(names, fields, strict=True)]
    title = with_unit(spec.channel_names[channel], spec.units[channel])
    note = plane_note(spec.grid_shape, spec.dim_names)
    heading = f"{spec.dataset_name} · {title}" + (f" · {note}" if note else "")
    return save_png(_draw(_sheet(rows, heading, spec, first_step=0, step_name="frame")), path)


def _sheet(rows: Sequence[Row], heading: str, spec: FieldSpec, first_step: int = 1, step_name: str = "lead") -> Sheet:
    """Of rows of one channel: the pictures that are drawn, small enough for that."""
    n_steps, space_time = len(rows[0].fields), spec.n_spatial_dims == 1
    steps = spread_evenly(n_steps, N_LEADS)
    shown = np.array([0]) if space_time else steps
    strips = [
        Strip(row.label, shrink(planes(row.fields)[shown], _PIXELS)[..., 0].astype(np.float32), row.scales[0])
        for row in rows
    ]
    return Sheet(
        heading=heading,
        strips=tuple(strips),
        steps=tuple(int(step) + first_step for step in steps),
        n_steps=n_steps,
        first_step=first_step,
        step_name=step_name,
        space_axis=spec.dim_names[0] if space_time else "",
    )


@styled
def _draw(sheet: Sheet) -> Figure:
    """Pictures in a regular grid on one pair of axes in inches: axes for each picture would cost ten times the time."""
    strips, space_time = sheet.strips, bool(sheet.space_axis)
    n_columns = len(strips[0].pictures)
    width, height = (6 * _CELL, _CELL) if space_time else _cell(*strips[0].pictures.shape[1:])
    size = (
        _LEFT + n_columns * (width + _GAP) + _RIGHT,
        _TOP + len(strips) * (height + _GAP) + (0.45 if space_time else 0.1),
    )
    figure = Figure(figsize=size)
    canvas = figure.add_axes((0, 0, 1, 1))
    canvas.set_axis_off()
    canvas.text(0.1, size[1] - 0.1, sheet.heading, va="top", weight="bold")
    for r, strip in enumerate(strips):
        bottom = size[1] - _TOP - (r + 1) * (height + _GAP)
        canvas.text(0.1, bottom + height / 2, strip.label, va="center")
        for i, picture in enumerate(strip.pictures):
            _place(canvas, strip.scale.paint(picture), (_LEFT + i * (width + _GAP), bottom, width, height))
        if r == 0 or strip.scale != strips[r - 1].scale:
            _bar(canvas, strip.scale, (_LEFT + n_columns * (width + _GAP) + 0.04, bottom, 0.1, height))
    canvas.set(xlim=(0, size[0]), ylim=(0, size[1]), aspect="auto")
    if space_time:
        last = figure.add_axes((_LEFT / size[0], bottom / size[1], width / size[0], height / size[1]))
        _time_axis(last, sheet)
    else:
        _step_titles(canvas, sheet, width, size[1] - _TOP - _GAP + 0.06)
    return figure


def _step_titles(canvas: Axes, sheet: Sheet, width: float, y: float) -> None:
    for i, step in enumerate(sheet.steps):
        title = f"{sheet.step_name} {step}" if i == 0 else str(step)
        canvas.text(_LEFT + i * (width + _GAP) + width / 2, y, title, fontsize=9, ha="center")


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


def _time_axis(axes: Axes, sheet: Sheet) -> None:
    """Under the last of the space-time pictures: lead times, which all of them share."""
    axes.set(xlim=(-0.5, sheet.n_steps - 0.5), yticks=[])
    axes.grid(False)
    axes.set_xticks([step - sheet.first_step for step in sheet.steps], list(map(str, sheet.steps)))
    axes.set_xlabel("lead time [steps]" if sheet.first_step else "frame")
    axes.set_ylabel(sheet.space_axis)


def spread_evenly(n: int, most: int) -> np.ndarray:
    """At most `most` of the indices 0 ... n - 1, both ends among them."""
    return np.unique(np.linspace(0, n - 1, min(n, most)).round().astype(int))
