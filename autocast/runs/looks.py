"""`--check` and `--estimate`: a look at what a training would start with; no run directory comes of it."""

from __future__ import annotations

import importlib
from typing import Any

from autocast.errors import AutocastError
from autocast.runs import ranks
from autocast.runs.console import Screen
from autocast.runs.environment import redact
from autocast.runs.execution import WORKFLOWS
from autocast.runs.exits import DONE, FAILED, tell
from autocast.runs.job import Job, Outcome
from autocast.runs.plan import Plan

STATES = {"check": "checked", "estimate": "estimated"}
"""By the workflow that looks."""


class Unrecorded(Job):
    """A job that leaves nothing behind."""

    def emit_from_any_rank(self, event: str, /, **fields: Any) -> None:
        """Nothing happened."""

    def record(self, **facts: Any) -> None:
        """Nothing is kept."""

    def recorded(self, fact: str) -> Any:  # noqa: ARG002
        return None


def look(plan: Plan, screen: Screen, workflow: str) -> int:
    """Looks at the model and the data of a training, and tells what it found.

    Args:
        workflow: One of `STATES`.

    Returns:
        The exit code: 1 where a check failed, that of the error where there was nothing to look at.
    """
    ranks.forget_allocation()
    job = Unrecorded(
        plan.workflow, plan.directory, plan.kind, plan.stage, plan.config, screen, init_from=plan.place.init_from
    )
    function = getattr(importlib.import_module(WORKFLOWS), workflow)
    try:
        with screen.standard_output_kept():
            outcome: Outcome = function(job)
    except AutocastError as error:
        if screen.as_json:
            problem = {"subject": plan.kind, "message": redact(str(error))}
            screen.document({"state": "refused", "problems": [problem], "not_checked": []})
        return tell(error)
    if screen.as_json:
        screen.document({"kind": plan.kind, "state": STATES[workflow], **outcome.summary})
    else:
        following = [("next", outcome.next_command)] if outcome.next_command else []
        title = f"{STATES[workflow]}  {plan.kind} of {plan.config['datamodule']['data_path']}"
        screen.panel(title, [*outcome.rows, *following])
    return DONE if outcome.summary.get("passed", True) else FAILED
