"""A comparison in words and cells, the same on a terminal, in documents and on a page."""

from __future__ import annotations

import math
from collections.abc import Sequence

from autocast.evaluation.comparison import (
    BETTER,
    NOT_FINITE,
    OTHER_DATA,
    REFERENCE,
    UNDECIDED,
    WORSE,
    Comparison,
    Entry,
    Estimate,
    Row,
    ScoreTable,
)
from autocast.evaluation.names import metric_name, unit_text, window_name
from autocast.evaluation.result import ENSEMBLE, MEAN, MEMBER

MISSING = "–"
SCORE_HEADS = ("run", "score", "95 % interval", "difference", "95 % interval", "verdict")
COST_HEADS = ("run", "seeds", "members", "parameters", "training", "GPU hours", "s/step")


def subject(comparison: Comparison) -> str:
    """What was compared on what."""
    leads = window_name(comparison.window)
    if comparison.window == "all":
        leads += f" ({comparison.leads[0]} to {comparison.leads[1]})"
    return f"{comparison.data['name']} · {comparison.n_trajectories} {comparison.data['split']} trajectories · {leads}"


def title(table: ScoreTable) -> str:
    """`VRMSE of the mean, lower is better`"""
    name, unit = metric_name(table.metric), unit_text(table.unit)
    kinds = dict.fromkeys(_kind(row) for row in table.rows if row.kind not in (None, ENSEMBLE))
    of = f" of {' or '.join(kinds)}" if kinds else ""
    pooled = ", pooled over trajectories" if table.pooled else ""
    return f"{name}{f' [{unit}]' if unit else ''}{of}{pooled}, {direction(table)}"


def _kind(row: Row) -> str:
    if row.kind == MEAN:
        return f"the mean of {row.entry.n_members}"
    return "one member" if row.kind == MEMBER and row.entry.n_members > 1 else "the forecast"


def direction(table: ScoreTable) -> str:
    if table.ideal is None:
        return "neither high nor low is better"
    if table.ideal == 0:
        return "lower is better"
    return f"nearer to {table.ideal:g} is better"


def sentence(table: ScoreTable) -> tuple[str, bool]:
    """What the table says, and whether it names a winner."""
    name = metric_name(table.metric)
    name = name[0].upper() + name[1:]
    if table.ideal is None:
        return f"{name}: {direction(table)}.", False
    if table.reference is None:
        return f"{name}: no run is finite.", False
    reference = table.reference.name
    better, worse, alike = table.named(BETTER), table.named(WORSE), table.named(*UNDECIDED)
    if table.chosen:
        parts = [f"{_listed(better)} {_verb(better)} better than {reference}"] if better else []
        parts += [f"{_listed(worse)} {_verb(worse)} worse"] if worse else []
        parts += [f"{_listed(alike)} cannot be told apart from {reference}"] if alike else []
        return f"{name}: {'; '.join(parts) or 'nothing to compare with ' + reference}.", bool(better or worse)
    parts = [f"{reference} is better than {_listed(worse)}"] if worse else []
    no_winner = "" if worse else "no winner: "
    if alike:
        who = "it" if worse else f"{reference} has the best score but"
        parts.append(f"{no_winner}{who} cannot be told apart from {_listed(alike)}")
    broken, other = table.named(NOT_FINITE), table.named(OTHER_DATA)
    parts += [f"{_listed(broken)} {_verb(broken)} not finite"] if broken else []
    parts += [f"{_listed(other)} {_verb(other)} on other data"] if other else []
    return f"{name}: {'; '.join(parts) or 'nothing to compare with ' + reference}.", bool(worse)


def _verb(names: Sequence[str]) -> str:
    return "is" if len(names) == 1 else "are"


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def score_cells(row: Row, table: ScoreTable) -> tuple[str, ...]:
    """Of `SCORE_HEADS`."""
    seeds = "" if row.seed_std is None else f" ±{number(row.seed_std, digits=2)}"
    score = MISSING if row.score is None else number(row.score.value) + seeds
    difference = MISSING if row.difference is None else number(row.difference.value, signed=True)
    return (
        row.entry.name,
        score,
        _interval(row.score),
        difference,
        _interval(row.difference, signed=True),
        verdict(row, table),
    )


def verdict(row: Row, table: ScoreTable) -> str:
    """The reference is called the best only where it is better than every other."""
    if row.verdict != REFERENCE or table.chosen:
        return row.verdict
    return "best" if table.named(WORSE) and not table.named(*UNDECIDED) else "best score"


def score_heads(table: ScoreTable) -> tuple[str, ...]:
    if table.reference is None or table.ideal is None:
        return SCORE_HEADS
    to = "to the best" if not table.chosen else f"to {table.reference.name}"
    return (*SCORE_HEADS[:3], to, *SCORE_HEADS[4:])


def cost_cells(entry: Entry) -> tuple[str, ...]:
    """Of `COST_HEADS`."""
    return (
        entry.name,
        str(entry.n_seeds),
        str(entry.n_members),
        MISSING if entry.n_parameters is None else f"{entry.n_parameters:,}",
        MISSING if entry.training_seconds is None else _duration(entry.training_seconds),
        MISSING if entry.gpu_hours is None else number(entry.gpu_hours),
        f"{number(entry.seconds_per_step)} ({entry.device})",
    )


def has_seeds(table: ScoreTable) -> bool:
    return any(row.seed_std is not None for row in table.rows)


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.3g} min" if seconds < 6000 else f"{seconds / 3600:.3g} h"


def _interval(estimate: Estimate | None, *, signed: bool = False) -> str:
    if estimate is None or not math.isfinite(estimate.low + estimate.high):
        return MISSING
    return f"[{number(estimate.low, signed=signed)}, {number(estimate.high, signed=signed)}]"


def number(value: float, *, signed: bool = False, digits: int = 3) -> str:
    """Three digits, as in ".0345" or "-1.24"."""
    if not math.isfinite(value):
        return str(value)
    text = f"{value:{'+' if signed else ''}#.{digits}g}"
    text = text.removesuffix(".")
    sign, rest = (text[0], text[1:]) if text[0] in "+-" else ("", text)
    return sign + (rest[1:] if rest.startswith("0.") and "e" not in rest else rest)
