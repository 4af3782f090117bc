"""What a report is made of, in one file beside the tables: the report can be drawn again without model and data."""

from __future__ import annotations

import dataclasses
import os
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from autocast.errors import DataError
from autocast.evaluation.archive import read_archive, write_archive
from autocast.evaluation.figures import draw_figures
from autocast.evaluation.report import LARGEST_REPORT, write_report
from autocast.evaluation.result import Calibration, EvaluationResult, LatentUsage, Spectrum, Stress
from autocast.evaluation.scales import Scale
from autocast.evaluation.snapshots import Sheet, Snapshot, Strip, take_snapshots
from autocast.evaluation.verdict import Finding, verdict
from autocast.evaluation.videos import Video, planned_videos
from autocast.types import FieldSpec

if TYPE_CHECKING:
    from autocast.evaluation.drawings import Drawing

MATERIAL_FILE = "report_data.npz"
FORMAT = 1


@dataclass(frozen=True)
class PlannedFilm:
    """A film that belongs into the report, once it has been drawn."""

    title: str
    alt: str
    file: str
    """Relative to the evaluation's directory."""
    trajectory: int
    is_median: bool


@dataclass(frozen=True)
class Material:
    """All that the report of an evaluation shows."""

    result: EvaluationResult
    """Without examples: the snapshots and the films show those."""
    snapshots: tuple[Snapshot, ...]
    films: tuple[PlannedFilm, ...]


@dataclass(frozen=True)
class DrawnReport:
    """A report, and what went into it."""

    page: Path
    findings: list[Finding]
    figures: list[Drawing]
    films: list[Video]
    missing: list[str]
    """Films that are not where they should be."""


CLASSES: dict[str, type] = {
    each.__name__: each
    for each in (
        *(Material, PlannedFilm, EvaluationResult, FieldSpec, Spectrum, LatentUsage, Stress, Calibration),
        *(Snapshot, Sheet, Strip, Scale),
    )
}


def gather_material(result: EvaluationResult, directory: Path, videos_dir: Path | None) -> Material:
    """What the report needs of a result.

    Args:
        result: With its provenance.
        directory: Of the evaluation.
        videos_dir: Where films are going to be; None where none are drawn.
    """
    median = result.median_example
    films = [] if videos_dir is None else planned_videos(result, videos_dir)
    return Material(
        result=dataclasses.replace(result, examples=[]),
        snapshots=() if median is None else tuple(take_snapshots(median, result.spec)),
        films=tuple(_planned(film, directory) for film in films),
    )


def _planned(film: Video, directory: Path) -> PlannedFilm:
    file = Path(os.path.relpath(film.path, directory)).as_posix()
    return PlannedFilm(film.title, film.alt, file, film.trajectory, film.is_median)


def write_material(material: Material, directory: Path) -> Path:
    """As `MATERIAL_FILE` in the evaluation's directory, whole or not at all."""
    return write_archive({"format": FORMAT, "material": material}, directory / MATERIAL_FILE)


def read_material(directory: Path) -> Material:
    """What an evaluation keeps for its report.

    Raises:
        DataError: It keeps nothing, or nothing that this version can read.
    """
    file = directory / MATERIAL_FILE
    try:
        content = read_archive(file, CLASSES)
        if content["format"] == FORMAT:
            return content["material"]
    except (EOFError, OSError, KeyError, TypeError, ValueError, zipfile.BadZipFile):
        pass
    raise DataError(
        f"{file}: not there, damaged, or of another version of autocast, so the report cannot be drawn from it. "
        "Evaluate again: autocast eval with eval.name=NAME (beside it) or --overwrite (in its place)."
    )


def draw_report(
    material: Material, directory: Path, page: Path, figures_dir: Path, *, largest: int = LARGEST_REPORT
) -> DrawnReport:
    """Figures and page of an evaluation; films are taken as they are.

    Args:
        material: Of the evaluation.
        directory: Of the evaluation.
        page: What is written.
        figures_dir: Where figures are written.
        largest: Bytes of the page, at most.
    """
    findings = verdict(material.result)
    figures = draw_figures(material.result, figures_dir, material.snapshots)
    films, missing = _find_films(material.films, directory)
    write_report(material.result, findings, figures, films, page, largest=largest)
    return DrawnReport(page, findings, figures, films, missing)


def _find_films(planned: Sequence[PlannedFilm], directory: Path) -> tuple[list[Video], list[str]]:
    """Films as mp4, or GIF where that could not be encoded, and the files that are not there."""
    films, missing = [], []
    for film in planned:
        places = [(directory / film.file).with_suffix(suffix) for suffix in (".mp4", ".gif")]
        place = next((place for place in places if place.is_file()), None)
        if place is None:
            missing.append(film.file)
        else:
            films.append(Video(film.title, film.alt, place, film.trajectory, film.is_median))
    return films, missing
