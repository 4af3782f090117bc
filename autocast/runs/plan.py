"""From words to plans: compose, check everything, and decide what becomes of the run directory. Nothing is written."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from autocast.runs.adoption import KEY
from autocast.runs.caches import MANIFEST, Digest, cache_place, processor_command, set_latents
from autocast.runs.decision import (
    REFUSE,
    Decision,
    Found,
    decide_again,
    decide_cache,
    decide_evaluation,
    decide_training,
    refuse_change,
)
from autocast.runs.directory import LATENTS, TRAIN, RunDirectory, read_config
from autocast.runs.job import CACHE_WORKFLOW, EVALUATION_WORKFLOW, TRAINING_WORKFLOWS
from autocast.runs.overrides import split_eval
from autocast.runs.parents import RESUMED_FROM, Parent, stage_signature
from autocast.runs.place import (
    Place,
    caching_place,
    evaluation_place,
    evaluation_stage,
    new_directory,
    training_place,
)
from autocast.runs.problems import Problem
from autocast.runs.request import LOCAL, SLURM, Request
from autocast.runs.slurm.commands import SchedulerError
from autocast.runs.watch.stages import Stage

if TYPE_CHECKING:
    from autocast.runs.compose import Composition

Compose = Callable[[Request], "Composition"]
Reopen = Callable[[Request, Path], "Composition"]
Preflight = Callable[[dict[str, Any], Request, Place, dict[str, Any] | None], tuple[list[Problem], list[str]]]
"""Checks of a resolved config, and of that of an evaluation which follows, against data and checkpoints: the problems,
and what could not be checked."""
CheckCluster = Callable[[Sequence[Mapping[str, Any]], Request], tuple[list[Problem], list[str], list[str]]]
"""Checks of what jobs ask for against the cluster: the problems, notes, and what could not be checked."""

NEEDS_SLURM = "is for --mode slurm; here stages run one after the other."
NOT_FOR_EVAL = "is for training. A second evaluation beside the first is eval.name=N; --overwrite replaces it."
HERE_AND_NOW = "looks at a model before its first step, here and now: give one of them."
MODEL = "model"
"""The role of what an evaluation scores."""
PLACES = {"eval": evaluation_place, "cache-latents": caching_place}
"""Where a command runs that does not train."""


@dataclass(frozen=True)
class Checked:
    """A resolved config and what was found about it."""

    config: dict[str, Any]
    eval_config: dict[str, Any] | None = None
    """What the evaluation of a `train-eval` will use."""
    choices: Mapping[str, str] = field(default_factory=dict)
    """The options that were chosen: `processor@model.processor` is `vit`."""
    problems: tuple[Problem, ...] = ()
    notes: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()
    """Checks that could not run, and why."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """For the record of the stage."""


@dataclass(frozen=True)
class Checker:
    """The ways in which a request is checked; tests put fakes here."""

    compose: Compose
    reopen: Reopen
    preflight: Preflight
    defaults: Callable[[str], DictConfig]
    """A root config without any override, by its name."""
    check_cluster: CheckCluster
    digest: Digest

    def check(self, request: Request, place: Place) -> Checked:
        """One composition, of a saved config where there is one, and everything that is wrong with it."""
        composition = self.compose(request) if place.saved is None else self.reopen(request, place.saved)
        asked_for, notes, skipped = self._cluster(request, composition)
        notes, skipped = [*composition.notes, *notes], [*composition.unchecked, *skipped]
        problems = [*composition.problems, *asked_for]
        if problems:
            return _refused(problems, notes, [*skipped, "the data: the config has problems"])
        config = _plain(composition.config)
        eval_config = None if composition.eval_config is None else _plain(composition.eval_config)
        missing, facts = ([], {}) if place.saved else set_latents(config, request, self.digest)
        if missing:
            return _refused(missing, notes, skipped)
        found, left = self.preflight(config, request, place, eval_config)
        unchecked = (*skipped, *left)
        return Checked(config, eval_config, composition.choices, tuple(found), tuple(notes), unchecked, facts)

    def _cluster(self, request: Request, composition: Composition) -> tuple[list[Problem], list[str], list[str]]:
        """What is wrong with the resources of each job, whatever else is wrong.

        Raises:
            SchedulerError: The cluster cannot be asked, and nothing else is wrong.
        """
        if request.mode != SLURM:
            return [], [], []
        if not composition.clusters:
            return [], [], ["the cluster: what is asked of it has problems"]
        try:
            return self.check_cluster(composition.clusters, request)
        except SchedulerError as error:
            if not composition.problems:
                raise
            return [Problem("--mode slurm", str(error))], [], []


def _refused(problems: Sequence[Problem], notes: Sequence[str], skipped: Sequence[str]) -> Checked:
    return Checked({}, problems=tuple(dict.fromkeys(problems)), notes=tuple(notes), skipped=tuple(skipped))


@dataclass(frozen=True)
class Plan:
    """One stage of one run, ready to be frozen unless there are problems."""

    request: Request
    place: Place
    workflow: str
    checked: Checked
    decision: Decision
    signature: str
    parents: tuple[Parent, ...]
    """What it stands on."""

    @property
    def kind(self) -> str:
        return self.place.kind

    @property
    def stage(self) -> str:
        return self.place.stage

    @property
    def config(self) -> dict[str, Any]:
        return self.checked.config

    @property
    def directory(self) -> RunDirectory:
        return self.decision.directory


@dataclass(frozen=True)
class Preparation:
    """All that is known before anything is written."""

    plans: tuple[Plan, ...]
    problems: tuple[Problem, ...] = ()
    notes: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()


def prepare(request: Request, checker: Checker) -> Preparation:
    """The plans of a command: one, or for `train-eval` two; none where there are problems.

    Raises:
        LaunchError: The run that is named is not there, or has nothing of the kind.
    """
    words, eval_words = split_eval(request.overrides)
    request = dataclasses.replace(request, overrides=words, eval_overrides=(*eval_words, *request.eval_overrides))
    flags = flag_problems(request)
    place = PLACES.get(request.command, training_place)(request)
    checked = checker.check(request, place)
    problems = (*flags, *checked.problems)
    plans = () if problems else tuple(_plans(request, place, checked))
    return Preparation(plans, problems, (*place.notes, *checked.notes), checked.skipped)


def _plans(request: Request, place: Place, checked: Checked) -> Iterator[Plan]:
    if request.command == "eval":
        assert place.checkpoint is not None
        parent = Parent.of(MODEL, place.checkpoint, awaited=request.mode == SLURM)
        yield _evaluation(request, place, checked, parent)
        return
    if request.command == "cache-latents":
        yield caching(request, place, checked)
        return
    training = _training(request, place, checked)
    yield training
    if request.command == "train-eval" and training.decision.action != REFUSE:
        yield _following_evaluation(request, training, checked)


def _following_evaluation(request: Request, training: Plan, checked: Checked) -> Plan:
    """The evaluation of a `train-eval`, of a model that is there already or still to be trained."""
    request = evaluation_request(request, training.directory)
    checked = dataclasses.replace(checked, config=checked.eval_config or checked.config)
    if not training.decision.starts:
        place = evaluation_place(request)
        assert place.checkpoint is not None
        return _evaluation(request, place, checked, Parent.of(MODEL, place.checkpoint))
    place = Place(training.kind, evaluation_stage(request), training.directory)
    model = training.directory.checkpoint_file(training.kind)
    return _evaluation(request, place, checked, Parent(MODEL, model, training.directory, training.kind, pending=True))


def evaluation_request(request: Request, directory: RunDirectory) -> Request:
    """The second half of `train-eval`: what was typed after `::eval::`, for the run that is trained."""
    return Request(
        command="eval",
        overrides=request.eval_overrides,
        workdir=directory.path,
        output_base=request.output_base,
        overwrite=request.overwrite,
        config_dir=request.config_dir,
        mode=request.mode,
        json=request.json,
    )


def flag_problems(request: Request) -> list[Problem]:
    """Flags that are not there yet, that contradict each other, or that a command has no use for."""
    only_there = {"--after": request.after, "--single-allocation": request.single_allocation}
    problems = [Problem(flag, NEEDS_SLURM) for flag, given in only_there.items() if given and request.mode == LOCAL]
    if request.mode not in (LOCAL, SLURM):
        problems.append(Problem(f"--mode {request.mode}", "no such mode. There are: local, slurm."))
    ways = {"--resume-from": request.resume_from, "--no-resume": request.no_resume, "--overwrite": request.overwrite}
    given = [flag for flag, value in ways.items() if value]
    if len(given) > 1:
        problems.append(Problem(" ".join(given), "contradict each other: give one of them."))
    if request.resume_from and request.init_from:
        problems.append(Problem("--resume-from --init-from", "a run that is continued has its own weights: give one."))
    elsewhere = {"--dry-run": request.dry_run, "--detach": request.detach, "--resume-from": request.resume_from}
    looks = {"--check": request.check, "--estimate": request.estimate}
    for look in (flag for flag, given in looks.items() if given):
        unfit = [flag for flag, given in ({**elsewhere, **looks}).items() if given and flag != look]
        problems += [Problem(f"{look} {flag}", f"{look} {HERE_AND_NOW}") for flag in unfit]
    if request.command == "eval":
        useless = {
            "--resume-from": request.resume_from,
            "--no-resume": request.no_resume,
            "--init-from": request.init_from,
        }
        problems += [Problem(flag, NOT_FOR_EVAL) for flag, given in useless.items() if given]
    return problems


def _training(request: Request, place: Place, checked: Checked) -> Plan:
    directory = place.directory or new_directory(request, place.kind, checked.config, checked.choices)
    parents = _training_parents(request, place, checked.config)
    signed = stage_signature(checked.config, TRAIN, [parent.record() for parent in parents])
    here = dataclasses.replace(request, resume_from=request.resume_from if place.in_place else None)
    file = place.saved or directory.config_file(place.kind)
    saved = read_config(file) if file.is_file() else {}
    decision = decide_training(here, directory, place.kind, signed, saved=saved, config=checked.config)
    if place.saved and not place.in_place:
        source = Found(RunDirectory(place.saved.parent), place.kind, TRAIN, by_path=True)
        decision = refuse_change(source, saved, checked.config) or decision
    if decision.starts and place.checkpoint:
        message = " ".join(text for text in (decision.message, f"continued from {place.checkpoint}") if text)
        decision = dataclasses.replace(decision, resume_from=place.checkpoint, message=message)
    return Plan(request, place, TRAINING_WORKFLOWS[place.kind], checked, decision, signed, parents)


def _evaluation(request: Request, place: Place, checked: Checked, parent: Parent) -> Plan:
    signed = stage_signature(checked.config, place.stage, [parent.record()])
    directory = place.directory or RunDirectory(Path())
    decision = decide_evaluation(request, directory, place.kind, place.stage, signed)
    return Plan(request, place, EVALUATION_WORKFLOW, checked, decision, signed, (parent,))


def caching(request: Request, place: Place, checked: Checked, *, awaited: bool = False) -> Plan:
    """A cache of latents.

    Args:
        awaited: Whether its autoencoder is being trained by the stage before.
    """
    config, (directory, stage) = checked.config, cache_place(checked.config)
    autoencoder = Parent.of(KEY, Path(config[KEY]), awaited=request.mode == SLURM)
    autoencoder = dataclasses.replace(autoencoder, pending=awaited or autoencoder.pending)
    signed = stage_signature(config, stage, [autoencoder.record()])
    decision = decide_cache(request, directory, stage, use=processor_command(config))
    place = dataclasses.replace(place, stage=stage, directory=directory)
    return Plan(request, place, CACHE_WORKFLOW, checked, decision, signed, (autoencoder,))


def evaluation_again(request: Request, stage: Stage, checked: Checked, parent: Parent) -> Plan:
    """An evaluation that was launched before and has not been finished, once more."""
    directory, kind, name = stage
    signed = stage_signature(checked.config, name, [parent.record()])
    place = Place(kind, name, directory, checkpoint=parent.file)
    decision = decide_again(request, directory, kind, name)
    return Plan(request, place, EVALUATION_WORKFLOW, checked, decision, signed, (parent,))


def _training_parents(request: Request, place: Place, config: Mapping[str, Any]) -> tuple[Parent, ...]:
    latents = config[LATENTS] if place.kind == "processor" else None
    named = {
        KEY: config[KEY] if place.kind in ("epd", "processor") else None,
        LATENTS: Path(latents) / MANIFEST if latents else None,
        "init_from": place.init_from,
        RESUMED_FROM: place.checkpoint,
    }
    awaited = request.mode == SLURM
    return tuple(Parent.of(role, Path(file), awaited=awaited) for role, file in named.items() if file)


def _plain(config: DictConfig) -> dict[str, Any]:
    plain: Any = OmegaConf.to_container(config, resolve=True)
    return plain
