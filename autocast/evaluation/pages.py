"""The page of a film: titles, labels and colour bars drawn once, pictures pasted into copies of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from autocast.evaluation.scales import Scale, number, planes, shrink

PAPER, INK, MUTED, FRAME, ACCENT = (21, 24, 28), (236, 239, 242), (160, 168, 177), (70, 77, 86), (86, 180, 233)
MARGIN, GAP, BAR, TITLES = 12, 6, 8, 24
SMALL, NORMAL, LARGE = 12, 14, 17
_LARGEST_PAGE = (1800, 960)
_PANEL_SIDES = (96, 208)


@dataclass(frozen=True)
class Row:
    """One quantity of all channels through time."""

    label: str
    fields: np.ndarray
    """`(T, *S, C)`"""
    scales: Sequence[Scale]
    """One per channel."""


class Page:
    """Rows of quantities and columns of channels.

    Args:
        rows: All with fields of one shape.
        columns: Title of each channel.
        title: Heads the page.
        notes: Further lines below the title.
        space_time: Fields of one axis are drawn whole, time to the right, and uncovered as time goes on.
    """

    def __init__(
        self,
        rows: Sequence[Row],
        columns: Sequence[str],
        title: str,
        notes: Sequence[str] = (),
        space_time: bool = False,
    ):
        self.space_time = space_time
        side = _panel_side(len(rows), len(columns))
        self._pictures = [_paint(row, side) for row in rows]
        self._zoom = (2 * side, side) if space_time else _panel_size(self._pictures[0][0].shape, side)
        self._n_steps = rows[0].fields.shape[0]
        self._lines = [title, "", *(note for note in notes if note)]
        self._lay_out(rows, columns)

    def _lay_out(self, rows: Sequence[Row], columns: Sequence[str]) -> None:
        panel_width, panel_height = self._zoom
        label_width = max(_width(row.label, NORMAL) for row in rows) + GAP
        bar_width = BAR + 4 + max(_width(number(x), SMALL) for row in rows for s in row.scales for x in (s.low, s.high))
        column_width = max(panel_width + GAP + bar_width, *(_width(column, NORMAL) for column in columns)) + 2 * GAP
        self._top = MARGIN + (LARGE + 8) + (NORMAL + 6) * (len(self._lines) - 1) + 8
        self._xs = [MARGIN + label_width + c * column_width for c in range(len(columns))]
        self._ys = [self._top + TITLES + r * (panel_height + GAP) for r in range(len(rows))]
        text_width = (
            max(_width(line, LARGE) for line in [*self._lines, "lead time 000 of 000 · t = 0.0000"]) + 2 * MARGIN
        )
        width = max(self._xs[-1] + column_width + MARGIN, min(text_width, 640))
        height = self._ys[-1] + panel_height + MARGIN
        self._paper = Image.new("RGB", (width + width % 2, height + height % 2), PAPER)
        self._draw_labels(rows, columns)

    def _draw_labels(self, rows: Sequence[Row], columns: Sequence[str]) -> None:
        draw = ImageDraw.Draw(self._paper)
        draw.text((MARGIN, MARGIN), self._lines[0], INK, _font(LARGE, bold=True))
        for i, note in enumerate(self._lines[2:]):
            draw.text((MARGIN, MARGIN + LARGE + 8 + (NORMAL + 6) * (i + 1)), note, MUTED, _font(NORMAL))
        for x, column in zip(self._xs, columns, strict=True):
            draw.text((x, self._top), column, INK, _font(NORMAL))
        for y, row in zip(self._ys, rows, strict=True):
            draw.text((MARGIN, y + self._zoom[1] // 2), row.label, INK, _font(NORMAL), anchor="lm")
        for first, last in _equal_runs(rows):
            for x, scale in zip(self._xs, rows[first].scales, strict=True):
                self._draw_bar(draw, scale, x + self._zoom[0] + GAP, self._ys[first], self._ys[last] + self._zoom[1])
        for x in self._xs:
            for y in self._ys:
                draw.rectangle((x - 1, y - 1, x + self._zoom[0], y + self._zoom[1]), outline=FRAME)

    def _draw_bar(self, draw: ImageDraw.ImageDraw, scale: Scale, x: int, top: int, bottom: int) -> None:
        """A colour bar over all the rows that share its scale."""
        values = np.linspace(scale.high, scale.low, bottom - top)[:, None].repeat(BAR, axis=1)
        self._paper.paste(Image.fromarray(scale.paint(values)), (x, top))
        draw.text((x + BAR + 4, top), number(scale.high), MUTED, _font(SMALL), anchor="lt")
        draw.text((x + BAR + 4, bottom), number(scale.low), MUTED, _font(SMALL), anchor="lb")

    def frame(self, step: int, clock: str) -> np.ndarray:
        """The page `(H, W, 3)` at one step, with `clock` below the title and a line that grows with time."""
        page = self._paper.copy()
        draw = ImageDraw.Draw(page)
        draw.text((MARGIN, MARGIN + LARGE + 8), clock, INK, _font(NORMAL))
        draw.rectangle((0, 0, page.width * (step + 1) // self._n_steps, 3), fill=ACCENT)
        for y, channels in zip(self._ys, self._pictures, strict=True):
            for x, pictures in zip(self._xs, channels, strict=True):
                page.paste(self._panel(pictures, step), (x, y))
        return np.asarray(page)

    def _panel(self, pictures: np.ndarray, step: int) -> Image.Image:
        if not self.space_time:
            return Image.fromarray(pictures[step]).resize(self._zoom, Image.Resampling.NEAREST)
        panel = Image.fromarray(pictures[0]).resize(self._zoom, Image.Resampling.NEAREST)
        panel.paste(PAPER, (self._zoom[0] * (step + 1) // self._n_steps, 0, *self._zoom))
        return panel


def _paint(row: Row, side: int) -> list[np.ndarray]:
    """For each channel pictures `(T, H, W, 3)` uint8 of at most about `side` pixels."""
    pictures = shrink(planes(row.fields), 2 * side)
    return [scale.paint(pictures[..., c]) for c, scale in enumerate(row.scales)]


def _panel_side(n_rows: int, n_columns: int) -> int:
    """Pixels of a panel's longer side with which the page stays near its largest size."""
    least, most = _PANEL_SIDES
    return int(np.clip(min(_LARGEST_PAGE[0] // n_columns - 70, _LARGEST_PAGE[1] // n_rows), least, most))


def _panel_size(shape: tuple[int, ...], side: int) -> tuple[int, int]:
    """Width and height: whole multiples of the pictures `(T, H, W, 3)`, but never too thin to see."""
    _, height, width, _ = shape
    k = max(1, side // max(height, width))
    return max(width * k, side // 6), max(height * k, side // 6)


def _equal_runs(rows: Sequence[Row]) -> list[tuple[int, int]]:
    """First and last index of each run of rows that share their scales."""
    starts = [i for i, row in enumerate(rows) if i == 0 or row.scales is not rows[i - 1].scales]
    return list(zip(starts, [*(s - 1 for s in starts[1:]), len(rows) - 1], strict=True))


@cache
def _font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    """The font that matplotlib brings, so that a page looks the same on every machine."""
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name, size)


def _width(text: str, size: int) -> int:
    return int(_font(size).getlength(text)) + 1
