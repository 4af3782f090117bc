"""`autocast sync`: uploads offline runs of Weights & Biases."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from autocast.cli import options
from autocast.cli.building import build


def sync(
    runs: options.Runs,
    *,
    output_base: options.OutputBase = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be uploaded; upload nothing.")] = False,
    json: options.Json = False,
) -> None:
    from autocast.runs.watch.sync import sync as upload

    raise typer.Exit(upload(runs, dry_run=dry_run, json=json, output_base=output_base))


def command(name: str, text: str) -> Any:
    return build(sync, name, text)
