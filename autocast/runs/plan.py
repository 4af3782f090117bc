"""From words to plans: compose, check everything, and decide what becomes of the run directory. Nothing is written."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from autocast.runs.decision import REFUSE, Decision, Found, decide_evaluation, decide_training, refuse_change
from autocast.runs.directory import TRAIN, RunDirectory, run_of_file
from autocast.runs.identity import known_sha256, signature
from autocast.runs.job import EVALUATION_WORKFLOW, TRAINING_WORKFLOWS
from autocast.runs.overrides import split_eval
from autocast.runs.place import Place, evaluation_place, evaluation_stage, new_directory, read_config, training_place
from autocast.runs.problems import Problem
from autocast.runs.request import Request

if TYPE_CHECKING:
    from autocast.runs.compose import Composition

Compose = Callable[[Request], "Composition"]
Reopen = Callable[[Request, Path], "Composition"]
Preflight = Callable[[dict[str, Any], Request], tuple[list[Problem], list[str]]]
"""Checks of a resolved config against the data: the problems, and what could not be checked."""

NEEDS_CLUSTER = "needs the cluster part, which this version does not have. Leave it out to run here."
NOT_FOR_EVAL = "is for training. A second evaluation beside the first is eval.name=N; --overwrite replaces it."
NOT_YET = "not yet trained"


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


@dataclass(frozen=True)
class Checker:
    """The ways in which a request is checked; tests put fakes here."""

    compose: Compose
    reopen: Reopen
    preflight: Preflight
    defaults: Callable[[str], DictConfig]
    """A root config without any override, by its name."""

    def check(self, request: Request, saved: Path | None) -> Checked:
        """One composition, of a saved config where there is one, and everything that is wrong with it."""
        composition = self.compose(request) if saved is None else self.reopen(request, saved)
        notes, skipped = tuple(composition.notes), tuple(composition.unchecked)
        problems = tuple(composition.problems)
        if problems:
            return Checked({}, problems=problems, notes=notes, skipped=(*skipped, "the data: the config has problems"))
        config = _plain(composition.config)
        eval_config = None if composition.eval_config is None else _plain(composition.eval_config)
        found, left = self.preflight(config, request)
        return Checked(config, eval_config, composition.choices, tuple(found), notes, (*skipped, *left))


@dataclass(frozen=True)
class Plan:
    """One stage of one run, ready to be frozen unless there are problems."""

    request: Request
    place: Place
    workflow: str
    checked: Checked
    decision: Decision
    signature: str
    parents: dict[str, Path]
    """The files that it stands on, by role."""

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
    place = evaluation_place(request) if request.command == "eval" else training_place(request)
    checked = checker.check(request, place.saved)
    problems = (*flags, *checked.problems)
    plans = () if problems else tuple(_plans(request, place, checked))
    return Preparation(plans, problems, (*place.notes, *checked.notes), checked.skipped)


def _plans(request: Request, place: Place, checked: Checked) -> Iterator[Plan]:
    if request.command == "eval":
        yield _evaluation(request, place, checked)
        return
    training = _training(request, place, checked)
    yield training
    if request.command == "train-eval" and training.decision.action != REFUSE:
        second = evaluation_request(request, training.directory)
        there = not training.decision.starts
        pending = Place(training.kind, evaluation_stage(second), training.directory)
        again = evaluation_place(second) if there else pending
        yield _evaluation(second, again, dataclasses.replace(checked, config=checked.eval_config or checked.config))


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
    problems = [Problem(flag, NEEDS_CLUSTER) for flag, given in _cluster_flags(request).items() if given]
    if request.mode not in ("local", "slurm"):
        problems.append(Problem(f"--mode {request.mode}", "no such mode. There are: local, slurm."))
    ways = {"--resume-from": request.resume_from, "--no-resume": request.no_resume, "--overwrite": request.overwrite}
    given = [flag for flag, value in ways.items() if value]
    if len(given) > 1:
        problems.append(Problem(" ".join(given), "contradict each other: give one of them."))
    if request.resume_from and request.init_from:
        problems.append(Problem("--resume-from --init-from", "a run that is continued has its own weights: give one."))
    if request.command == "eval":
        useless = {
            "--resume-from": request.resume_from,
            "--no-resume": request.no_resume,
            "--init-from": request.init_from,
        }
        problems += [Problem(flag, NOT_FOR_EVAL) for flag, given in useless.items() if given]
    return problems


def _cluster_flags(request: Request) -> dict[str, Any]:
    return {"--mode slurm": request.mode == "slurm", "--cluster": request.cluster, "--detach": request.detach}


def _training(request: Request, place: Place, checked: Checked) -> Plan:
    directory = place.directory or new_directory(request, place.kind, checked.config, checked.choices)
    parents = _training_parents(place, checked.config)
    signed = _signature(checked.config, place, parents)
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


def _evaluation(request: Request, place: Place, checked: Checked) -> Plan:
    parents = {"model": place.checkpoint} if place.checkpoint else {}
    signed = _signature(checked.config, place, parents)
    directory = place.directory or RunDirectory(Path())
    decision = decide_evaluation(request, directory, place.kind, place.stage, signed)
    return Plan(request, place, EVALUATION_WORKFLOW, checked, decision, signed, parents)


def with_trained_model(plan: Plan) -> Plan:
    """The evaluation of a `train-eval`, once the model that it was planned for is there."""
    checkpoint = plan.directory.checkpoint_file(plan.kind)
    if plan.stage == TRAIN or plan.parents or not checkpoint.is_file():
        return plan
    parents = {"model": checkpoint}
    return dataclasses.replace(plan, parents=parents, signature=_signature(plan.config, plan.place, parents))


def _training_parents(place: Place, config: Mapping[str, Any]) -> dict[str, Path]:
    named = {
        "autoencoder_checkpoint": config["autoencoder_checkpoint"] if place.kind == "epd" else None,
        "init_from": place.init_from,
        "resume_from": place.checkpoint,
    }
    return {role: Path(file) for role, file in named.items() if file}


def _signature(config: Mapping[str, Any], place: Place, parents: Mapping[str, Path]) -> str:
    """Files enter by their content, so that a renamed run is the same parent; a model still to be trained by a word."""
    digests = {role: parent_sha256(file) for role, file in parents.items() if role != "resume_from"}
    if place.stage != TRAIN and not parents:
        digests["model"] = NOT_YET
    data = str(Path(config["datamodule"]["data_path"]).expanduser().absolute())
    return signature(config, place.stage, {"datamodule.data_path": data, **digests})


def parent_sha256(file: Path) -> str:
    """The digest of a file that another run made, from that run's marker where it still holds."""
    run = run_of_file(file)
    markers = [run.done_record(kind, TRAIN) for kind in run.kinds()] if run else []
    products = [marker["products"] for marker in markers if marker]
    name = file.resolve().relative_to(run.path.resolve()).as_posix() if run else ""
    known = next((listed[name] for listed in products if name in listed), None)
    return known_sha256(file, known)


def _plain(config: DictConfig) -> dict[str, Any]:
    plain: Any = OmegaConf.to_container(config, resolve=True)
    return plain
