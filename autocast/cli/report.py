"""`autocast report`: the report of an evaluation, drawn again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from autocast.cli import completion, options
from autocast.cli.building import build


def report(
    run: Annotated[
        str,
        typer.Argument(
            metavar="RUN",
            help="A run directory, <date>/<run-name>, or the directory of an evaluation.",
            autocompletion=completion.runs,
        ),
    ],
    *,
    evaluation: Annotated[
        str | None, typer.Option("--eval", metavar="NAME", help="The evaluation with this eval.name.")
    ] = None,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Another page than the evaluation's own.")] = None,
    max_size: Annotated[
        float, typer.Option(metavar="MB", help="Of the page: films and figures beyond it are linked.")
    ] = 10.0,
    output_base: options.OutputBase = None,
    dry_run: options.DryRun = False,
    json: options.Json = False,
) -> None:
    from autocast.runs.using import report as start

    places = {"evaluation": evaluation, "out": out, "megabytes": max_size}
    raise typer.Exit(start(run, places, output_base=output_base, json=json, dry_run=dry_run))


def command(name: str, text: str) -> Any:
    return build(report, name, text)
