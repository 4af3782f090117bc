"""Writes what a stage is to its directory, so that whoever runs it needs three words and nothing else."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import yaml

from autocast.runs.decision import EXTEND, REPLACE
from autocast.runs.directory import TRAIN, RunDirectory
from autocast.runs.events import append_event
from autocast.runs.identity import new_uid, write_json, write_text
from autocast.runs.parents import stage_signature
from autocast.runs.plan import Plan
from autocast.runs.provenance import command_line, provenance


def freeze(plan: Plan, origin: dict[str, Any] | None = None) -> None:
    """Writes the config and the identity of a stage: all that the job needs lies in its directory then.

    Args:
        plan: What to write.
        origin: Its provenance, where several stages share one.
    """
    directory, kind, stage = plan.directory, plan.kind, plan.stage
    if plan.decision.action == REPLACE:
        _remove(directory, kind, stage)
    if plan.decision.action == EXTEND:
        directory.done_file(kind, stage).unlink()
    record = _record(plan, origin or provenance())
    write_text(directory.config_file(kind, stage), yaml.safe_dump(plan.config, sort_keys=False, allow_unicode=True))
    write_json(directory.run_file(kind, stage), record)
    events = directory.events_file(kind, stage)
    append_event(events, "launched", action=plan.decision.action, uid=record["uid"], argv=command_line())


def _record(plan: Plan, origin: dict[str, Any]) -> dict[str, Any]:
    """The contents of `run.json`; a run that is continued keeps what is known of its first launch."""
    parents = [parent.record() for parent in plan.parents]
    told = {
        "signature": stage_signature(plan.config, plan.stage, parents),
        "seeds": {"seed": plan.config["seed"], "eval.seed": plan.config["eval"]["seed"]},
        "resume_from": _text(plan.decision.resume_from),
        "init_from": _text(plan.place.init_from),
        "mode": plan.request.mode,
    }
    if plan.directory.run_file(plan.kind, plan.stage).is_file():
        known = plan.directory.run_record(plan.kind, plan.stage)
        went_on = plan.stage == TRAIN and plan.directory.last_checkpoint(plan.kind)
        fresh = {} if went_on else {"parents": parents}
        return {**known, **told, **fresh, "continued": [*known["continued"], origin]}
    return {
        "uid": new_uid(),
        "workflow": plan.workflow,
        "kind": plan.kind,
        "stage": plan.stage,
        **told,
        "data": {"path": plan.config["datamodule"]["data_path"]},
        "parents": parents,
        **origin,
        "continued": [],
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
