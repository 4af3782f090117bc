"""A comparison as files: CSV and JSON for programs, Markdown and LaTeX for documents."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from autocast.evaluation.comparison import Comparison, Estimate, Row, ScoreTable
from autocast.evaluation.comparison_text import (
    COST_HEADS,
    cost_cells,
    has_seeds,
    score_cells,
    score_heads,
    sentence,
    subject,
    title,
    verdict,
)
from autocast.evaluation.files import write_table, write_text

CSV, JSON, MARKDOWN, LATEX = "comparison.csv", "comparison.json", "comparison.md", "comparison.tex"
_COSTS = ("n_members", "n_parameters", "training_seconds", "gpu_hours", "seconds_per_step")
_ESCAPES = str.maketrans(
    {
        **{c: rf"\{c}" for c in "&%$#_{}"},
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "±": r"$\pm$",
        "×": r"$\times$",
        "·": r"$\cdot$",
        "–": "--",
        "²": r"\textsuperscript{2}",
        "³": r"\textsuperscript{3}",
    }
)


def write_files(comparison: Comparison, directory: Path) -> list[Path]:
    """Writes all four, each whole or not at all."""
    directory.mkdir(parents=True, exist_ok=True)
    write_table(table(comparison), directory / CSV)
    texts = {
        JSON: json.dumps(document(comparison), indent=2) + "\n",
        MARKDOWN: markdown(comparison),
        LATEX: latex(comparison),
    }
    for name, text in texts.items():
        write_text(text, directory / name)
    return [directory / name for name in (CSV, JSON, MARKDOWN, LATEX)]


def table(comparison: Comparison) -> pd.DataFrame:
    """A row for each score and run, costs repeated."""
    return pd.DataFrame([_flat(row, t, comparison.window) for t in comparison.tables for row in t.rows])


def _flat(row: Row, table: ScoreTable, window: str) -> dict[str, Any]:
    return {
        "metric": table.metric,
        "kind": row.kind or "",
        "window": window,
        "run": row.entry.name,
        "n_seeds": row.entry.n_seeds,
        "unit": table.unit,
        **_bounds(row.score, "value"),
        "seed_std": row.seed_std,
        "reference": table.reference.name if table.reference else "",
        **_bounds(row.difference, "difference"),
        "verdict": verdict(row, table),
        **{name: getattr(row.entry, name) for name in _COSTS},
    }


def _bounds(estimate: Estimate | None, name: str) -> dict[str, float | None]:
    bounds = (None, None, None) if estimate is None else (estimate.value, estimate.low, estimate.high)
    return dict(zip((name, f"{name}_low", f"{name}_high"), bounds, strict=True))


def document(comparison: Comparison) -> dict[str, Any]:
    """Plain values; what is not finite is null."""
    return {
        "data": dict(comparison.data),
        "window": comparison.window,
        "leads": list(comparison.leads),
        "n_trajectories": comparison.n_trajectories,
        "runs": [{**dataclasses.asdict(entry), "n_seeds": entry.n_seeds} for entry in comparison.entries],
        "scores": [_score(t, comparison.window) for t in comparison.tables],
        "notes": list(comparison.notes),
    }


def _score(table: ScoreTable, window: str) -> dict[str, Any]:
    shared = ("metric", "window", "unit", "reference", *_COSTS, "n_seeds")
    rows = [
        {
            **{key: _plain(value) for key, value in _flat(row, table, window).items() if key not in shared},
            "by_seed": [_plain(score) for score in row.by_seed],
        }
        for row in table.rows
    ]
    return {
        "metric": table.metric,
        "unit": table.unit,
        "ideal": table.ideal,
        "pooled": table.pooled,
        "reference": table.reference.name if table.reference else None,
        "sentence": sentence(table)[0],
        "rows": rows,
    }


def _plain(value: Any) -> Any:
    finite = not isinstance(value, float) or value - value == 0
    return value if finite else None


def markdown(comparison: Comparison) -> str:
    blocks = [f"**{subject(comparison)}**"]
    for each in comparison.tables:
        rows = [score_cells(row, each) for row in each.rows]
        blocks += [f"{title(each)}:", _pipes(score_heads(each), rows), sentence(each)[0]]
    blocks += ["Costs:", _pipes(COST_HEADS, [cost_cells(entry) for entry in comparison.entries]), *_notes(comparison)]
    return "\n\n".join(blocks) + "\n"


def _pipes(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---"] + ["---:"] * (len(heads) - 1), *rows]
    return "\n".join(f"| {' | '.join(text.replace('|', chr(92) + '|') for text in line)} |" for line in lines)


def latex(comparison: Comparison) -> str:
    """Tables for `booktabs`, to be put in by `\\input`."""
    lines = [f"% {subject(comparison)}", "% needs \\usepackage{booktabs}"]
    for each in comparison.tables:
        rows = [score_cells(row, each) for row in each.rows]
        lines += [f"% {title(each)}. {sentence(each)[0]}", *_tabular(score_heads(each), rows), ""]
    lines += ["% costs", *_tabular(COST_HEADS, [cost_cells(entry) for entry in comparison.entries])]
    return "\n".join(lines) + "\n"


def _tabular(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    def line(cells: Sequence[str]) -> str:
        return " & ".join(cell.translate(_ESCAPES) for cell in cells) + r" \\"

    head = [rf"\begin{{tabular}}{{l{'r' * (len(heads) - 1)}}}", r"\toprule", line(heads), r"\midrule"]
    return [*head, *map(line, rows), r"\bottomrule", r"\end{tabular}"]


def _notes(comparison: Comparison) -> list[str]:
    seeds = any(has_seeds(each) for each in comparison.tables)
    return [*(["± is the standard deviation between seeds."] if seeds else []), *comparison.notes]
