"""`autocast compare`: evaluated runs side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from autocast.cli import completion, options
from autocast.cli.building import build

ALLOWED = "What may differ"


def compare(
    runs: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN...",
            help="Run directories, <date>/<run-name>, or directories of evaluations.",
            autocompletion=completion.runs,
        ),
    ],
    *,
    metric: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="A score (vrmse, crps_fair, ssr). May be given several times."),
    ] = None,
    window: Annotated[
        str, typer.Option(metavar="W", help="Lead times: all, or one of the evaluations' eval.windows.")
    ] = "all",
    kind: Annotated[
        str | None,
        typer.Option(metavar="member|mean", help="Which forecast of an ensemble (its mean)."),
    ] = None,
    against: Annotated[
        str | None,
        typer.Option(metavar="RUN", help="Differences to this run (to the best).", autocompletion=completion.runs),
    ] = None,
    no_aggregate: Annotated[
        bool, typer.Option("--no-aggregate", help="Keep runs apart that differ in their seed alone.")
    ] = False,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Write tables and curves there.")] = None,
    html: Annotated[bool, typer.Option("--html", help="With --out: comparison.html too, one page.")] = False,
    allow_different_data: Annotated[
        bool,
        typer.Option("--allow-different-data", help="Data of another digest: not paired.", rich_help_panel=ALLOWED),
    ] = False,
    allow_different_rollouts: Annotated[
        bool,
        typer.Option("--allow-different-rollouts", help="Steps, input steps, trajectories.", rich_help_panel=ALLOWED),
    ] = False,
    allow_different_members: Annotated[
        bool,
        typer.Option(
            "--allow-different-members",
            help="Means of more and of fewer members, and single forecasts.",
            rich_help_panel=ALLOWED,
        ),
    ] = False,
    output_base: options.OutputBase = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what is there in --out.")] = False,
    dry_run: options.DryRun = False,
    json: options.Json = False,
) -> None:
    from autocast.runs.using import compare as start

    wishes = {
        "metrics": tuple(metric or ()),
        "window": window,
        "kind": kind,
        "aggregate": not no_aggregate,
        "allow_different_data": allow_different_data,
        "allow_different_rollouts": allow_different_rollouts,
        "allow_different_members": allow_different_members,
    }
    places = {"out": out, "html": html, "overwrite": overwrite, "dry_run": dry_run}
    raise typer.Exit(start(runs, wishes, against=against, output_base=output_base, json=json, **places))


def command(name: str, text: str) -> Any:
    return build(compare, name, text)
