"""`autocast sample`: pictures of what an autoencoder has learnt."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from autocast.cli import completion, options
from autocast.cli.building import build


def sample(
    run: Annotated[
        str | None,
        typer.Argument(
            metavar="[RUN]",
            help="A run with an autoencoder; without it the newest.",
            autocompletion=completion.runs,
        ),
    ] = None,
    *,
    samples: Annotated[int, typer.Option(metavar="N", help="In a grid: a square number.")] = 25,
    checkpoint: Annotated[str, typer.Option(metavar="WHICH", help="best, last, or both: with one noise.")] = "best",
    prior: Annotated[
        str, typer.Option(metavar="PRIOR", help="normal, measured (by channel), or auto: what the bottleneck implies.")
    ] = "auto",
    seed: Annotated[int, typer.Option(metavar="N", help="Of the noise.")] = 42,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Another place than the run directory.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace pictures that are there.")] = False,
    output_base: options.OutputBase = None,
    dry_run: options.DryRun = False,
    json: options.Json = False,
) -> None:
    from autocast.runs.using import sample as start

    wishes = {"samples": samples, "checkpoint": checkpoint, "prior": prior, "seed": seed}
    places = {"out": out, "overwrite": overwrite}
    raise typer.Exit(start(run, {**wishes, **places}, output_base=output_base, json=json, dry_run=dry_run))


def command(name: str, text: str) -> Any:
    return build(sample, name, text)
