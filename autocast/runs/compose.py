"""One composition per command: from what was typed to a checked config, or to all that is wrong with it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from autocast.runs.adoption import adopt_autoencoder
from autocast.runs.allocation import allocate_cache, allocate_evaluation, allocate_training, faults, narrow
from autocast.runs.checks import NO_SUCH_KEY, Checker
from autocast.runs.composer import Composer, Draft
from autocast.runs.datasets import Dataset, missing_data, new_dataset_path, resolve_dataset
from autocast.runs.environment import added_targets, datasets_dir, redact, without_secret_values
from autocast.runs.identity import is_under
from autocast.runs.overrides import Overrides, Typed, split_eval
from autocast.runs.perceptual import settle_perceptual
from autocast.runs.problems import Problem
from autocast.runs.profiles import chosen_profile, cluster_choices, fill_keys, fill_profile
from autocast.runs.request import SLURM, Request
from autocast.runs.rescue import take_over

EPD, AUTOENCODER, PROCESSOR = "encoder_processor_decoder", "autoencoder", "processor"
CACHE, SIMULATE = "cache_latents", "simulate"
ROOT_OF_COMMAND = {"ae": AUTOENCODER, "processor": PROCESSOR, "cache-latents": CACHE, "simulate": SIMULATE}
"""The root config of a command; of any other it is the emulator's."""
ALLOCATED = ("cluster", "trainer", "datamodule.n_workers")
"""Keys that the resources of a job are in."""
Clusters = tuple[dict[str, Any], ...]
Allocate = Callable[[DictConfig, Overrides, str], list[Problem]]


@dataclass(frozen=True)
class Composition:
    """A config, and everything that is known of it before anything runs."""

    config: DictConfig
    """Resolved: it holds no references."""
    problems: list[Problem]
    notes: list[str] = field(default_factory=list)
    """Worth saying, not wrong."""
    unchecked: list[str] = field(default_factory=list)
    """Checks that could not run, and why."""
    overrides: tuple[str, ...] = ()
    """As typed, before `::eval::`."""
    eval_overrides: tuple[str, ...] = ()
    """As typed, after `::eval::`."""
    eval_config: DictConfig | None = None
    """The config as the evaluation of a `train-eval` will see it; None for other commands."""
    choices: dict[str, str] = field(default_factory=dict)
    """The chosen option of each place: `datamodule`, `processor@model.processor`, ..."""
    workdir: Path | None = None
    """`--workdir`, else `hydra.run.dir`."""
    targets: tuple[str, ...] = ()
    """What `AUTOCAST_TARGETS` allowed."""
    clusters: Clusters = ()
    """What each job asks for in slurm mode, where it is well-formed enough to be compared with a cluster."""


@dataclass(frozen=True)
class Reading:
    """A request whose words have been read."""

    request: Request
    composer: Composer
    words: tuple[str, ...]
    eval_words: tuple[str, ...]
    typed: Overrides
    eval_typed: Overrides
    dataset: Dataset | None
    problems: list[Problem]
    profile: Typed | None = None
    """The cluster profile of `--cluster`, else the user's default where none is typed."""
    notes: list[str] = field(default_factory=list)

    @property
    def simulates(self) -> bool:
        return self.composer.root == SIMULATE

    @property
    def evaluates(self) -> bool:
        return self.request.command == "eval"

    @property
    def caches(self) -> bool:
        return self.composer.root == CACHE

    @property
    def allocate(self) -> Allocate:
        if self.caches:
            return allocate_cache
        return allocate_evaluation if self.evaluates else allocate_training


def compose(request: Request) -> Composition:
    """Composes and checks what `request` asks for; a mistake in it is a problem, never an exception.

    Raises:
        ConfigError: The user's own settings cannot be read.
    """
    reading = read_request(request, ROOT_OF_COMMAND.get(request.command, EPD))
    draft = reading.composer.draft([*_choices_of_flags(reading), *reading.typed.choices])
    set_data_path(reading, draft)
    if not reading.simulates:
        fill_cluster(reading, draft)
    reading.composer.apply(draft, reading.typed.values)
    draft.problems.extend(adopt_autoencoder(draft.config, request, reading.typed))
    problems, notes = take_over(draft.config, request, reading.typed)
    draft.problems.extend(problems)
    return finish(reading, draft, notes)


