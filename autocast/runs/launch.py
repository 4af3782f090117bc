"""From a request to its stages: check, decide, and run them here, in a child, or on a cluster."""

from __future__ import annotations

import functools
import gc
import importlib
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from autocast.errors import AutocastError
from autocast.runs import ranks
from autocast.runs.compose import compose, compose_defaults
from autocast.runs.console import Screen
from autocast.runs.decision import NOTHING, ways_on
from autocast.runs.dryrun import show
from autocast.runs.environment import read_environment
from autocast.runs.execution import WORKFLOWS, document, perform
from autocast.runs.exits import DONE, INTERRUPTED, USAGE, tell
from autocast.runs.freeze import freeze
from autocast.runs.job import AND
from autocast.runs.local import detach, needs_torchrun, run_with_torchrun
from autocast.runs.looks import look
from autocast.runs.plan import Checker, Plan, Preparation, prepare
from autocast.runs.problems import Problem
from autocast.runs.reopen import reopen
from autocast.runs.request import SLURM, Request
from autocast.runs.watch.status import Stage, statuses
from autocast.signals import StopRequest


def own_checker() -> Checker:
    """The ways in which requests are checked outside of tests."""
    workflows = importlib.import_module(WORKFLOWS)
    return Checker(compose, reopen, workflows.preflight, compose_defaults, _check_cluster, workflows.data_digest)


def _check_cluster(
    sections: Sequence[Mapping[str, Any]], request: Request
) -> tuple[list[Problem], list[str], list[str]]:
    from autocast.runs.cluster_checks import cluster_problems  # nothing here is for those who stay on their machine

    return cluster_problems(sections, request)


def run(request: Request, screen: Screen | None = None) -> int:
    """Does what a command asks for, with every check; a mistake is told, not raised.

    Returns:
        The exit code.
    """
    read_environment()
    screen = screen or Screen(as_json=request.json)
    try:
        return start(request, own_checker(), screen)
    except AutocastError as error:
        return tell(error)


def start(request: Request, checker: Checker, screen: Screen) -> int:
    """Does what a command asks for.

    Returns:
        The exit code.

    Raises:
        LaunchError: The run that is named is not there, or cannot be sent.
    """
    return carry_out(request, prepare(request, checker), checker, screen)


def carry_out(request: Request, preparation: Preparation, checker: Checker, screen: Screen) -> int:
    """Tells what was found and, where nothing speaks against it, runs the stages: here, in a child, on a cluster.

    Returns:
        The exit code.
    """
    for note in preparation.notes:
        screen.note(note)
    if preparation.problems:
        return _tell_problems(preparation, screen)
    if request.dry_run:
        return show(request, preparation, checker, screen)
    if request.check or request.estimate:
        return look(preparation.plans[0], screen, "check" if request.check else "estimate")
    gc.enable()  # the command line was read without it, and this may take days
    told = [_tell_decision(plan, screen) for plan in preparation.plans]
    standing = [document for document in told if document]
    code = next((plan.decision.exit_code for plan in preparation.plans if plan.decision.exit_code), DONE)
    starting = [plan for plan in preparation.plans if plan.decision.starts]
    if starting and code == DONE:
        _end_what_never_starts(starting, screen)
        code, started = _way(request)(starting, screen)
        standing += started
    if screen.as_json:
        screen.document(standing[0] if len(standing) == 1 else {"stages": standing})
    return code


def _end_what_never_starts(plans: Sequence[Plan], screen: Screen) -> None:
    """Jobs of earlier submissions of these stages, which wait for jobs that did not complete."""
    stages = [Stage(plan.directory, plan.kind, plan.stage) for plan in plans]
    doomed = [status for status in statuses(stages) if status.never_starts]
    if doomed:
        from autocast.runs.slurm.submit import cancel

        cancel([status.job_id for status in doomed if status.job_id])
    for status in doomed:
        screen.note(f"{status.stage.label}: job {status.job_id} waited {status.why}; it is cancelled, and sent anew")


def _way(request: Request) -> Callable[[Sequence[Plan], Screen], tuple[int, list[dict[str, Any]]]]:
    """How stages are run: here, in a child that goes on alone, or on a cluster."""
    if request.mode == SLURM:
        from autocast.runs.dispatch import send

        return functools.partial(send, request)
    ranks.forget_allocation()
    return run_detached if request.detach else run_here


def run_here(plans: Sequence[Plan], screen: Screen) -> tuple[int, list[dict[str, Any]]]:
    """Runs stages one after the other, until one does not end well.

    Returns:
        The exit code, and what there is to say of each in a document.
    """
    documents: list[dict[str, Any]] = []
    code, stop = DONE, StopRequest()
    for plan in plans:
        if stop.requested:  # the stage before was done anyway
            screen.error(f"interrupted. Go on with: autocast {plan.request.command} --workdir {plan.directory.quoted}")
            return INTERRUPTED, documents
        freeze(plan).drop()
        code = _run(plan, screen, stop)
        documents.append(document(plan.directory, plan.kind, plan.stage, code))
        if code != DONE:
            break
    return code, documents


def run_detached(plans: Sequence[Plan], screen: Screen) -> tuple[int, list[dict[str, Any]]]:
    """Starts stages in a child that outlives this shell."""
    for plan in plans:
        freeze(plan).drop()
    first, names = plans[0], AND.join(plan.stage for plan in plans)
    pid, log = detach(first.workflow, first.directory, first.kind, names)
    rows = [
        ("stages", ", ".join(f"{plan.kind} {plan.stage}" for plan in plans)),
        ("process", str(pid)),
        ("log", str(log)),
        *ways_on(first.directory),
    ]
    screen.panel(f"started  {first.directory.path}", rows)
    return DONE, [
        {"run": str(p.directory.path), "kind": p.kind, "stage": p.stage, "state": "detached", "pid": pid} for p in plans
    ]


def _tell_decision(plan: Plan, screen: Screen) -> dict[str, Any]:
    """Says what becomes of a plan, where that is not simply a start; and says it in a document where it is none."""
    decision = plan.decision
    if decision.starts:
        if decision.message:
            screen.note(decision.message)
        return {}
    tell = screen.error if decision.exit_code else screen.line
    tell(decision.message)
    state = "done" if decision.action == NOTHING else "refused"
    place = {"run": str(plan.directory.path), "kind": plan.kind, "stage": plan.stage}
    return {**place, "state": state, "message": decision.message}


def _run(plan: Plan, screen: Screen, stop: StopRequest) -> int:
    words = (plan.workflow, str(plan.directory.path), plan.stage)
    if needs_torchrun(*words):
        return run_with_torchrun(*words, stdout=sys.stderr if screen.as_json else None)
    return perform(plan.workflow, plan.directory, plan.stage, screen, stop)


def _tell_problems(preparation: Preparation, screen: Screen) -> int:
    screen.problems(preparation.problems)
    for left_out in preparation.skipped:
        screen.error(f"not checked: {left_out}")
    if screen.as_json:
        problems = [asdict(problem) for problem in preparation.problems]
        screen.document({"state": "refused", "problems": problems, "not_checked": list(preparation.skipped)})
    return USAGE
