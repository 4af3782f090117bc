"""Writes what a stage is to its directory, so that whoever runs it needs three words and nothing else."""

from __future__ import annotations

import secrets
import shutil
from pathlib import Path
from typing import Any

import yaml

from autocast.runs.decision import CONTINUE, EXTEND, REPLACE
from autocast.runs.directory import TRAIN, RunDirectory
from autocast.runs.events import append_event
from autocast.runs.identity import new_uid, write_json, write_text
from autocast.runs.parents import stage_signature
from autocast.runs.plan import Plan
from autocast.runs.provenance import command_line, provenance

SOURCES = ("init_from", "resume_from")
"""Where a training's first weights came from: it stands until there is a checkpoint of its own."""


class Aside:
    """The files of a stage as they were, kept until what takes their place is really under way."""

    def __init__(self, run: RunDirectory):
        self.run = run
        self.folder = run.path / ".autocast" / f"aside-{secrets.token_hex(4)}"
        self._places: list[Path] = []

    def move(self, path: Path) -> None:
        if path.exists():
            path.rename(self._next(path))

    def copy(self, path: Path) -> None:
        if path.exists():
            shutil.copy2(path, self._next(path))

    def restore(self) -> None:
        """Everything is as it was; a marker that was moved first comes last."""
        for n, path in reversed([*enumerate(self._places)]):
            _delete(path)
            path.parent.mkdir(parents=True, exist_ok=True)
            (self.folder / str(n)).rename(path)
        self.drop()

    def drop(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def _next(self, path: Path) -> Path:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._places.append(path)
        return self.folder / str(len(self._places) - 1)


def freeze(plan: Plan, origin: dict[str, Any] | None = None) -> Aside:
    """Writes the config and the identity of a stage: all that the job needs lies in its directory then.

    Args:
        plan: What to write.
        origin: Its provenance, where several stages share one.

    Returns:
        What was there before, to be dropped once the stage is under way, or restored.
    """
    directory, kind, stage = plan.directory, plan.kind, plan.stage
    aside = _set_aside(plan)
    record = _record(plan, origin or provenance())
    write_text(directory.config_file(kind, stage), yaml.safe_dump(plan.config, sort_keys=False, allow_unicode=True))
    write_json(directory.run_file(kind, stage), record)
    events = directory.events_file(kind, stage)
    append_event(events, "launched", action=plan.decision.action, uid=record["uid"], argv=command_line())
    return aside


def _set_aside(plan: Plan) -> Aside:
    """A marker goes first, so that a kill in between leaves nothing that looks done."""
    directory, kind, stage = plan.directory, plan.kind, plan.stage
    aside = Aside(directory)
    if plan.decision.action in (REPLACE, EXTEND):
        aside.move(directory.done_file(kind, stage))
    if plan.decision.action == REPLACE:
        for path in directory.files_of(kind, stage):
            aside.move(path)
    else:
        aside.copy(directory.config_file(kind, stage))
        aside.copy(directory.run_file(kind, stage))
    return aside


def _record(plan: Plan, origin: dict[str, Any]) -> dict[str, Any]:
    """The contents of `run.json`; a run that is continued keeps what is known of its first launch."""
    parents = [parent.record() for parent in plan.parents]
    of_eval = {"eval.seed": plan.config["eval"]["seed"]} if "eval" in plan.config else {}
    told: dict[str, Any] = {
        "seeds": {"seed": plan.config["seed"], **of_eval},
        "resume_from": _text(plan.decision.resume_from),
        "init_from": _text(plan.place.init_from),
        "after": [],
        "mode": plan.request.mode,
    }
    if plan.decision.action in (CONTINUE, EXTEND) and plan.directory.run_file(plan.kind, plan.stage).is_file():
        return _continued(plan, {**told, "parents": parents}, origin)
    return {
        "uid": new_uid(),
        "workflow": plan.workflow,
        "kind": plan.kind,
        "stage": plan.stage,
        "signature": stage_signature(plan.config, plan.stage, parents),
        **told,
        "data": {"path": plan.config["datamodule"]["data_path"]},
        "parents": parents,
        **plan.checked.facts,
        **origin,
        "continued": [],
    }


def _continued(plan: Plan, told: dict[str, Any], origin: dict[str, Any]) -> dict[str, Any]:
    """The record of a stage that goes on. One without a checkpoint of its own starts again from what it had."""
    known = plan.directory.run_record(plan.kind, plan.stage)
    kept = {key: told[key] or known[key] for key in SOURCES}
    roles = {parent["role"] for parent in told["parents"]}
    parents = [*told["parents"], *(parent for parent in known["parents"] if parent["role"] not in roles)]
    if plan.stage == TRAIN and plan.directory.last_checkpoint(plan.kind):
        parents = known["parents"]
    signed = stage_signature(plan.config, plan.stage, parents)
    again = {**told, **kept, "parents": parents, "signature": signed}
    return {**known, **again, "continued": [*known["continued"], origin]}


def _text(path: Path | None) -> str | None:
    return str(path.absolute()) if path else None


def _delete(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