def compose_defaults(root: str) -> DictConfig:
    """A root config as it is without any override, references not resolved."""
    return Composer.of(root).draft([]).config


def read_request(request: Request, root: str) -> Reading:
    """Reads the words of a request; `root` is the config that they are about."""
    composer = Composer.of(root, request.config_dir)
    words, after_token = split_eval(request.overrides)
    eval_words = (*after_token, *request.eval_overrides)
    typed, eval_typed = composer.read(words), composer.read(eval_words)
    problems = [*composer.tree.check(), *typed.problems, *eval_typed.problems]
    if eval_words and request.command != "train-eval":
        problems.append(Problem("::eval::", "only train-eval has an evaluation of its own to override."))
    dataset = None
    if request.dataset and root != SIMULATE:
        resolved = resolve_dataset(request.dataset, composer.tree)
        problems += [resolved] if isinstance(resolved, Problem) else []
        dataset = resolved if isinstance(resolved, Dataset) else None
    profile, notes = (None, []) if root == SIMULATE else chosen_profile(request, typed, composer.tree)
    if request.cluster:
        problems += [
            Problem(choice.text, f"said twice: --cluster {request.cluster} is given too.")
            for choice in cluster_choices(typed)
        ]
    return Reading(request, composer, words, eval_words, typed, eval_typed, dataset, problems, profile, notes)


def fill_cluster(reading: Reading, draft: Draft) -> None:
    """The section of a profile that has just been chosen."""
    fill_profile(draft, reading.composer.tree)
    if reading.evaluates or reading.caches:
        narrow(draft.config)


def set_data_path(reading: Reading, draft: Draft) -> None:
    """What `--dataset` says of where the data are."""
    key = "data_path" if reading.simulates else "datamodule.data_path"
    path = (
        new_dataset_path(reading.request.dataset or "")
        if reading.simulates
        else reading.dataset and reading.dataset.path
    )
    if reading.request.dataset is None and reading.simulates:
        path = datasets_dir() / draft.choices["simulator"]
    if path is None:
        return
    twice = reading.typed.touching(key) if reading.request.dataset else []
    draft.problems.extend(Problem(o.text, "said twice: --dataset says where the data are.") for o in twice)
    OmegaConf.update(draft.config, key, str(path), force_add=True)


def finish(reading: Reading, draft: Draft, notes: Sequence[str] = ()) -> Composition:
    """Checks a draft, and the evaluation that follows it where there is one."""
    problems, unchecked = [*reading.problems, *draft.problems], []
    if not reading.simulates:
        fill_keys(draft.config)  # one may have been deleted
    checker = Checker(reading.composer.signatures)
    config = checker.check(draft.config, reading.composer.root)
    found, told = settle_perceptual(config) if checker.is_resolved and not reading.evaluates else ([], [])
    problems += _as_typed([*checker.problems, *_check_data(reading, config), *found], reading.typed)
    unchecked += checker.unchecked
    found, clusters = _allocate(config, checker, reading.typed, reading, reading.allocate)
    problems += found
    eval_config = None
    if reading.request.command == "train-eval":
        eval_config, found, more = _check_evaluation(reading, draft)
        problems += found
        clusters += () if reading.request.single_allocation else more
    workdir, found = _workdir(reading)
    return Composition(
        config=config,
        problems=_in_order(problems + found, reading),
        notes=[*reading.notes, *notes, *told],
        unchecked=unchecked,
        overrides=reading.words,
        eval_overrides=reading.eval_words,
        eval_config=eval_config,
        choices=draft.choices,
        workdir=workdir,
        targets=added_targets(),
        clusters=clusters,
    )


def _choices_of_flags(reading: Reading) -> list[Typed]:
    """Flags that stand for a choice: `--preset`, `--dataset`, `--cluster`."""
    request, flags = reading.request, [reading.profile] if reading.profile else []
    if request.preset:
        flags.append(Typed(f"--preset {request.preset}", "preset", request.preset, "preset"))
    group = "simulator" if reading.simulates else "datamodule"
    option = reading.dataset and reading.dataset.option
    if reading.simulates and request.dataset:
        option = Path(request.dataset).name
    if option and not any(choice.key == group for choice in reading.typed.choices):
        flags.append(Typed(f"--dataset {request.dataset}", group, option, group))
    return flags


