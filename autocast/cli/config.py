"""`autocast config`: what a command would use."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from autocast.cli import options
from autocast.cli.building import group


def show(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[COMMAND] [OVERRIDES]...",
            help="ae, cache-latents, processor, epd (default), train-eval, eval or simulate; then overrides.",
            show_default=False,
        ),
    ] = None,
    dataset: options.Dataset = None,
    autoencoder: options.Autoencoder = None,
    preset: options.Preset = None,
    config_dir: options.ConfigDir = None,
    workdir: Annotated[Path | None, typer.Option(metavar="DIR", help="With eval: the run to be evaluated.")] = None,
    json: options.Json = False,
) -> None:
    from autocast.runs.request import Request
    from autocast.runs.using import config_request, show_config

    request = Request(
        command="epd",
        dataset=dataset,
        autoencoder=autoencoder,
        preset=preset,
        config_dir=config_dir,
        workdir=workdir,
        json=json,
    )
    raise typer.Exit(show_config(config_request(tuple(words or ()), request)))


def command(name: str, text: str) -> Any:
    return group(name, text, show=(show, "The resolved config of a command."))
