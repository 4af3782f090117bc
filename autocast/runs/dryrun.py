"""What a dry run shows: where, with which words, how the config differs from the defaults, and what was checked."""

from __future__ import annotations

import shlex
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import yaml
from omegaconf import OmegaConf

from autocast.runs.changes import Changes, changes
from autocast.runs.compose import CACHE
from autocast.runs.console import Screen
from autocast.runs.directory import KINDS, is_cache
from autocast.runs.plan import Checker, Plan, Preparation
from autocast.runs.provenance import command_line
from autocast.runs.request import SLURM, Request

if TYPE_CHECKING:
    from autocast.runs.rehearsal import Script


def show(request: Request, preparation: Preparation, checker: Checker, screen: Screen) -> int:
    """Prints what would run.

    Returns:
        The exit code: that of the first stage which would not start, else 0.
    """
    defaults = {} if request.verbose else _defaults(preparation.plans[0], checker)
    differences = [changes(defaults, plan.config) for plan in preparation.plans]
    scripts = _rehearse(preparation, request) if request.mode == SLURM else []
    if request.json:
        documents = [
            _document(plan, preparation, found) for plan, found in zip(preparation.plans, differences, strict=True)
        ]
        jobs = {"jobs": [asdict(script) for script in scripts]} if scripts else {}
        screen.document({**documents[0], **jobs} if len(documents) == 1 else {"stages": documents, **jobs})
    else:
        for plan, found in zip(preparation.plans, differences, strict=True):
            _print_job(plan, preparation, screen)
            _print_config(plan.config, None if request.verbose else found, screen)
        for script in scripts:
            _print_script(script, screen)
        screen.line("nothing was written, nothing was started" + (", nothing was submitted" if scripts else ""))
    return next((plan.decision.exit_code for plan in preparation.plans if plan.decision.exit_code), 0)


def _document(plan: Plan, preparation: Preparation, found: Changes) -> dict[str, Any]:
    return {
        "run": str(plan.directory.path),
        "kind": plan.kind,
        "stage": plan.stage,
        "action": plan.decision.action,
        "message": plan.decision.message,
        "argv": command_line(),
        "job": _job(plan),
        "config": plan.config,
        "changes": found.values,
        "removed": list(found.removed),
        "problems": [],
        "not_checked": list(preparation.skipped),
    }


def _defaults(plan: Plan, checker: Checker) -> dict[str, Any]:
    root = CACHE if is_cache(plan.stage) else KINDS[plan.kind]
    defaults: Any = OmegaConf.to_container(checker.defaults(root), resolve=True)
    return defaults


def _job(plan: Plan) -> list[str]:
    """The three words that the job would be given."""
    return [plan.workflow, str(plan.directory.path), plan.stage]


def _print_job(plan: Plan, preparation: Preparation, screen: Screen) -> None:
    rows = [
        ("command", shlex.join(command_line())),
        ("job", " ".join(_job(plan))),
        ("preflight", "no problems"),
        *(("not checked", check) for check in preparation.skipped),
    ]
    screen.panel(f"{plan.kind} {plan.stage}  {plan.directory.path}  would {_verb(plan)}", rows)
    if plan.decision.message:
        screen.note(plan.decision.message)


def _print_config(config: dict[str, Any], found: Changes | None, screen: Screen) -> None:
    """A config where it differs from the defaults, or whole."""
    if found is None:
        screen.yaml(yaml.safe_dump(config, sort_keys=False, allow_unicode=True))
    elif not found.lines:
        screen.line("config: the defaults")
    else:
        screen.line("config, where it differs from the defaults (all of it with -v):")
        screen.yaml("\n".join(found.lines))


def _rehearse(preparation: Preparation, request: Request) -> list[Script]:
    from autocast.runs.rehearsal import rehearse

    return rehearse(preparation.plans, request)


def _print_script(script: Script, screen: Screen) -> None:
    """As `scontrol write batch_script` will show it, but for what stands in angle brackets."""
    rows = [("waits for", script.dependency or "nothing"), *(("not checked", check) for check in script.unchecked)]
    screen.panel(f"job  {script.name}", rows)
    screen.code(script.text, "bash")


def _verb(plan: Plan) -> str:
    return {"nothing": "not start", "refuse": "be refused"}.get(plan.decision.action, plan.decision.action)
