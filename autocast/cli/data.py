"""`autocast data`: make data sets and look at them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from autocast.cli import completion, options
from autocast.cli.building import group


def simulate(
    overrides: options.Overrides = None,
    dataset: Annotated[
        str | None,
        typer.Option(
            help="Its name in $AUTOCAST_DATASETS or a directory; also the simulator, if there is one.",
            autocompletion=completion.data_sets_and_simulators,
        ),
    ] = None,
    preset: options.Preset = None,
    config_dir: options.ConfigDir = None,
    dry_run: options.DryRun = False,
    json: options.Json = False,
) -> None:
    from autocast.runs.request import Request
    from autocast.runs.using import simulate as run

    request = Request(
        command="simulate",
        overrides=tuple(overrides or ()),
        dataset=dataset,
        preset=preset,
        config_dir=config_dir,
        dry_run=dry_run,
        json=json,
    )
    raise typer.Exit(run(request))


def inspect(
    dataset: Annotated[
        str,
        typer.Argument(
            metavar="DATASET",
            help="A directory, or a name in $AUTOCAST_DATASETS.",
            autocompletion=completion.data_sets,
        ),
    ],
    size: Annotated[
        str | None,
        typer.Option(metavar="HEIGHT,WIDTH", help="Resize pictures, as datamodule.size does; one number for both."),
    ] = None,
    column: Annotated[
        str | None, typer.Option(metavar="NAME", help="Of lists of pictures, the one to read, as datamodule.column.")
    ] = None,
    video: Annotated[Path | None, typer.Option(metavar="FILE", help="Draw a trajectory: .png or .mp4.")] = None,
    dry_run: options.DryRun = False,
    json: options.Json = False,
) -> None:
    from autocast.runs.using import inspect as run

    raise typer.Exit(run(dataset, size=size, column=column, video=video, json=json, dry_run=dry_run))


def command(name: str, text: str) -> Any:
    return group(
        name,
        text,
        simulate=(simulate, "Solve equations, write a data set. It goes on where it was interrupted."),
        inspect=(inspect, "What a data set is: table, statistics, checks."),
    )
