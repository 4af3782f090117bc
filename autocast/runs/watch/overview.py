"""What `autocast status` does: shows what stages are doing, once or again and again."""

from __future__ import annotations

import gc
import time
from collections.abc import Sequence
from pathlib import Path

from autocast.errors import ConfigError
from autocast.runs.console import Screen
from autocast.runs.directory import default_output_base
from autocast.runs.environment import read_environment
from autocast.runs.exits import DONE
from autocast.runs.watch import table
from autocast.runs.watch.stages import Stage, find_stages
from autocast.runs.watch.status import StageStatus, statuses
from autocast.runs.watch.verdicts import ABORTED, FAILED, INCOMPLETE, LOST, STUCK

RECENT = 2 * 24 * 3600.0
"""Stages that ended longer ago are left out unless they are asked for."""
PAUSE = 5.0
"""Seconds between two looks."""
TO_EXPLAIN = (FAILED, LOST, STUCK, INCOMPLETE, ABORTED)


def show(names: Sequence[str], *, watch: bool, all_of_them: bool, json: bool, output_base: Path | None) -> int:
    """Prints what the stages of the runs are doing; of all runs where none is named.

    Returns:
        The exit code.

    Raises:
        NoSuchRunError: A name means no run.
        ConfigError: `watch` with `json`.
    """
    if watch and json:
        raise ConfigError("--watch: shows what changes, which is no single document. Leave out --watch, or --json")
    read_environment()
    screen = Screen(as_json=json)
    base = output_base or default_output_base()
    stages = find_stages(names, base)
    everything = all_of_them or bool(names)
    if watch:
        return _watch(names, base, everything, screen)
    found, n_older = _look(stages, everything)
    if json:
        screen.document({"stages": [status.document for status in found], "n_older": n_older})
        return DONE
    _print(found, n_older, base, screen)
    return DONE


def _look(stages: Sequence[Stage], everything: bool) -> tuple[list[StageStatus], int]:
    """What is to be shown, and how many older ones there are."""
    chosen = stages if everything else [stage for stage in stages if not _long_done(stage)]
    found = statuses(chosen, settle=True)
    shown = [status for status in found if everything or _is_recent(status)]
    return shown, len(stages) - len(shown)


def _long_done(stage: Stage) -> bool:
    """Told from the time of its marker alone."""
    file = stage.directory.done_file(stage.kind, stage.stage)
    return file.is_file() and time.time() - file.stat().st_mtime > RECENT


def _is_recent(status: StageStatus) -> bool:
    return status.is_active or status.since is None or time.time() - status.since <= RECENT


def _print(found: Sequence[StageStatus], n_older: int, base: Path, screen: Screen) -> None:
    if found and screen.plain:
        screen.line("\n".join(table.lines(found)))
    elif found:
        screen.rich.print(table.table(found))
    for line in _remarks(found, n_older, base):
        screen.line(line)


def _remarks(found: Sequence[StageStatus], n_older: int, base: Path) -> list[str]:
    """What to do next, and what is not shown."""
    remarks = []
    if not found and not n_older:
        remarks.append(f"no runs in {base}. Start one: autocast demo")
    elif not found:
        remarks.append("nothing is open, and nothing ended in the last two days")
    explained = next((status for status in found if status.state in TO_EXPLAIN), None)
    if explained:
        remarks.append(f"next   autocast why {explained.stage.directory.quoted}")
    if n_older:
        remarks.append(f"{n_older} older {'stage' if n_older == 1 else 'stages'}: autocast status --all")
    return remarks


def _watch(names: Sequence[str], base: Path, everything: bool, screen: Screen) -> int:
    """Until nothing is open any more, or Ctrl-C."""
    gc.enable()  # the command line was read without it
    try:
        if screen.plain:
            _watch_lines(names, base, everything, screen)
        else:
            _watch_live(names, base, everything, screen)
    except KeyboardInterrupt:
        screen.line()
    return DONE


def _watch_lines(names: Sequence[str], base: Path, everything: bool, screen: Screen) -> None:
    """One line for each stage whose state changed."""
    seen: dict[Stage, tuple[str, str, str]] = {}
    while True:
        found, _ = _look(find_stages(names, base), everything)
        for status in found:
            told = (status.state, status.progress.text, status.why)
            if seen.get(status.stage) != told:
                seen[status.stage] = told
                parts = [part for part in told if part not in ("", "-")]
                screen.line(f"{time.strftime('%H:%M:%S')}  {status.stage.label}  {'  '.join(parts)}")
        if not _goes_on(found):
            return
        time.sleep(PAUSE)


def _watch_live(names: Sequence[str], base: Path, everything: bool, screen: Screen) -> None:
    """The table, in place."""
    from rich.console import Group
    from rich.live import Live
    from rich.text import Text

    with Live(console=screen.rich, auto_refresh=False) as live:
        while True:
            found, n_older = _look(find_stages(names, base), everything)
            note = f"{time.strftime('%H:%M:%S')}, every {PAUSE:.0f} s; Ctrl-C leaves, the jobs go on"
            lines = [*_remarks(found, n_older, base), *([note] if _goes_on(found) else [])]
            live.update(Group(table.table(found), Text("\n".join(lines), style="dim")), refresh=True)
            if not _goes_on(found):
                return
            time.sleep(PAUSE)


def _goes_on(found: Sequence[StageStatus]) -> bool:
    return any(status.is_active or status.state == "unknown" for status in found)
