"""Panels of evaluated runs side by side."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from autocast.panels.words import MARKS, Rows, count
from autocast.runs.console import Screen
from autocast.runs.job import Outcome
from autocast.runs.provenance import command_line

if TYPE_CHECKING:
    from autocast.evaluation.comparison import Comparison


def comparison_tables(comparison: Comparison, screen: Screen) -> None:
    """A table for each score, and one of the costs; scripts get a document instead."""
    from autocast.evaluation import comparison_text as text

    if screen.as_json:
        return
    for table in comparison.tables:
        screen.table(text.title(table), text.score_heads(table), [text.score_cells(row, table) for row in table.rows])
        screen.line()
    screen.table("costs", text.COST_HEADS, [text.cost_cells(entry) for entry in comparison.entries])
    screen.line()


def compared(comparison: Comparison, products: list[Path]) -> Outcome:
    """The closing panel of a comparison: who is better, as far as can be told."""
    from autocast.evaluation import comparison_text as text
    from autocast.evaluation.comparison_files import document

    said = [text.sentence(table) for table in comparison.tables]
    rows: Rows = [(MARKS["good"] if decided else "≈", sentence) for sentence, decided in said]
    rows += [("note", note) for note in comparison.notes]
    rows += [("written", str(file)) for file in products]
    rows = [("on", text.subject(comparison)), *rows]
    title = f"compared  {count(sum(entry.n_seeds for entry in comparison.entries), 'run')}"
    then = "" if products else f"{typed()} --out comparison --html"
    return Outcome({"title": title, **document(comparison)}, rows, then, products)


def typed() -> str:
    """The command that was typed, for a shell."""
    return shlex.join(command_line())
