"""`autocast forecast`: use a trained emulator."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from autocast.cli import completion, options
from autocast.cli.building import build


def forecast(
    run: Annotated[
        str,
        typer.Argument(
            metavar="RUN",
            help="A run directory, <date>/<run-name>, or a checkpoint in one.",
            autocompletion=completion.runs,
        ),
    ],
    *,
    source: Annotated[
        str,
        typer.Option(
            "--from",
            metavar="DATASET|FILE",
            help="Where the initial steps are taken from.",
            autocompletion=completion.data_sets,
        ),
    ],
    out: Annotated[Path, typer.Option(metavar="FILE", help="The file to write, in The Well's layout.")],
    n_steps: Annotated[int | None, typer.Option(min=1, help="Steps to forecast (to the end of the data).")] = None,
    n_members: Annotated[int, typer.Option(min=1, help="Members of the ensemble.")] = 1,
    split: Annotated[str, typer.Option(help="The split of a data set.")] = "test",
    seed: Annotated[int, typer.Option(help="Of the members' noise.")] = 0,
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Trajectories at once (its training's batch size).")
    ] = None,
    output_base: options.OutputBase = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file if it is there.")] = False,
    dry_run: options.DryRun = False,
    json: options.Json = False,
) -> None:
    from autocast.runs.using import forecast as start

    names = ("source", "out", "n_steps", "n_members", "split", "seed", "batch_size")
    given = locals()
    wanted = {name: given[name] for name in names}
    raise typer.Exit(start(run, wanted, output_base=output_base, overwrite=overwrite, json=json, dry_run=dry_run))


def command(name: str, text: str) -> Any:
    return build(forecast, name, text)
