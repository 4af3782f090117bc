"""One self-contained `comparison.html`: which run is better as far as can be told, and what says so."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

from autocast.evaluation.comparison import Comparison, ScoreTable
from autocast.evaluation.comparison_curves import save_curves
from autocast.evaluation.comparison_files import write_files
from autocast.evaluation.comparison_text import (
    COST_HEADS,
    cost_cells,
    score_cells,
    score_heads,
    sentence,
    subject,
    title,
)
from autocast.evaluation.drawings import Drawing
from autocast.evaluation.html_page import chapters, command_box, document, item, navigation, write_page
from autocast.evaluation.inline_svg import inline_svg
from autocast.evaluation.report_tables import provenance_table

HTML = "comparison.html"


def write_comparison(comparison: Comparison, directory: Path, command: str, *, html: bool) -> list[Path]:
    """Tables and curves of a comparison and, with `html`, the page; see `write_comparison_page` for `command`."""
    drawings = save_curves(comparison, directory)
    products = [*write_files(comparison, directory), *(file for each in drawings for file in (each.svg, each.png))]
    return [*products, write_comparison_page(comparison, drawings, command, directory / HTML)] if html else products


def write_comparison_page(comparison: Comparison, drawings: Sequence[Drawing], command: str, path: Path) -> Path:
    """Writes the page, whole or not at all.

    Args:
        comparison: What was found.
        drawings: As `save_curves` returns them.
        command: Repeats the comparison.
        path: Of the page.
    """
    said = [sentence(table) for table in comparison.tables]
    sentences = "".join(item(text, "good" if decided else "warn") for text, decided in said)
    opening = (
        '<section class="first" aria-labelledby="verdict"><div><h2 id="verdict">Which is better?</h2>'
        f'<ul class="verdict">{sentences}</ul></div></section>\n'
    )
    sections = [
        ("scores", "Scores", "".join(map(_scores, comparison.tables)) + _notes(comparison)),
        ("curves", "Scores against lead time", f'<div class="drawings">{"".join(map(_drawing, drawings))}</div>'),
        (
            "costs",
            "Costs",
            _table("Costs of the runs", COST_HEADS, [cost_cells(entry) for entry in comparison.entries]),
        ),
        ("provenance", "Provenance", command_box(command) + _provenance(comparison)),
    ]
    body = f"{opening}{navigation(sections)}{chapters(sections)}"
    name = f"{comparison.data['name']}: {sum(entry.n_seeds for entry in comparison.entries)} runs compared"
    return write_page(document(name, subject(comparison), body), path)


def _scores(table: ScoreTable) -> str:
    return _table(title(table), score_heads(table), [score_cells(row, table) for row in table.rows])


def _notes(comparison: Comparison) -> str:
    told = ["Intervals are of 95 %, by a bootstrap over trajectories that all runs share.", *comparison.notes]
    return f'<p class="note">{escape(" ".join(told))}</p>'


def _drawing(drawing: Drawing) -> str:
    picture = inline_svg(drawing.svg.read_text(encoding="utf-8"), drawing.name, drawing.alt)
    return f'<div class="wide"><h3>{escape(drawing.title)}</h3><figure tabindex="0">{picture}</figure></div>'


def _provenance(comparison: Comparison) -> str:
    runs = {entry.name: ", ".join(entry.runs) for entry in comparison.entries}
    return provenance_table({"data": comparison.data, "runs": runs})


def _table(caption: str, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of texts that sorts by any of its columns."""
    head = "".join(f'<th scope="col"><button type="button">{escape(text)}</button></th>' for text in heads)
    body = "".join(f'<tr><th scope="row">{escape(first)}</th>{"".join(map(_cell, rest))}</tr>' for first, *rest in rows)
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(caption, quote=True)}">'
        f"<table><caption>{escape(caption)}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _cell(text: str) -> str:
    """A text, with the number that it begins with for sorting."""
    try:
        return f'<td data-value="{float(text.split()[0].replace(",", ""))!r}">{escape(text)}</td>'
    except ValueError:
        return f"<td>{escape(text)}</td>"
