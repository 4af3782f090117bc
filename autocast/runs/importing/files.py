"""From a foreign file to configs that are shown or saved."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autocast.errors import ConfigError
from autocast.runs.identity import write_text
from autocast.runs.importing import presets, single
from autocast.runs.importing.imported import Imported
from autocast.runs.importing.reading import Findings
from autocast.runs.problems import Problem, did_you_mean, nearest

READERS = {
    single.SECTIONS: single.read,
    presets.SECTIONS: lambda document, _stem, findings: presets.read(document, findings),
}
"""What reads a file, by the sections that it may have."""
YAML = ".yaml"


@dataclass(frozen=True)
class Import:
    """What becomes of a file."""

    files: Sequence[Imported]
    problems: Sequence[Problem]
    notes: Sequence[str]
    """What has no counterpart, and what to do instead."""


def read_foreign(file: Path) -> Import:
    """The configs that a file of another trainer describes; all that is wrong with it are problems.

    Raises:
        ConfigError: It cannot be read, or it is of no trainer that is known.
    """
    document = _document(file)
    known = [name for sections in READERS for name in sections]
    sections = next((s for s in READERS if any(name in document for name in s)), None)
    if sections is None:
        found = ", ".join(document) or "nothing"
        hints = {nearest(name, known) for name in document} - {None}
        hint = did_you_mean(" or ".join(sorted(map(str, hints)))) if hints else ""
        raise ConfigError(f"{file}: of no trainer that is known. Found {found}; known are {', '.join(known)}.{hint}")
    findings = Findings()
    made = READERS[sections](document, file.stem, findings)
    return Import(made, findings.problems, findings.notes)


def places(made: Sequence[Imported], out: Path) -> dict[Path, str]:
    """The files that an import is saved as, and their text: below a directory for `--config-dir`, or the file of a
    preset.

    Raises:
        ConfigError: A file is named where there are many, or in no folder where a preset would be found.
    """
    if out.suffix != YAML:
        return {out / imported.file: imported.text for imported in made}
    if len(made) != 1:
        raise ConfigError(f"--out {out}: these are {len(made)} files. Name a directory.")
    if out.parent.name != made[0].group:
        wanted = out.parent / made[0].group / out.name
        raise ConfigError(f"--out {out}: a {made[0].group} is found in a folder of that name. Give --out {wanted}.")
    return {out: made[0].text}


def save(texts: Mapping[Path, str], *, overwrite: bool, only_check: bool = False) -> None:
    """Writes files, each at once and whole; none where one of them is there, or it is only checked.

    Raises:
        ConfigError: One is there, and it is not to be replaced.
    """
    there = [str(file) for file in texts if file.exists()]
    if there and not overwrite:
        raise ConfigError(f"{', '.join(there)}: there already, and nothing was written. Give --overwrite.")
    for file, text in [] if only_check else texts.items():
        write_text(file, text)


def _document(file: Path) -> dict[str, Any]:
    if not file.is_file():
        raise ConfigError(f"{file}: no such file.")
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: not JSON ({error}).") from error
    if not isinstance(document, dict):
        raise ConfigError(f"{file}: an object with sections is wanted, found a {type(document).__name__}.")
    return document
