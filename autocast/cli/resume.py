"""`autocast resume`: continue what a run has not finished."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from autocast.cli import options
from autocast.cli.building import build


def resume(
    run: options.Run,
    overrides: options.Overrides = None,
    *,
    kind: Annotated[
        str | None, typer.Option(metavar="ae|epd|processor", help="Which one, where several are unfinished.")
    ] = None,
    output_base: options.OutputBase = None,
    mode: Annotated[
        str | None,
        typer.Option(metavar="local|slurm", help="Where to run (where it was launched).", show_default=False),
    ] = None,
    cluster: options.Cluster = None,
    after: options.After = None,
    detach: options.Detach = False,
    dry_run: options.DryRun = False,
    json: options.Json = False,
    verbose: options.Verbose = False,
) -> None:
    from autocast.runs.request import Request
    from autocast.runs.resume import resume as go_on

    request = Request(
        command="resume",
        overrides=tuple(overrides or ()),
        output_base=output_base,
        cluster=cluster,
        after=tuple(after or ()),
        detach=detach,
        dry_run=dry_run,
        json=json,
        verbose=verbose,
    )
    raise typer.Exit(go_on(run, request, kind=kind, mode=mode))


def command(name: str, text: str) -> Any:
    return build(resume, name, text)
