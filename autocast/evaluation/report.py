"""One self-contained `report.html`: first whether the emulator is any good, then everything that says so.

Style, script, figures and films are inside it.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from autocast.evaluation.html_page import (
    Sentence,
    chapters,
    command_box,
    document,
    item,
    navigation,
    write_page,
)
from autocast.evaluation.inline_svg import inline_svg
from autocast.evaluation.report_tables import (
    baseline_table,
    channel_table,
    interval_table,
    latent_table,
    provenance_table,
    reconstruction_table,
    winkler_table,
)

if TYPE_CHECKING:
    from autocast.evaluation.drawings import Drawing
    from autocast.evaluation.result import EvaluationResult
    from autocast.evaluation.videos import Video

LARGEST_REPORT = 10_000_000
"""Bytes: what can still be sent by mail."""
_LARGEST_SVG = 800_000
_ROOM = 60_000
"""Bytes kept for style, script, headings and links."""
_SECTIONS = {
    "scores": "Scores against lead time",
    "spectra": "Spectra",
    "calibration": "Calibration",
    "rollouts": "Rollouts in the latent space",
    "stability": "Stability",
    "latents": "Latents",
    "snapshots": "Snapshots",
}


class _Budget:
    """Bytes that the page may still take in."""

    def __init__(self, n_bytes: int):
        self.left = n_bytes

    def take(self, text: str) -> bool:
        fits = len(text) <= self.left
        self.left -= len(text) if fits else 0
        return fits


def write_report(
    result: EvaluationResult,
    verdict: Sequence[Sentence],
    figures: Sequence[Drawing],
    videos: Sequence[Video],
    path: Path,
    *,
    largest: int = LARGEST_REPORT,
) -> Path:
    """Write the report of one evaluation to `path`, whole or not at all.

    Args:
        result: What was measured.
        verdict: The answer, one sentence each.
        figures: As `draw_figures` returns them.
        videos: Films that are there. Those that would make the page larger than `largest` are named and
            linked, not taken in; that of the median trajectory is the last to be left out.
        path: The page; links to films left out are relative to its directory.
        largest: Bytes of the page, at most.
    """
    return write_page(_page(result, verdict, figures, videos, path.parent, largest), path)


def _page(
    result: EvaluationResult,
    verdict: Sequence[Sentence],
    figures: Sequence[Drawing],
    videos: Sequence[Video],
    directory: Path,
    largest: int,
) -> str:
    compared = reconstruction_table(result) if result.reconstructs else baseline_table(result)
    latents = "" if result.latents is None else latent_table(result.latents)
    intervals = "" if result.winkler is None else winkler_table(result.winkler)
    channels, provenance = channel_table(result) + _folded(interval_table(result)), _provenance(result)
    budget = _Budget(largest - len((compared + latents + intervals + channels + provenance).encode()) - _ROOM)
    first = next((video for video in videos if video.is_median), None)
    headline = next((figure for figure in figures if figure.section == "scores" and not figure.extra), None)
    opening = _first_screen(verdict, first, headline, directory, budget)
    drawn = _drawn_sections([figure for figure in figures if figure is not headline], directory, budget)
    drawn["scores"] = compared + drawn["scores"]
    drawn["calibration"] += intervals
    drawn["latents"] += latents
    sections = [(key, _SECTIONS[key], content) for key, content in drawn.items() if content]
    sections.append(("channels", "Scores by channel", channels))
    if others := [video for video in videos if video is not first]:
        sections.append(("films", "More trajectories", _films(others, directory, budget)))
    sections.append(("provenance", "Provenance", provenance))
    return _document(result, f"{opening}{navigation(sections)}{chapters(sections)}")


def _document(result: EvaluationResult, body: str) -> str:
    return document(f"{result.spec.dataset_name}: evaluation", _facts(result), body)


def _facts(result: EvaluationResult) -> str:
    spec = result.spec
    forecasts = "deterministic" if result.deterministic else f"{result.n_members} members"
    facts = [
        f"{result.n_trajectories} test trajectories",
        f"{result.n_steps} steps of {spec.time_step:g}",
        forecasts,
        f"{', '.join(spec.channel_names)} on {' × '.join(str(n) for n in spec.grid_shape)} points",
    ]
    return " · ".join(facts)


def _first_screen(
    verdict: Sequence[Sentence], video: Video | None, headline: Drawing | None, directory: Path, budget: _Budget
) -> str:
    """The verdict and the curve that it rests on; beside them a film that is neither the best nor the worst."""
    sentences = (
        "".join(item(s.text, s.mark) for s in verdict) or "<li>There is no verdict: nothing to compare with.</li>"
    )
    answer = f'<h2 id="verdict">Is it any good?</h2><ul class="verdict">{sentences}</ul>'
    film = (
        "" if video is None else _film(video, directory, budget, caption=f"{video.title}, the median of those filmed")
    )
    curve = "" if headline is None else _grid([_drawing(headline, directory, budget)])
    return f'<section class="first" aria-labelledby="verdict"><div>{answer}{curve}</div>{film}</section>\n'


def _film(video: Video, directory: Path, budget: _Budget, caption: str) -> str:
    """The film itself, or where it is if it does not fit."""
    kind = "image/gif" if video.path.suffix == ".gif" else "video/mp4"
    source = _data_uri(video.path, kind)
    if not budget.take(source):
        link = escape(os.path.relpath(video.path, directory))
        size = video.path.stat().st_size / 1e6
        return (
            f'<p class="note">{escape(caption)}: <a href="{link}">{link}</a> ({size:.1f} MB) is not inside this page, '
            "which stays below its size limit.</p>"
        )
    label = escape(video.alt, quote=True)
    if kind == "image/gif":
        media = f'<img src="{source}" alt="{label}">'
    else:
        media = f'<video src="{source}" aria-label="{label}" controls muted loop playsinline preload="auto"></video>'
    return f'<figure class="film">{media}<figcaption>{escape(caption)}</figcaption></figure>'


def _films(videos: Sequence[Video], directory: Path, budget: _Budget) -> str:
    return f'<div class="films">{"".join(_film(v, directory, budget, v.title) for v in videos)}</div>'


def _drawn_sections(figures: Sequence[Drawing], directory: Path, budget: _Budget) -> dict[str, str]:
    """The figures of each section; those for whoever wants to know more are folded away."""
    contents = {}
    for key in _SECTIONS:
        drawings = [(d.extra, _drawing(d, directory, budget)) for d in figures if d.section == key]
        shown, extras = ([text for extra, text in drawings if extra is which] for which in (False, True))
        contents[key] = _grid(shown)
        if extras:
            contents[key] += f"<details><summary>{len(extras)} more scores</summary>{_grid(extras)}</details>"
    return contents


def _grid(drawings: Sequence[str]) -> str:
    return f'<div class="drawings">{"".join(drawings)}</div>' if drawings else ""


def _drawing(drawing: Drawing, directory: Path, budget: _Budget) -> str:
    """The figure as SVG, which takes the colours of the theme; as PNG where that would be very large."""
    if drawing.svg.stat().st_size <= _LARGEST_SVG:
        picture = inline_svg(drawing.svg.read_text(encoding="utf-8"), drawing.name, drawing.alt)
    else:
        picture = f'<img src="{_data_uri(drawing.png, "image/png")}" alt="{escape(drawing.alt, quote=True)}">'
    wide = ' class="wide"' if drawing.wide else ""
    title = f"<h3>{escape(drawing.title)}</h3>"
    if not budget.take(picture):
        link = escape(os.path.relpath(drawing.png, directory))
        return f'<div{wide}>{title}<p class="note">Too large for this page: <a href="{link}">{link}</a></p></div>'
    focus = ' tabindex="0"' if drawing.wide else ""  # on a narrow screen it scrolls, and not only by touch
    return f"<div{wide}>{title}<figure{focus}>{picture}</figure></div>"


def _data_uri(path: Path, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"


def _folded(table: str) -> str:
    """For those who want to know how sure the scores are."""
    return f"<details><summary>With 95 % intervals over trajectories</summary>{table}</details>" if table else ""


def _provenance(result: EvaluationResult) -> str:
    """The command that repeats the evaluation, what was used, and the configuration."""
    rest = {key: value for key, value in result.provenance.items() if key not in ("command", "config")}
    content = command_box(str(result.provenance["command"])) if "command" in result.provenance else ""
    content += provenance_table(rest)
    if "config" in result.provenance:
        config = escape(str(result.provenance["config"]))
        content += f'<details><summary>Configuration</summary><pre tabindex="0"><code>{config}</code></pre></details>'
    return content
