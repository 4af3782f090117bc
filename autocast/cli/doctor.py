"""`autocast doctor`: what this machine has."""

from __future__ import annotations

from typing import Any

import typer

from autocast.cli import options
from autocast.cli.building import build


def doctor(json: options.Json = False) -> None:
    from autocast.runs.doctor import run

    raise typer.Exit(run(json=json))


def command(name: str, text: str) -> Any:
    return build(doctor, name, text)
