"""Which evaluations a comparison is about, and what is known of their runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from autocast.runs.directory import EVAL, TRAIN, NoSuchRunError, RunDirectory, find_run, read_config, run_of_file
from autocast.runs.parents import stage_signature
from autocast.runs.problems import Problem
from autocast.runs.ranks import count_devices
from autocast.runs.request import SLURM

SCORES = "metrics.csv"
"""A file that every evaluation writes."""
FILES = ("comparison.csv", "comparison.json", "comparison.md", "comparison.tex", "curves.svg", "curves.png")
PAGE = "comparison.html"


@dataclass(frozen=True)
class Contender:
    """An evaluation of a run, and what is known of the run's training."""

    label: str
    directory: Path
    command: str
    """Evaluates the run."""
    config_key: str | None = None
    """The signature of its training but for the seed."""
    seed: int | None = None
    training_seconds: float | None = None
    gpu_hours: float | None = None


@dataclass(frozen=True)
class CompareRequest:
    """What is compared, and where it goes."""

    contenders: tuple[Contender, ...]
    against: str | None
    """Label of one of them."""
    wishes: Mapping[str, Any]
    """Fields of `autocast.evaluation.comparable.Wishes`."""
    out: Path | None = None
    html: bool = False
    dry_run: bool = False
    problems: tuple[Problem, ...] = ()
    """What is wrong already."""
    all_unknown: bool = False
    """Whether the problems are that runs are not there, and nothing else."""

    @property
    def products(self) -> list[Path]:
        """What will be written."""
        return _products(self.out, html=self.html)


@dataclass
class _Found:
    contenders: dict[Path, Contender] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)


def read_compare(
    names: Sequence[str],
    wishes: Mapping[str, Any],
    base: Path,
    *,
    against: str | None,
    out: Path | None,
    html: bool,
    overwrite: bool,
    dry_run: bool,
) -> CompareRequest:
    """Finds the evaluations of the runs that were named; what is wrong is kept with the request."""
    found = _Found()
    for name in names:
        _add(found, name, base, again=False)
    chosen = _add(found, against, base) if against else None
    unknown = len(found.problems)
    contenders, problems = tuple(found.contenders.values()), found.problems
    if len(contenders) < 2 and not unknown:
        problems.append(Problem("RUN", "at least two runs are compared"))
    products = _products(out, html=html)
    if html and out is None:
        problems.append(Problem("--html", f"needs --out DIR, where {PAGE} is written"))
    there = [file.name for file in products if file.exists()]
    if there and not overwrite:
        told = f"holds {', '.join(there)} already. Give another directory, or --overwrite"
        problems.append(Problem(f"--out {out}", told))
    elif out is not None and out.exists() and not out.is_dir():
        problems.append(Problem(f"--out {out}", "a file, where a directory is wanted"))
    only_unknown = bool(unknown) and unknown == len(problems)
    label = chosen.label if chosen else None
    return CompareRequest(contenders, label, wishes, out, html, dry_run, tuple(problems), all_unknown=only_unknown)


def _products(out: Path | None, *, html: bool) -> list[Path]:
    return [] if out is None else [out / name for name in (*FILES, *((PAGE,) if html else ()))]


def _add(found: _Found, name: str, base: Path, again: bool = True) -> Contender | None:
    try:
        run, stage = find_evaluation(name, base)
    except NoSuchRunError as error:
        found.problems.append(Problem(name, str(error)))
        return None
    directory = run.eval_dir(stage)
    known = found.contenders.get(directory.resolve())
    if known and not again:
        found.problems.append(Problem(name, f"{known.label} was named before"))
    if not known:
        found.contenders[directory.resolve()] = known = _contender(run, stage)
    return known


def find_evaluation(name: str, base: Path) -> tuple[RunDirectory, str]:
    """The run and the stage of an evaluation that a path, or the name of its run, means.

    Raises:
        NoSuchRunError: There is no such run, or it has several evaluations and none that is just called `eval`.
    """
    for place in (Path(name).expanduser(), base / name):
        if (place / SCORES).is_file() and (run := run_of_file(place / SCORES)):
            return run, place.name
    run = find_run(name, base)
    named = sorted(file.parent.name for file in run.path.glob(f"{EVAL}-*/{SCORES}"))
    if (run.eval_dir() / SCORES).is_file() or not named:
        return run, EVAL
    if len(named) == 1:
        return run, named[0]
    raise NoSuchRunError(f"has the evaluations {', '.join(named)}: give the path of one of them")


def _contender(run: RunDirectory, stage: str) -> Contender:
    label = run.label if stage == EVAL else f"{run.label}/{stage}"
    contender = Contender(label, run.eval_dir(stage), f"autocast eval --workdir {run.quoted}")
    kind = run.kind_of_stage(stage) or run.kind_to_evaluate()
    if kind is None or not run.run_file(kind, TRAIN).is_file() or not run.config_file(kind).is_file():
        return contender
    config, record = read_config(run.config_file(kind)), run.run_record(kind, TRAIN)
    done = run.done_record(kind, TRAIN)
    seconds = done["summary"].get("seconds") if done else None
    n_gpus = _n_gpus(config, record)
    return Contender(
        contender.label,
        contender.directory,
        contender.command,
        config_key=stage_signature(_without_seed(config), TRAIN, record["parents"]),
        seed=config["seed"],
        training_seconds=seconds,
        gpu_hours=seconds * n_gpus / 3600 if seconds is not None and n_gpus else None,
    )


def _without_seed(config: Any) -> Any:
    """Wherever it has been put in: data modules and loaders have it too."""
    if isinstance(config, Mapping):
        return {key: _without_seed(value) for key, value in config.items() if key != "seed"}
    return config


def _n_gpus(config: Mapping[str, Any], record: Mapping[str, Any]) -> int:
    """How many a training had, as far as its config and its record say; 0 where it had none."""
    trainer = config["trainer"]
    if trainer["accelerator"] == "cpu":
        return 0
    n_nodes = int(trainer["num_nodes"])
    if record["mode"] == SLURM:
        gpus = (config.get("cluster") or {}).get("gpus_per_node")
        return gpus * n_nodes if isinstance(gpus, int) else 0
    there = len(record["device"]["gpus"])
    return min(count_devices(trainer["devices"]) or there, there) * n_nodes
