"""One style for all figures, and how a figure reaches disk: PNG for people, SVG for the report.

Figures are plain `Figure` objects: no pyplot, no global state, no window.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

INK, RULE = "#1b1f24", "#d3d8de"
"""Text and grid lines; the report gives both the colours of its light or dark theme."""
BLUE, VERMILION, GREEN, PURPLE, ORANGE, GREY = "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#7a828c"
"""Okabe and Ito's colours, without those that vanish on white or on black."""

DPI = 150
"""Of pictures."""
MOST_CHANNELS = 4
"""Channels that have pictures or panels of their own."""

STYLE: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.labelsize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.linewidth": 0.8,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.facecolor": "none",
    "grid.color": RULE,
    "grid.linewidth": 0.6,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "lines.linewidth": 1.8,
    "lines.solid_capstyle": "round",
    "image.interpolation": "none",
    "figure.facecolor": "white",
    "svg.fonttype": "path",
    "svg.hashsalt": "autocast",
}

styled = matplotlib.rc_context(STYLE)
"""Decorator: run a drawing function under the style and leave matplotlib as it was."""


@dataclass(frozen=True)
class Drawing:
    """A figure on disk and what it shows."""

    name: str
    title: str
    alt: str
    png: Path
    svg: Path
    section: str
    """Of the report: "scores", "spectra", "calibration", "rollouts", "stability", "latents" or "snapshots"."""
    wide: bool = False
    """Wants the whole width of a page."""
    extra: bool = False
    """For those who want to know more."""


def save(figure: Figure, directory: Path, name: str, **description: Any) -> Drawing:
    """Write `<name>.png` (white) and `<name>.svg` (no background), each whole or not at all.

    Args:
        figure: As one of the `draw_*` functions returns it.
        directory: Made where it is not there.
        name: Of the files, without ending.
        description: The other fields of `Drawing`.
    """
    drawing = Drawing(name=name, png=directory / f"{name}.png", svg=directory / f"{name}.svg", **description)
    save_png(figure, drawing.png)
    _write(drawing.svg, _render(figure, "svg", transparent=True, metadata={"Date": None}))
    return drawing


def save_png(figure: Figure, path: Path) -> Path:
    _lay_out(figure)
    return _write(path, _render(figure, "png", dpi=DPI, metadata={"Software": None}))


@styled
def _lay_out(figure: Figure) -> None:
    """Gives everything its place, once for all files; `savefig` would draw each figure once more to do so."""
    if (engine := figure.get_layout_engine()) is not None:
        before, figure.dpi = figure.dpi, DPI
        FigureCanvasAgg(figure)  # measures texts
        engine.execute(figure)
        figure.dpi = before
        figure.set_layout_engine("none")


@styled
def _render(figure: Figure, kind: str, **how: Any) -> bytes:
    target = BytesIO()
    figure.savefig(target, format=kind, **how)
    return target.getvalue()


def _write(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    partial.write_bytes(content)
    return partial.replace(path)


def panels(n: int, *, size: tuple[float, float], **subplot_options: Any) -> tuple[Figure, list[Axes]]:
    """A figure of `n` axes in one row; `size` in inches."""
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(1, n, squeeze=False, **subplot_options)
    return figure, list(axes[0])


def file_name(text: str) -> str:
    """`text` with everything that a file name should not have replaced by underscores."""
    return "".join(c if c.isalnum() or c in "-_" else "_" for c in text)
