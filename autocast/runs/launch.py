"""From a request to its stages: check, decide, freeze, and run them one after the other."""

from __future__ import annotations

import importlib
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml

from autocast.errors import AutocastError
from autocast.runs.compose import compose, compose_defaults
from autocast.runs.console import Screen
from autocast.runs.decision import EXTEND, NOTHING, REPLACE
from autocast.runs.directory import KINDS, RunDirectory, run_of_file
from autocast.runs.dryrun import show
from autocast.runs.environment import read_dotenv
from autocast.runs.events import append_event
from autocast.runs.execution import WORKFLOWS, execute, perform
from autocast.runs.exits import DONE, USAGE, tell
from autocast.runs.identity import new_uid, write_json, write_text
from autocast.runs.plan import Checker, Plan, Preparation, parent_sha256, prepare, with_trained_model
from autocast.runs.provenance import command_line, provenance
from autocast.runs.reopen import reopen
from autocast.runs.request import Request

__all__ = ["execute", "freeze", "run", "start"]


def run(request: Request, screen: Screen | None = None) -> int:
    """Does what a command asks for, with every check; a mistake is told, not raised.

    Returns:
        The exit code.
    """
    read_dotenv()
    preflight = importlib.import_module(WORKFLOWS).preflight
    screen = screen or Screen(as_json=request.json)
    try:
        return start(request, Checker(compose, reopen, preflight, compose_defaults), screen)
    except AutocastError as error:
        return tell(error)


def start(request: Request, checker: Checker, screen: Screen) -> int:
    """Does what a command asks for, in this process.

    Returns:
        The exit code.

    Raises:
        LaunchError: The run that is named is not there.
    """
    preparation = prepare(request, checker)
    for note in preparation.notes:
        screen.note(note)
    if preparation.problems:
        return _tell_problems(preparation, screen)
    if request.dry_run:
        return show(request, preparation, checker, screen)
    stages: list[dict[str, Any]] = []
    code = DONE
    for plan in preparation.plans:
        code, stage = _run(with_trained_model(plan), screen)
        stages.append(stage)
        if code != DONE:
            break
    if request.json:
        screen.document(stages[0] if len(stages) == 1 else {"stages": stages})
    return code


def freeze(plan: Plan) -> None:
    """Writes the config and the identity of a stage: all that the job needs lies in its directory then."""
    directory, kind, stage = plan.directory, plan.kind, plan.stage
    if plan.decision.action == REPLACE:
        _remove(directory, kind, stage)
    if plan.decision.action == EXTEND:
        directory.done_file(kind, stage).unlink()
    record = _record(plan)
    write_text(directory.config_file(kind, stage), yaml.safe_dump(plan.config, sort_keys=False, allow_unicode=True))
    write_json(directory.run_file(kind, stage), record)
    events = directory.events_file(kind, stage)
    append_event(events, "launched", action=plan.decision.action, uid=record["uid"], argv=command_line())


def _run(plan: Plan, screen: Screen) -> tuple[int, dict[str, Any]]:
    decision = plan.decision
    if not decision.starts:
        tell = screen.error if decision.exit_code else screen.line
        tell(decision.message)
        known = {"run": str(plan.directory.path), "kind": plan.kind, "stage": plan.stage}
        state = "done" if decision.action == NOTHING else "refused"
        return decision.exit_code, {**known, "state": state, "message": decision.message}
    if decision.message:
        screen.note(decision.message)
    freeze(plan)
    return perform(plan.workflow, plan.directory, plan.stage, screen)


def _record(plan: Plan) -> dict[str, Any]:
    """The contents of `run.json`; a run that is continued keeps what is known of its first launch."""
    told = {
        "signature": plan.signature,
        "seeds": {"seed": plan.config["seed"], "eval.seed": plan.config["eval"]["seed"]},
        "resume_from": _text(plan.decision.resume_from),
        "init_from": _text(plan.place.init_from),
    }
    if plan.directory.run_file(plan.kind, plan.stage).is_file():
        known = plan.directory.run_record(plan.kind, plan.stage)
        return {**known, **told, "continued": [*known["continued"], provenance()]}
    return {
        "uid": new_uid(),
        "workflow": plan.workflow,
        "kind": plan.kind,
        "stage": plan.stage,
        **told,
        "data": {"path": plan.config["datamodule"]["data_path"]},
        "parents": [_parent(role, path) for role, path in plan.parents.items()],
        **provenance(),
        "continued": [],
    }


def _parent(role: str, file: Path) -> dict[str, Any]:
    run = run_of_file(file)
    uids = [run.run_record(kind, stage)["uid"] for kind in KINDS for stage in run.stages(kind)[:1]] if run else []
    return {
        "role": role,
        "file": str(file.absolute()),
        "run": _text(run.path if run else None),
        "uids": uids,
        "sha256": parent_sha256(file),
    }


def _text(path: Path | None) -> str | None:
    return str(path.absolute()) if path else None


def _remove(directory: RunDirectory, kind: str, stage: str) -> None:
    """The stage's own files, its marker first, so that a kill in between leaves nothing that looks done."""
    directory.done_file(kind, stage).unlink(missing_ok=True)
    for path in directory.files_of(kind, stage):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _tell_problems(preparation: Preparation, screen: Screen) -> int:
    screen.problems(preparation.problems)
    for check in preparation.skipped:
        screen.error(f"not checked: {check}")
    if screen.as_json:
        problems = [asdict(problem) for problem in preparation.problems]
        screen.document({"state": "refused", "problems": problems, "not_checked": list(preparation.skipped)})
    return USAGE
