"""Films of forecasts beside the truth, and of data sets: a page drawn once, into which each frame pastes its pictures.

A page has one row per quantity (truth, mean, members, error, spread) and one column per channel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from autocast.evaluation.movies import write_film
from autocast.evaluation.pages import Page, Row
from autocast.evaluation.scales import (
    Scale,
    as_planes,
    error_and_spread_scales,
    field_scale,
    number,
    plane_note,
    with_unit,
)

if TYPE_CHECKING:
    from autocast.evaluation.result import EvaluationResult, Example
    from autocast.types import FieldSpec


@dataclass(frozen=True)
class Video:
    """A film on disk and what it shows."""

    title: str
    alt: str
    path: Path
    trajectory: int
    is_median: bool = False


class RolloutFilm:
    """Frame i is lead time i + 1."""

    def __init__(self, page: Page, n_frames: int, time_step: float, time_name: str = "lead time"):
        self.page = page
        self.n_frames = n_frames
        self.time_step = time_step
        self.time_name = time_name

    def frame(self, index: int) -> np.ndarray:
        clock = f"{self.time_name} {index + 1} of {self.n_frames} · t = {number((index + 1) * self.time_step)}"
        return self.page.frame(index, clock)


def planned_videos(result: EvaluationResult, directory: Path) -> list[Video]:
    """The films of a result, one for each example, before they are there; the ending is mp4 in any case."""
    median, spec = result.median_example, result.spec
    return [
        video_of(example, spec, directory / film_name(example), is_median=example is median)
        for example in result.examples
    ]


def film_name(example: Example) -> str:
    return f"trajectory_{example.trajectory:04d}.mp4"


def video_of(example: Example, spec: FieldSpec, path: Path, *, is_median: bool) -> Video:
    """What is to be said of the film of an example that lies at a path."""
    title = f"Trajectory {example.trajectory}"
    return Video(title, _description(example, spec), path, example.trajectory, is_median)


def draw_example_video(example: Example, spec: FieldSpec, path: Path, *, fps: float = 10.0, n_members: int = 2) -> Path:
    """Film one forecast beside its truth.

    Returns:
        The path written: `path`, or its .gif where mp4 cannot be encoded.
    """
    title = f"{spec.dataset_name} · trajectory {example.trajectory}"
    page = Page(
        rows=example_rows(example, spec, n_members),
        columns=_channel_titles(spec),
        title=title,
        notes=_notes(example, spec),
        space_time=spec.n_spatial_dims == 1,
    )
    return write_film(RolloutFilm(page, example.n_steps, spec.time_step), path, fps)


def draw_dataset_video(
    fields: np.ndarray, spec: FieldSpec, path: Path, *, fps: float = 10.0, labels: Sequence[str] | None = None
) -> Path:
    """Film trajectories `fields (N, T, *S, C)`, one row each, on one scale per channel.

    Returns:
        The path written: `path`, or its .gif where mp4 cannot be encoded.
    """
    fields = as_planes(fields, spec)
    scales = [field_scale(fields[..., c]) for c in range(fields.shape[-1])]
    names = labels if labels is not None else [f"trajectory {i}" for i in range(len(fields))]
    page = Page(
        rows=[Row(name, values, scales) for name, values in zip(names, fields, strict=True)],
        columns=_channel_titles(spec),
        title=spec.dataset_name,
        notes=[plane_note(spec.grid_shape, spec.dim_names)],
        space_time=spec.n_spatial_dims == 1,
    )
    return write_film(RolloutFilm(page, fields.shape[1], spec.time_step, "frame"), path, fps)


def example_rows(example: Example, spec: FieldSpec, n_members: int = 2) -> list[Row]:
    """Truth, mean, members, error of the mean, spread; of a deterministic forecast truth, forecast, error."""
    truth, mean, shown = as_planes(example.truth, spec), as_planes(example.mean, spec), example.members[:n_members]
    spread = None if example.spread is None else as_planes(example.spread, spec)
    error = mean - truth
    fields = [field_scale(truth[..., c]) for c in range(truth.shape[-1])]
    errors, spreads = _difference_scales(error, spread, truth)
    if spread is None:
        return [Row("truth", truth, fields), Row("forecast", mean, fields), Row("error", error, errors)]
    members = [Row(f"member {i + 1}", as_planes(x, spec), fields) for i, x in enumerate(shown)]
    rows = [Row("truth", truth, fields), Row("mean", mean, fields), *members, Row("error of mean", error, errors)]
    return [*rows, Row("spread", spread, spreads)]


def _difference_scales(
    error: np.ndarray, spread: np.ndarray | None, truth: np.ndarray
) -> tuple[list[Scale], list[Scale]]:
    pairs = [
        error_and_spread_scales(error[..., c], None if spread is None else spread[..., c], truth[..., c])
        for c in range(truth.shape[-1])
    ]
    return [e for e, _ in pairs], [s for _, s in pairs]


def _channel_titles(spec: FieldSpec) -> list[str]:
    return [with_unit(name, unit) for name, unit in zip(spec.channel_names, spec.units, strict=True)]


def _notes(example: Example, spec: FieldSpec) -> list[str]:
    scalars = ", ".join(f"{name} = {number(value)}" for name, value in example.scalars.items())
    return [note for note in (scalars, plane_note(spec.grid_shape, spec.dim_names)) if note]


def _description(example: Example, spec: FieldSpec) -> str:
    quantities = "truth and forecast" if example.spread is None else "truth, ensemble mean, members, error and spread"
    return (
        f"Video of {quantities} of {', '.join(spec.channel_names)} for test trajectory {example.trajectory}, "
        f"lead times 1 to {example.n_steps}."
    )
