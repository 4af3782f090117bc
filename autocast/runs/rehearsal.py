"""The scripts that a command would submit, without a scheduler."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from autocast.runs.chain import Link, chain
from autocast.runs.decision import CONTINUE, EXTEND
from autocast.runs.plan import Plan
from autocast.runs.request import Request
from autocast.runs.slurm.queue import Scheduler, SchedulerError
from autocast.runs.slurm.submit import script

UID, NONCE = "<uid>", "<nonce>"
"""Made when a job is really submitted."""


@dataclass(frozen=True)
class Script:
    """What would be given to sbatch; what is not known before stands in angle brackets."""

    name: str
    text: str
    dependency: str
    unchecked: tuple[str, ...] = ()


def rehearse(plans: Sequence[Plan], request: Request) -> list[Script]:
    """The script of every job of a command.

    Raises:
        UpstreamError: Something that a stage stands on is not going to be made.
    """
    starting = [plan for plan in plans if plan.decision.starts]
    if not starting:
        return []
    unchecked: tuple[str, ...] = ()
    try:
        links = chain(starting, request, Scheduler())
    except SchedulerError as error:
        links, unchecked = chain(starting, request, None), (f"what the jobs wait for: {error}",)
    first = f"<id of {links[0].name}>"
    return [_script(link, first, unchecked) for link in links]


def _uid(link: Link) -> str:
    """A stage that goes on keeps its uid."""
    goes_on = link.first.decision.action in (CONTINUE, EXTEND)
    return (link.uid if goes_on else None) or UID


def _script(link: Link, first: str, unchecked: tuple[str, ...]) -> Script:
    waits = (*link.waits_for, *((first,) if link.follows else ()))
    submission = link.submission(waits, NONCE, _uid(link))
    dependency = f"afterok:{':'.join(waits)}" if waits else ""
    return Script(submission.name, script(submission), dependency, unchecked)
