"""`--check`: the sanity gate alone, on what a training would start with; no run directory comes of it."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from autocast.errors import AutocastError
from autocast.runs import ranks
from autocast.runs.console import Screen
from autocast.runs.environment import redact
from autocast.runs.execution import WORKFLOWS
from autocast.runs.exits import DONE, FAILED, tell
from autocast.runs.job import Job, Outcome
from autocast.runs.plan import Plan


class Unrecorded(Job):
    """A job that leaves nothing behind."""

    def emit_from_any_rank(self, event: str, /, **fields: Any) -> None:
        """Nothing happened."""

    def record(self, **facts: Any) -> None:
        """Nothing is kept."""

    def recorded(self, fact: str) -> Any:  # noqa: ARG002
        return None


def check(plan: Plan, screen: Screen) -> int:
    """Runs the gate on the model and the data of a training, and tells what it found.

    Returns:
        The exit code: 1 where a check failed, that of the error where there was nothing to check.
    """
    ranks.forget_allocation()
    job = Unrecorded(
        plan.workflow, plan.directory, plan.kind, plan.stage, plan.config, screen, init_from=plan.place.init_from
    )
    try:
        with screen.standard_output_kept():
            outcome: Outcome = importlib.import_module(WORKFLOWS).check(job)
    except AutocastError as error:
        if screen.as_json:
            problem = {"subject": plan.kind, "message": redact(str(error))}
            screen.document({"state": "refused", "problems": [problem], "not_checked": []})
        return tell(error)
    document: Mapping[str, Any] = {"kind": plan.kind, "state": "checked", **outcome.summary}
    if screen.as_json:
        screen.document(dict(document))
    else:
        screen.panel(f"checked  {plan.kind} of {plan.config['datamodule']['data_path']}", outcome.rows)
    return DONE if outcome.summary["passed"] else FAILED
