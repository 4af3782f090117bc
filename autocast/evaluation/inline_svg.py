"""A figure's SVG as part of a page: in the colours of the page's theme, with identifiers of its own."""

from __future__ import annotations

import re
from html import escape

from autocast.evaluation.drawings import BLUE, INK, RULE

_THEMED = {INK: "currentColor", RULE: "var(--rule)", BLUE: "var(--model)"}
_PROLOGUE = re.compile(r"^.*?(?=<svg\b)", re.DOTALL)
_METADATA = re.compile(r"<metadata>.*?</metadata>", re.DOTALL)
_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
_ID = re.compile(r'\bid="([^"]+)"')
_REFERENCE = re.compile(r'(url\(#|href="#)([^")]+)')


def inline_svg(svg: str, name: str, alt: str) -> str:
    """The `<svg>` element alone, as wide as its place, readable to those who cannot see it.

    Args:
        svg: A file as matplotlib writes it, drawn in the style of `drawings`.
        name: Goes before every identifier, since all figures of a page share one name space.
        alt: What the figure shows.
    """
    for pattern in (_PROLOGUE, _METADATA, _COMMENT):
        svg = pattern.sub("", svg)
    svg = _ID.sub(rf'id="{name}-\1"', svg)
    svg = _REFERENCE.sub(rf"\1{name}-\2", svg)
    svg = _without_size(svg)
    for colour, themed in _THEMED.items():
        svg = svg.replace(colour, themed)
    label = escape(alt, quote=True)
    return svg.replace("<svg", f'<svg role="img" aria-label="{label}"', 1).strip()


def _without_size(svg: str) -> str:
    """Without width and height in points; the view box stays and keeps the proportions."""
    end = svg.index(">")
    return re.sub(r'\s(?:width|height)="[^"]*"', "", svg[:end]) + svg[end:]
