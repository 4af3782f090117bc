"""`autocast logs`: what a run printed."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from autocast.cli import options
from autocast.cli.building import build


def logs(
    run: options.Run,
    *,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on until the stage ends, also over a requeue.")
    ] = False,
    stage: Annotated[str | None, typer.Option(help="train, eval, ... (the one that started last).")] = None,
    kind: Annotated[str | None, typer.Option(help="ae, epd, ... (the one that started last).")] = None,
    rank: Annotated[int, typer.Option(min=0, help="The process, of several.")] = 0,
    attempt: Annotated[int | None, typer.Option(min=1, help="One attempt only (all).")] = None,
    err: Annotated[bool, typer.Option("--err", help="Standard error instead of standard output.")] = False,
    lines: Annotated[int | None, typer.Option("--lines", "-n", min=1, help="Only the last ones (all).")] = None,
    output_base: options.OutputBase = None,
    json: options.Json = False,
) -> None:
    from autocast.runs.watch.logs import Selection, show

    selection = Selection(kind=kind, stage=stage, rank=rank, attempt=attempt, err=err, n_lines=lines)
    raise typer.Exit(show(run, selection, follow=follow, json=json, output_base=output_base))


def command(name: str, text: str) -> Any:
    return build(logs, name, text)
