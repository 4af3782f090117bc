"""Pages that are one file: style and script are inside, and the content security policy forbids to ask for more."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Protocol

from autocast.evaluation.files import write_text

_POLICY = "default-src 'none'; img-src data:; media-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
_MARKS = {"good": ("✓", "Good"), "warn": ("!", "Mind"), "bad": ("✗", "Bad")}

Sections = Sequence[tuple[str, str, str]]
"""Identifier, title and content."""


class Sentence(Protocol):
    """One sentence of the verdict."""

    @property
    def text(self) -> str: ...

    @property
    def mark(self) -> str:
        """ "good", "warn" or "bad"."""
        ...


def document(title: str, facts: str, body: str) -> str:
    """A page with a title, a line of facts below it, and its body as HTML."""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        f'<title>{escape(title)}</title>\n<link rel="icon" href="data:,">\n'
        f"<style>\n{_asset('report.css')}</style>\n</head>\n<body>\n"
        f'<header><h1>{escape(title)}</h1><p class="facts">{escape(facts)}</p></header>\n<main>\n{body}</main>\n'
        f"<script>\n{_asset('report.js')}</script>\n</body>\n</html>\n"
    )


def item(text: str, mark: str) -> str:
    """A sentence of the verdict in its list."""
    sign, word = _MARKS[mark]
    return (
        f'<li class="{mark}"><span class="mark" aria-hidden="true">{sign}</span>'
        f'<span><span class="unseen">{word}: </span>{escape(text)}</span></li>'
    )


def navigation(sections: Sections) -> str:
    links = "".join(f'<li><a href="#{key}">{title}</a></li>' for key, title, _ in sections)
    return f'<nav aria-label="Sections"><ul>{links}</ul></nav>\n'


def chapters(sections: Sections) -> str:
    return "".join(f'<section id="{key}"><h2>{title}</h2>{content}</section>\n' for key, title, content in sections)


def command_box(command: str) -> str:
    """A command, and a button that copies it."""
    return (
        "<h3>To repeat it</h3>"
        f'<div class="command"><pre tabindex="0"><code>{escape(command)}</code></pre>'
        '<button type="button" class="copy">Copy</button></div>'
    )


def write_page(page: str, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return write_text(page, path)


def _asset(name: str) -> str:
    return files("autocast.evaluation").joinpath(name).read_text(encoding="utf-8")
