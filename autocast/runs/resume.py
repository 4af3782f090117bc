"""Continues what a run has not finished: its training from the last checkpoint, and what follows it."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from autocast.errors import ConfigError
from autocast.runs.console import Screen
from autocast.runs.directory import TRAIN, RunDirectory, find_run, is_cache
from autocast.runs.environment import allow_recorded_targets, read_environment
from autocast.runs.launch import carry_out, own_checker
from autocast.runs.overrides import split_eval
from autocast.runs.parents import Parent
from autocast.runs.place import Place, output_base
from autocast.runs.plan import MODEL, Checked, Checker, Plan, Preparation, caching, evaluation_again, prepare
from autocast.runs.request import LOCAL, SLURM, Request
from autocast.runs.watch.stages import Stage, stages_of
from autocast.runs.watch.status import statuses


def resume(name: str, request: Request, *, kind: str | None = None, mode: str | None = None) -> int:
    """Continues a run, where and how it was started unless `request` says otherwise.

    Args:
        name: A RUN.
        request: Its command is not looked at; `overrides` may hold some for the evaluation after `::eval::`.
        kind: Which one, where several are unfinished.
        mode: Where; None is where it was launched.

    Returns:
        The exit code.

    Raises:
        LaunchError: There is no such run.
        ConfigError: Several kinds are unfinished, or nothing can be continued.
    """
    read_environment()
    directory = RunDirectory(find_run(name, output_base(request)).path.absolute())
    stages = [stage for stage in stages_of(directory) if kind in (None, stage.kind)]
    if not stages:
        raise ConfigError(f"{directory.path}: nothing {f'of kind {kind} ' if kind else ''}was started here")
    unfinished = [stage for stage in stages if not stage.is_done]
    trainings = [stage for stage in stages if stage.stage == TRAIN]
    wanted = _of_one_kind(unfinished or trainings or stages, directory)
    record = directory.run_record(wanted[0].kind, wanted[0].stage)
    request = dataclasses.replace(request, mode=mode or record.get("mode", LOCAL))
    _go_where_it_was_launched(record)
    checker = own_checker()
    preparation = prepare_again(_idle(wanted, request), request, checker)
    return carry_out(request, preparation, checker, Screen(as_json=request.json))


def _go_where_it_was_launched(record: Mapping[str, Any]) -> None:
    """Paths in its config, and its `.env`, are found from there."""
    folder = record.get("directory")
    if folder and Path(folder).is_dir():
        os.chdir(folder)
        read_environment()


def _idle(stages: Sequence[Stage], request: Request) -> list[Stage]:
    """Of a chain that was sent half, what is to be sent still: it waits for the job that is there."""
    found = statuses(stages, settle=not request.dry_run)
    idle = [status.stage for status in found if status.never_starts or not status.is_active]
    return idle if idle and request.mode == SLURM else list(stages)


def prepare_again(stages: Sequence[Stage], request: Request, checker: Checker) -> Preparation:
    """The plans of stages that were launched before, from their frozen configs and what is changed about them now."""
    words, eval_words = split_eval(request.overrides)
    found: list[Preparation] = []
    trainings = [stage for stage in stages if stage.stage == TRAIN]
    for stage in trainings:
        again = dataclasses.replace(request, command=stage.kind, overrides=words, resume_from=str(stage.directory.path))
        found.append(prepare(again, checker))
    for stage in stages:
        if stage not in trainings:
            typed = (*eval_words, *(() if trainings else words))
            prepare_one = _cache_again if is_cache(stage.stage) else _evaluation_again
            found.append(prepare_one(stage, typed, request, checker, awaited=bool(trainings)))
    return Preparation(
        plans=tuple(plan for one in found for plan in one.plans),
        problems=tuple(dict.fromkeys(problem for one in found for problem in one.problems)),
        notes=tuple(dict.fromkeys(note for one in found for note in one.notes)),
        skipped=tuple(dict.fromkeys(check for one in found for check in one.skipped)),
    )


def _evaluation_again(
    stage: Stage, words: Sequence[str], request: Request, checker: Checker, *, awaited: bool
) -> Preparation:
    run, kind, name = stage
    again = _request_again("eval", stage, words, request)
    allow_recorded_targets(run.recorded_targets(kind))
    place = Place(kind, name, run, saved=run.config_file(kind, name))
    checked: Checked = checker.check(again, place)
    plans: tuple[Plan, ...] = ()
    if not checked.problems:
        known = Path(run.run_record(kind, name)["parents"][0]["file"])
        there = Parent.of(MODEL, known, awaited=request.mode == SLURM)
        model = Parent(MODEL, run.checkpoint_file(kind), run, kind, pending=True) if awaited else there
        plans = (evaluation_again(again, stage, checked, model),)
    return Preparation(plans, checked.problems, checked.notes, checked.skipped)


def _cache_again(
    stage: Stage, words: Sequence[str], request: Request, checker: Checker, *, awaited: bool
) -> Preparation:
    run, kind, name = stage
    again = _request_again("cache-latents", stage, words, request)
    place = Place(kind, name, run, saved=run.config_file(kind, name))
    checked: Checked = checker.check(again, place)
    plans = () if checked.problems else (caching(again, place, checked, awaited=awaited),)
    return Preparation(plans, checked.problems, checked.notes, checked.skipped)


def _request_again(command: str, stage: Stage, words: Sequence[str], request: Request) -> Request:
    return Request(
        command=command,
        overrides=tuple(words),
        workdir=stage.directory.path,
        output_base=request.output_base,
        mode=request.mode,
        cluster=request.cluster,
        detach=request.detach,
        dry_run=request.dry_run,
    )


def _of_one_kind(stages: Sequence[Stage], directory: RunDirectory) -> list[Stage]:
    kinds = list(dict.fromkeys(stage.kind for stage in stages))
    if len(kinds) > 1:
        raise ConfigError(f"{directory.path} holds several runs: give one of {', '.join(kinds)} with --kind")
    return list(stages)
