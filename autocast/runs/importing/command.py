"""`autocast config import`: shows or saves the configs that a file of another trainer describes."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from autocast.runs.console import Screen
from autocast.runs.exits import DONE, USAGE
from autocast.runs.importing.files import Import, places, read_foreign, save
from autocast.runs.importing.imported import Imported

NOTHING_DONE = "nothing was written, nothing was started"
SEPARATOR = "---"


@dataclass(frozen=True)
class ImportRequest:
    """What was typed."""

    file: Path
    out: Path | None = None
    """A directory, or the file of a preset; None only shows."""
    overwrite: bool = False
    dry_run: bool = False
    json: bool = False


def import_config(request: ImportRequest) -> int:
    """Shows or saves what a file describes; mistakes in it are told, all at once.

    Returns:
        The exit code.

    Raises:
        ConfigError: It cannot be read, or what is to be written is there already.
    """
    screen = Screen(as_json=request.json)
    found = read_foreign(request.file)
    if found.problems:
        screen.problems(found.problems)
        return USAGE
    if request.out is None:
        _show(found, screen)
        return DONE
    texts = places(found.files, request.out)
    save(texts, overwrite=request.overwrite, only_check=request.dry_run)
    _tell(request, found, texts, screen)
    return DONE


def _show(found: Import, screen: Screen) -> None:
    if screen.as_json:
        _document(found, [], screen)
        return
    blocks = [f"# {imported.file}\n{imported.text}" for imported in found.files]
    screen.yaml("".join(f"# {note}\n" for note in _of_no_file(found)) + f"{SEPARATOR}\n".join(blocks))


def _of_no_file(found: Import) -> list[str]:
    """Notes that no file has as a comment."""
    told = {comment for imported in found.files for comment in imported.comments}
    return [note for note in found.notes if note not in told]


def _tell(request: ImportRequest, found: Import, texts: Mapping[Path, str], screen: Screen) -> None:
    if screen.as_json:
        _document(found, [] if request.dry_run else [str(file) for file in texts], screen)
        return
    rows = [("file", str(file)) for file in texts] + [("not taken over", note) for note in found.notes]
    verb = "would be imported" if request.dry_run else "imported"
    screen.panel(f"{request.file}  {verb}", [*rows, ("next", _next(found.files, list(texts)))])
    if request.dry_run:
        screen.line(NOTHING_DONE)


def _next(made: Sequence[Imported], files: Sequence[Path]) -> str:
    """A command that uses the first of each group."""
    first = {imported.group: file.stem for imported, file in reversed([*zip(made, files, strict=True)])}
    words = [f"{group}={name}" for group, name in sorted(first.items())]
    where = shlex.quote(str(files[0].parent.parent))
    return f"autocast ae --dataset DIR --config-dir {where} {' '.join(words)} --dry-run"


def _document(found: Import, written: Sequence[str], screen: Screen) -> None:
    files = {str(imported.file): imported.content for imported in found.files}
    screen.document({"files": files, "notes": list(found.notes), "written": list(written), "not_checked": []})
