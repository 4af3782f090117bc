"""Scores of several runs against lead time, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from autocast.evaluation.comparison import Comparison, ScoreTable
from autocast.evaluation.comparison_text import direction, sentence
from autocast.evaluation.curves import lead_time_axis, log_where_wide, plot, shade
from autocast.evaluation.drawings import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    RULE,
    VERMILION,
    Drawing,
    panels,
    save,
    styled,
)
from autocast.evaluation.names import metric_name, unit_text
from autocast.evaluation.scales import with_unit

_COLOURS = (BLUE, VERMILION, GREEN, ORANGE, PURPLE, GREY)
_DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (6, 1.5, 1, 1.5)), (0, (1, 1.5)), (0, (3, 1)))
"""Six colours and five dashes: thirty lines of which no two are alike."""
_MOST_PANELS = 3
_PANEL = (4.2, 3.4)


@styled
def draw_curves(tables: Sequence[ScoreTable]) -> Figure:
    """A panel for each score; all leads, whatever window was compared. Behind the line of a single run is its 95 %
    interval over trajectories; whether runs differ is for the table to say, which pairs them."""
    figure, all_axes = panels(len(tables), size=(max(5.6, _PANEL[0] * len(tables)), _PANEL[1] + 0.3))
    names = list(dict.fromkeys(row.entry.name for table in tables for row in table.rows))
    handles: dict[str, Any] = {}
    for axes, table in zip(all_axes, tables, strict=True):
        if table.ideal:
            axes.axhline(table.ideal, color=RULE, linewidth=1.4)
        for i, name in enumerate(names):
            if name in table.curves:
                line = {"color": _COLOURS[i % len(_COLOURS)], "linestyle": _DASHES[i % len(_DASHES)]}
                plot(axes, table.curves[name], name, **line)
                if name in table.bounds:
                    shade(axes, table.bounds[name], color=str(line["color"]))
        n_steps = max((int(series.index[-1]) for series in table.curves.values()), default=1)
        lead_time_axis(axes, n_steps)
        log_where_wide(axes)
        axes.set(title=direction(table), ylabel=with_unit(metric_name(table.metric), unit_text(table.unit)))
        found = zip(*reversed(axes.get_legend_handles_labels()), strict=True)
        handles = {**dict(found), **handles}  # a run that lacks one score may have another
    shown = [name for name in names if name in handles]
    figure.legend([handles[name] for name in shown], shown, loc="outside lower center", ncols=min(3, len(shown) or 1))
    return figure


def save_curves(comparison: Comparison, directory: Path) -> list[Drawing]:
    """`curves.png` and `curves.svg` of the first scores; of each further few, `curves_2` and on."""
    tables = [table for table in comparison.tables if table.curves]
    parts = [tables[i : i + _MOST_PANELS] for i in range(0, len(tables), _MOST_PANELS)]
    return [
        save(
            draw_curves(part),
            directory,
            f"curves_{i}" if i > 1 else "curves",
            section="scores",
            title=f"{', '.join(metric_name(table.metric) for table in part)} against lead time",
            alt=f"Line charts against lead time, a line for each run. {' '.join(sentence(table)[0] for table in part)}",
            wide=True,
        )
        for i, part in enumerate(parts, start=1)
    ]
