"""The frozen surface: every command and option, and what each of them promises."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.core import TyperGroup

from autocast.cli.main import COMMANDS, app, load

SURFACE = Path(__file__).with_name("surface.txt")
READS_ONLY = ("autocast config show", "autocast doctor", "autocast status", "autocast logs", "autocast why")


def commands() -> Iterator[tuple[str, Any]]:
    for name in COMMANDS:
        command = load(name)
        if isinstance(command, TyperGroup):
            yield from ((f"autocast {name} {word}", inner) for word, inner in command.commands.items())
        else:
            yield f"autocast {name}", command


def listing() -> str:
    """One line for each command and each of its parameters; the order of options does not matter."""
    lines = []
    for name, command in [("autocast", typer.main.get_command(app)), *commands()]:
        words = [" ".join(parameter.opts) for parameter in command.params if parameter.param_type_name == "option"]
        arguments = [
            str(parameter.name).upper() for parameter in command.params if parameter.param_type_name == "argument"
        ]
        lines += [name, *(f"  {argument}" for argument in arguments), *(f"  {word}" for word in sorted(words))]
    return "\n".join(lines) + "\n"


def test_the_surface_is_what_was_agreed():
    """A command or option that is added, renamed or dropped is a decision: change surface.txt with it."""
    assert listing() == SURFACE.read_text()


@pytest.mark.parametrize(("name", "command"), list(commands()), ids=[name for name, _ in commands()])
def test_a_command_can_be_tried_dry_or_only_reads(name: str, command: Any):
    options = [option for parameter in command.params for option in parameter.opts]
    assert ("--dry-run" in options) is (name not in READS_ONLY)
    assert "--json" in options


@pytest.mark.parametrize(("name", "command"), list(commands()), ids=[name for name, _ in commands()])
def test_every_parameter_is_explained(name: str, command: Any):
    assert command.help
    assert [parameter.name for parameter in command.params if not parameter.help and parameter.name != "help"] == []
