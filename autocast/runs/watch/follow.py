"""Follows the jobs of a command until they end: their states, and what they print."""

from __future__ import annotations

import time
from collections.abc import Sequence

from autocast.runs.console import Screen
from autocast.runs.exits import ABORTED, DONE, FAILED, INTERRUPTED, RESUMES, SCHEDULER, UPSTREAM
from autocast.runs.watch.logs import Follower, Selection
from autocast.runs.watch.stages import Stage
from autocast.runs.watch.state import StageStatus
from autocast.runs.watch.status import UNKNOWN, statuses

PAUSE = 0.5
"""Seconds between two looks at the log."""
SHORTEST, LONGEST, GROWTH = 1.0, 15.0, 1.2
"""Seconds between two questions to the scheduler: soon at first, seldom later."""
PATIENCE = 10
"""So often in a row the scheduler may be unreachable."""
CODES = {"done": DONE, "stopped": RESUMES, "interrupted": INTERRUPTED, "aborted": ABORTED, "incomplete": UPSTREAM}
"""The exit code of a state in which a stage ends; any other one is a failure."""


def follow(stages: Sequence[Stage], screen: Screen) -> int:
    """Shows what stages do until the last one ends or one does not end well. Ctrl-C ends this, not the jobs.

    Returns:
        The exit code of the run.
    """
    run = stages[0].directory.quoted
    try:
        for stage in stages:
            code = _Watch(stage, screen).until_it_ends()
            if code != DONE:
                return code
    except KeyboardInterrupt:
        screen.error(
            "no longer followed; the jobs go on. "
            f"Follow: autocast status {run} --watch   Logs: autocast logs {run} -f   Stop: autocast cancel {run}"
        )
        return INTERRUPTED
    return DONE


class _Watch:
    """One stage: asks the scheduler less and less often, and the log all the time."""

    def __init__(self, stage: Stage, screen: Screen):
        self.stage = stage
        self.screen = screen
        self.log = Follower(stage, Selection())
        self._told = ""
        self._n_unknown = 0

    def until_it_ends(self) -> int:
        pause, asked = SHORTEST, 0.0
        while True:
            self._show_log()
            closed = self.stage.is_done
            if closed or time.monotonic() - asked >= pause:
                status = statuses([self.stage])[0]
                pause, asked = min(LONGEST, pause * GROWTH), time.monotonic()
                if self._tell(status):
                    pause = SHORTEST
                if self._is_over(status):
                    self._show_log(also_unfinished=True)
                    return self._end(status)
            time.sleep(PAUSE)

    def _show_log(self, *, also_unfinished: bool = False) -> None:
        for line in self.log.new_lines(also_unfinished=also_unfinished):
            self.screen.line(line)

    def _tell(self, status: StageStatus) -> bool:
        text = f"{status.stage.name}  {status.state}" + (f": {status.why}" if status.why else "")
        if text == self._told:
            return False
        self._told = text
        self.screen.line(text)
        return True

    def _is_over(self, status: StageStatus) -> bool:
        self._n_unknown = self._n_unknown + 1 if status.state == UNKNOWN else 0
        return not status.is_active and not 0 < self._n_unknown < PATIENCE

    def _end(self, status: StageStatus) -> int:
        if status.state == UNKNOWN:
            return SCHEDULER
        if status.state != "done":
            self.screen.error(f"what happened: autocast why {self.stage.directory.quoted}")
        return CODES.get(status.state, FAILED)
