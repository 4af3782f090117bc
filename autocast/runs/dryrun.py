"""What a dry run shows: where, with which words, how the config differs from the defaults, and what was checked."""

from __future__ import annotations

import shlex
from typing import Any

import yaml
from omegaconf import OmegaConf

from autocast.runs.console import Screen
from autocast.runs.directory import KINDS
from autocast.runs.identity import differences
from autocast.runs.plan import Checker, Plan, Preparation
from autocast.runs.provenance import command_line
from autocast.runs.request import Request


def show(request: Request, preparation: Preparation, checker: Checker, screen: Screen) -> int:
    """Prints what would run.

    Returns:
        The exit code: that of the first stage which would not start, else 0.
    """
    defaults = {} if request.verbose else _defaults(preparation.plans[0], checker)
    documents = [_document(plan, preparation, defaults) for plan in preparation.plans]
    if request.json:
        screen.document(documents[0] if len(documents) == 1 else {"stages": documents})
    else:
        for plan, document in zip(preparation.plans, documents, strict=True):
            _print(plan, document, screen, whole=request.verbose)
        screen.line("nothing was written, nothing was started")
    return next((plan.decision.exit_code for plan in preparation.plans if plan.decision.exit_code), 0)


def _document(plan: Plan, preparation: Preparation, defaults: dict[str, Any]) -> dict[str, Any]:
    return {
        "run": str(plan.directory.path),
        "kind": plan.kind,
        "stage": plan.stage,
        "action": plan.decision.action,
        "message": plan.decision.message,
        "argv": command_line(),
        "job": [plan.workflow, str(plan.directory.path), plan.stage],
        "config": plan.config,
        "changes": {key: new for key, (_, new) in differences(defaults, plan.config).items()},
        "problems": [],
        "not_checked": list(preparation.skipped),
    }


def _defaults(plan: Plan, checker: Checker) -> dict[str, Any]:
    defaults: Any = OmegaConf.to_container(checker.defaults(KINDS[plan.kind]), resolve=True)
    return defaults


def _print(plan: Plan, document: dict[str, Any], screen: Screen, *, whole: bool) -> None:
    rows = [
        ("command", shlex.join(document["argv"])),
        ("job", " ".join(document["job"])),
        ("preflight", "no problems"),
        *(("not checked", check) for check in document["not_checked"]),
    ]
    screen.panel(f"{plan.kind} {plan.stage}  {plan.directory.path}  would {_verb(plan)}", rows)
    if plan.decision.message:
        screen.note(plan.decision.message)
    if whole:
        screen.yaml(yaml.safe_dump(plan.config, sort_keys=False, allow_unicode=True))
        return
    screen.line(
        "config, where it differs from the defaults (all of it with -v):"
        if document["changes"]
        else "config: the defaults"
    )
    screen.yaml("\n".join(f"{key}: {_inline(value)}" for key, value in document["changes"].items()))


def _verb(plan: Plan) -> str:
    return {"nothing": "not start", "refuse": "be refused"}.get(plan.decision.action, plan.decision.action)


def _inline(value: Any) -> str:
    return (
        yaml.safe_dump(value, default_flow_style=True, width=10_000, allow_unicode=True).removesuffix("\n...\n").strip()
    )
