"""Commands made from functions, one at a time."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import typer

Function = Callable[..., None]


def build(function: Function, name: str, text: str, *, without: Collection[str] = ()) -> Any:
    """A command that calls `function`, less some of its options."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command(name, help=text)(function)
    command = typer.main.get_command(app)
    command.params = [parameter for parameter in command.params if parameter.name not in without]
    return command


def group(name: str, text: str, **functions: tuple[Function, str]) -> Any:
    """A group of commands: a name, its function and one line of help for each."""
    app = typer.Typer(name=name, help=text, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
    app.callback()(lambda: None)  # makes it a group even with a single command
    for word, (function, line) in functions.items():
        app.command(word, help=line)(function)
    return typer.main.get_command(app)