def _check_data(reading: Reading, config: DictConfig) -> list[Problem]:
    """Whether the data are there."""
    said_twice = reading.request.dataset and reading.typed.touching("datamodule.data_path")
    if reading.simulates or said_twice or (reading.request.dataset and reading.dataset is None):
        return []
    path = OmegaConf.select(config, "datamodule.data_path", throw_on_missing=False)
    if not isinstance(path, str) or Path(path).expanduser().exists():
        return []
    subject = f"--dataset {reading.request.dataset}" if reading.request.dataset else "datamodule.data_path"
    return [Problem(subject, missing_data(Path(path), reading.composer.tree))]


def _allocate(
    config: DictConfig, checker: Checker, typed: Overrides, reading: Reading, allocate: Allocate
) -> tuple[list[Problem], Clusters]:
    """Puts what a job's trainer takes from its cluster section into a config that has been checked.

    Returns:
        What is wrong with the section, and the section where it is well-formed.
    """
    mode = reading.request.mode
    is_typed_right = not any(is_under(problem.subject, ALLOCATED) for problem in checker.problems)
    if reading.simulates or not checker.is_resolved or not is_typed_right:
        return [], ()
    if mode != SLURM:
        return allocate(config, typed, mode), ()
    found = list(faults(config["cluster"], typed))
    if found:
        return found, ()
    section: Any = OmegaConf.to_container(config["cluster"])
    return allocate(config, typed, mode), (section,)


def _check_evaluation(reading: Reading, draft: Draft) -> tuple[DictConfig, list[Problem], Clusters]:
    """The evaluation's config: the training's with the overrides after `::eval::`; and only its own problems.

    Its job is the training's narrowed to one process, unless they say otherwise.
    """
    typed = reading.eval_typed
    after = Draft(deepcopy(draft.config), dict(draft.choices), _of_one_job(reading))
    reading.composer.replace(after, typed.choices)
    if cluster_choices(typed):
        fill_profile(after, reading.composer.tree)
    narrow(after.config)
    reading.composer.apply(after, typed.values)
    fill_keys(after.config)
    checker = Checker(reading.composer.signatures)
    config = checker.check(after.config, reading.composer.root)
    found = _as_typed(checker.problems, typed)
    more, clusters = _allocate(config, checker, typed, reading, allocate_evaluation)
    own = [problem for problem in found + more if problem.subject in reading.eval_words]
    return config, after.problems + own, clusters


def _of_one_job(reading: Reading) -> list[Problem]:
    """Resources of an evaluation that is to share the training's job."""
    typed = reading.eval_typed.touching("cluster") if reading.request.single_allocation else []
    return [
        Problem(override.text, "--single-allocation runs both in the training's job. Give it before ::eval::.")
        for override in typed
    ]


def _in_order(problems: list[Problem], reading: Reading) -> list[Problem]:
    """Each once, without secrets: those of overrides as they were typed, then of flags, then of the config."""
    words = [*reading.words, *reading.eval_words]

    def position(problem: Problem) -> int:
        if problem.subject in words:
            return words.index(problem.subject)
        return len(words) + (0 if problem.subject.startswith("--") else 1)

    in_order = sorted(dict.fromkeys(problems), key=position)
    return [Problem(redact(problem.subject), without_secret_values(problem.message)) for problem in in_order]


def _workdir(reading: Reading) -> tuple[Path | None, list[Problem]]:
    flag, override = reading.request.workdir, reading.typed.workdir
    if flag and override and flag.absolute() != override.absolute():
        return flag, [Problem(f"hydra.run.dir={override}", f"said twice: --workdir {flag} is another directory.")]
    return flag or override, []


def _as_typed(problems: list[Problem], typed: Overrides) -> list[Problem]:
    """Problems of keys that were typed get what was typed as their subject."""
    return [_with_subject(problem, typed) for problem in problems]


def _with_subject(problem: Problem, typed: Overrides) -> Problem:
    for override in reversed(typed.values):
        if problem.subject == override.key:
            return Problem(override.text, problem.message)
        if problem.subject.startswith((f"{override.key}.", f"{override.key}[")):
            return Problem(override.text, f"{problem.subject}: {problem.message}")
    if problem.message.startswith(NO_SUCH_KEY):  # left over from what was constructed before
        return Problem(problem.subject, f"{problem.message} To leave it out: ~{problem.subject}")
    return problem
