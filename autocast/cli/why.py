"""`autocast why`: why a run is in its state."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from autocast.cli import options
from autocast.cli.building import build


def why(
    run: options.Run,
    *,
    stage: Annotated[str | None, typer.Option(help="train, eval, ... (the one that went wrong).")] = None,
    kind: Annotated[str | None, typer.Option(help="ae, epd, ... (the one that went wrong).")] = None,
    output_base: options.OutputBase = None,
    json: options.Json = False,
) -> None:
    from autocast.runs.watch.why import show

    raise typer.Exit(show(run, kind=kind, stage=stage, json=json, output_base=output_base))


def command(name: str, text: str) -> Any:
    return build(why, name, text)
