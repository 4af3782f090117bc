"""`autocast config`: what a command would use, and what others used."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from autocast.cli import options
from autocast.cli.building import Function, group


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


def import_(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="JSON of another trainer: vae.json, config_unified.json.")
    ],
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR|FILE", help="Save there: a folder for --config-dir, or the file of a preset."),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files that are there.")] = False,
    dry_run: options.DryRun = False,
    json: options.Json = False,
) -> None:
    from autocast.runs.importing.command import ImportRequest, import_config

    raise typer.Exit(import_config(ImportRequest(file, out, overwrite, dry_run, json)))


def command(name: str, text: str) -> Any:
    functions: dict[str, tuple[Function, str]] = {
        "show": (show, "The resolved config of a command."),
        "import": (import_, "Configs from those of older trainers of variational autoencoders."),
    }
    return group(name, text, **functions)
