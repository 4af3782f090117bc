"""The demo: four ordinary commands, one after the other, each printed so that it can be typed again."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path

from autocast.runs.console import Screen
from autocast.runs.directory import default_output_base
from autocast.runs.environment import read_environment
from autocast.runs.exits import DONE
from autocast.runs.launch import run as run_job
from autocast.runs.request import Request
from autocast.runs.using import simulate

DATASET = "reaction_diffusion"
QUICK = {
    "simulate": ("simulator.grid_shape=[16,16]", "simulator.n_frames=10", "splits={train:4,valid:2,test:2}"),
    "ae": ("trainer.max_epochs=1",),
    "epd": ("trainer.max_epochs=1",),
    "eval": ("eval.n_members=2",),
}
"""Overrides that take seconds and learn nothing."""
UNCHECKED = "each of them: it stands on what those before it make. They take --dry-run themselves"


def run(workdir: Path | None, *, seed: int, quick: bool, dry_run: bool, json: bool) -> int:
    """Simulates, trains an autoencoder and an emulator of its latents, and evaluates.

    Returns:
        The exit code of the first command that failed, else 0.
    """
    read_environment()
    screen = Screen(as_json=json)
    directory = workdir or default_output_base() / "demo" / str(seed)
    steps = commands(directory, seed, quick=quick)
    for n, request in enumerate([] if dry_run else steps, 1):
        screen.line(f"[{n}/{len(steps)}] {as_typed(request)}")
        if code := _start(request, screen):
            return code
    screen.line("the demo is these four commands:" if dry_run else "these four commands were run:")
    for request in steps:
        screen.line(f"  {as_typed(request)}")
    if dry_run:
        screen.line(f"not checked: {UNCHECKED}")
        screen.line("nothing was written, nothing was started")
    if json:
        typed = [as_typed(request) for request in steps]
        screen.document({"run": str(directory), "commands": typed, "not_checked": [UNCHECKED] if dry_run else []})
    return DONE


def commands(directory: Path, seed: int, *, quick: bool) -> list[Request]:
    """The four requests; what makes them a demo are the presets `demo_*`."""
    data, less = directory / "data" / DATASET, QUICK if quick else {}

    def request(command: str, preset: str | None, seed_key: str = "seed", **places: str | Path) -> Request:
        words = (f"{seed_key}={seed}", *less.get(command, ()))
        return Request(command, words, preset=preset, **places)  # type: ignore[arg-type]

    return [
        request("simulate", "demo_data", dataset=str(data)),
        request("ae", "demo_autoencoder", dataset=str(data), workdir=directory),
        request("epd", "demo_emulator", dataset=str(data), workdir=directory, autoencoder=str(directory)),
        request("eval", None, "eval.seed", workdir=directory),
    ]


def as_typed(request: Request) -> str:
    """The command line that means a request."""
    flags = {
        "--dataset": request.dataset,
        "--workdir": request.workdir,
        "--autoencoder": request.autoencoder,
        "--preset": request.preset,
    }
    words = [word for flag, value in flags.items() if value is not None for word in (flag, str(value))]
    verb = ["data", "simulate"] if request.command == "simulate" else [request.command]
    return shlex.join(["autocast", *verb, *words, *request.overrides])


def _start(request: Request, screen: Screen) -> int:
    start: Callable[[Request, Screen], int] = simulate if request.command == "simulate" else run_job
    return start(request, screen)
