"""`autocast demo`: from nothing to a scored forecast."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from autocast.cli import options
from autocast.cli.building import build


def demo(
    workdir: Annotated[Path | None, typer.Option(metavar="DIR", help="The run directory (outputs/demo/SEED).")] = None,
    seed: Annotated[int, typer.Option(help="Of the data, the training and the ensemble.")] = 42,
    quick: Annotated[bool, typer.Option("--quick", help="Seconds instead of minutes: to see that it works.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the commands; run nothing.")] = False,
    json: options.Json = False,
) -> None:
    from autocast.runs.demo import run

    raise typer.Exit(run(workdir, seed=seed, quick=quick, dry_run=dry_run, json=json))


def command(name: str, text: str) -> Any:
    return build(demo, name, text)
