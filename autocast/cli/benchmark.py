"""`autocast benchmark`: what a trained run's model costs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from autocast.cli import completion, options
from autocast.cli.building import build


def benchmark(
    run: Annotated[
        str,
        typer.Argument(
            metavar="RUN",
            help="A run directory, <date>/<run-name>, or a checkpoint in one.",
            autocompletion=completion.runs,
        ),
    ],
    *,
    members: Annotated[str, typer.Option(metavar="N,...", help="Members of the ensembles.")] = "1,8",
    batch_sizes: Annotated[str, typer.Option(metavar="N,...", help="Trajectories in a model call.")] = "1,4",
    steps: Annotated[
        int | None, typer.Option(metavar="N", help="Steps of a rollout (to the end of the test data).")
    ] = None,
    seconds: Annotated[float, typer.Option(metavar="S", help="For all measurements.")] = 60.0,
    device: Annotated[str, typer.Option(metavar="auto|cpu|cuda", help="Where to compute.")] = "auto",
    compile_: Annotated[
        str, typer.Option("--compile", metavar="auto|true|false", help="Compile forecasts (auto: on a GPU).")
    ] = "auto",
    simulator: Annotated[
        bool, typer.Option("--simulator/--no-simulator", help="Compare with the simulator that made the data.")
    ] = True,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Where to write (the run's own folder eval).")] = None,
    output_base: options.OutputBase = None,
    dry_run: options.DryRun = False,
    json: options.Json = False,
) -> None:
    from autocast.runs.using import benchmark as start

    wanted = {
        "members": members,
        "batch_sizes": batch_sizes,
        "steps": steps,
        "seconds": seconds,
        "device": device,
        "compile": compile_,
        "simulator": simulator,
        "out": out,
    }
    raise typer.Exit(start(run, wanted, output_base=output_base, json=json, dry_run=dry_run))


def command(name: str, text: str) -> Any:
    return build(benchmark, name, text)
