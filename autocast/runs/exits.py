"""The exit code that an error means."""

from __future__ import annotations

from autocast.errors import AutocastError
from autocast.runs.console import Screen
from autocast.runs.directory import NoSuchRunError, UpstreamError
from autocast.runs.environment import redact
from autocast.runs.slurm.commands import SchedulerError

DONE, FAILED, USAGE, SCHEDULER, NO_SUCH_RUN, ABORTED = 0, 1, 2, 3, 4, 5
RESUMES, UPSTREAM, INTERRUPTED = 75, 78, 130


def exit_code(error: AutocastError) -> int:
    """The code of an error that stopped a command before its job started."""
    if isinstance(error, NoSuchRunError):
        return NO_SUCH_RUN
    if isinstance(error, SchedulerError):
        return SCHEDULER
    return UPSTREAM if isinstance(error, UpstreamError) else USAGE


def tell(error: AutocastError) -> int:
    """Prints the message of an error.

    Returns:
        Its exit code.
    """
    Screen().error(redact(str(error)))
    return exit_code(error)
