"""The `autocast` command: a table of commands, each loaded when it is called."""

from __future__ import annotations

import gc
import importlib
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from autocast.errors import AutocastError
from autocast.version import __version__

COMMANDS = {
    "demo": ("autocast.cli.demo", "Simulate, train, evaluate and report in a few minutes, on a laptop."),
    "ae": ("autocast.cli.jobs", "Train an autoencoder."),
    "cache-latents": ("autocast.cli.jobs", "Encode a data set once, with a trained autoencoder."),
    "processor": ("autocast.cli.jobs", "Train a processor on cached latents: an emulator."),
    "epd": ("autocast.cli.jobs", "Train an encoder-processor-decoder: an emulator."),
    "train-eval": ("autocast.cli.jobs", "Train an emulator, then evaluate it (its overrides follow ::eval::)."),
    "eval": ("autocast.cli.jobs", "Score a trained run: metrics, rollouts, videos, report."),
    "forecast": ("autocast.cli.forecast", "Use a trained emulator: stream a forecast to a file."),
    "compare": ("autocast.cli.compare", "Evaluated runs side by side: scores with intervals, costs."),
    "report": ("autocast.cli.report", "Draw the report of an evaluation again, from what it keeps."),
    "sample": ("autocast.cli.sample", "What an autoencoder has learnt: reconstructions, samples, interpolations."),
    "benchmark": ("autocast.cli.benchmark", "What a trained model costs: time, memory, and beside its simulator."),
    "status": ("autocast.cli.status", "What runs are doing: state, progress, time left, and why."),
    "logs": ("autocast.cli.logs", "What a run printed, over all its attempts."),
    "why": ("autocast.cli.why", "Why a run is in its state, and what to type."),
    "cancel": ("autocast.cli.cancel", "End what runs are doing: their jobs, and those that wait for them."),
    "resume": ("autocast.cli.resume", "Continue what a run has not finished."),
    "sync": ("autocast.cli.sync", "Upload what was logged offline to Weights & Biases."),
    "data": ("autocast.cli.data", "Make data sets and look at them."),
    "config": ("autocast.cli.config", "Show configs, and import those of older trainers."),
    "doctor": ("autocast.cli.doctor", "What this machine has, and what is missing."),
}
"""Name of a command: its module, and one line of help. The help of `autocast` is made from this table alone."""


class LazyGroup(TyperGroup):
    """Knows its commands by name and help; imports the module of the one that is called."""

    def __init__(self, **settings: Any):
        super().__init__(**settings)
        self.commands = {name: TyperCommand(name, help=text) for name, (_, text) in COMMANDS.items()}

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name, _, rest = super().resolve_command(ctx, args)
        return name, load(str(name)), rest


def load(name: str) -> Any:
    """The command itself, with its options."""
    module, text = COMMANDS[name]
    return importlib.import_module(module).command(name, text)


app = typer.Typer(cls=LazyGroup, no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode="rich")


def show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"autocast {__version__}")
        raise typer.Exit


@app.callback(context_settings={"help_option_names": ["--help", "-h"]})
def describe(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", callback=show_version, is_eager=True)
    ] = False,
) -> None:
    """Emulators of spatio-temporal fields: simulate, train, roll out, score."""


def main() -> None:
    """The console script; what a user can act on becomes one message and an exit code.

    Until the work begins no garbage is looked for: imports and configs make none worth it, and looking for it takes a
    twelfth of their time.
    """
    gc.disable()
    try:
        app()
    except AutocastError as error:
        from autocast.runs.exits import tell

        sys.exit(tell(error))
    finally:
        gc.enable()
