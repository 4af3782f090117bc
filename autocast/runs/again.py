"""How to start a training like the one of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from autocast.diagnosis import Run
from autocast.runs.directory import TRAIN, RunDirectory

NAMED = ("--workdir", "--date", "--run-name", "--resume-from")
"""Options with a value that say which run it is."""
FLAGS = ("--overwrite", "--no-resume", "--json")
"""What is about the run that was, or about one call."""


def diagnosed_run(directory: RunDirectory, kind: str, config: Mapping[str, Any]) -> Run:
    """What `autocast.diagnosis` has to know of a training."""
    record = directory.run_record(kind, TRAIN)
    return Run(config, directory.quoted, _words(record, kind, config))


def _words(record: Mapping[str, Any], kind: str, config: Mapping[str, Any]) -> list[str]:
    """Of the command that launched it and of those that continued it; one that does more than train gives its data."""
    command = ["autocast", kind]
    if record["argv"][:2] != command:
        return [*command, "--dataset", str(config["datamodule"]["data_path"])]
    changes = [word for origin in record["continued"] for word in origin["argv"][2:] if _is_override(word)]
    return [*command, *_without_names(record["argv"][2:]), *changes]


def _without_names(words: Sequence[str]) -> list[str]:
    kept, skip = [], False
    for word in words:
        option, has_value, _ = word.partition("=")
        if not skip and option not in (*NAMED, *FLAGS):
            kept.append(word)
        skip = not skip and option in NAMED and not has_value
    return kept


def _is_override(word: str) -> bool:
    return "=" in word and not word.startswith("-")
