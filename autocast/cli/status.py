"""`autocast status`: what runs are doing."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from autocast.cli import completion, options
from autocast.cli.building import build


def status(
    runs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[RUN]...",
            help="Run directories, <date>/<run-name>, uids or job ids (all runs of the last days).",
            autocompletion=completion.runs,
            show_default=False,
        ),
    ] = None,
    *,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Refresh until nothing is open any more.")] = False,
    all_of_them: Annotated[bool, typer.Option("--all", help="Also what ended more than two days ago.")] = False,
    output_base: options.OutputBase = None,
    json: options.Json = False,
) -> None:
    from autocast.runs.watch.overview import show

    raise typer.Exit(show(runs or (), watch=watch, all_of_them=all_of_them, json=json, output_base=output_base))


def command(name: str, text: str) -> Any:
    return build(status, name, text)
