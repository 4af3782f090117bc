"""`autocast cancel`: end what runs are doing."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from autocast.cli import options
from autocast.cli.building import build


def cancel(
    runs: options.Runs,
    *,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Do not ask, however many there are; give up what runs elsewhere.")
    ] = False,
    output_base: options.OutputBase = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be cancelled.")] = False,
    json: options.Json = False,
) -> None:
    from autocast.runs.cancel import cancel as end
    from autocast.runs.console import Screen
    from autocast.runs.directory import default_output_base
    from autocast.runs.environment import read_environment

    def confirm(question: str) -> bool:
        return yes or (sys.stdin.isatty() and typer.confirm(question))

    read_environment()
    where = output_base or default_output_base()
    raise typer.Exit(end(runs, where, Screen(as_json=json), confirm=confirm, sure=yes, dry_run=dry_run))


def command(name: str, text: str) -> Any:
    return build(cancel, name, text)
