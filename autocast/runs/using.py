"""Commands that make no run: simulate, inspect, forecast, benchmark, compare, report, and showing a config."""

from __future__ import annotations

import difflib
import gc
import importlib
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf

from autocast.errors import ConfigError, DataError, LaunchError
from autocast.runs.changes import changes
from autocast.runs.comparing import read_compare
from autocast.runs.compose import compose, compose_defaults
from autocast.runs.console import Screen
from autocast.runs.directory import EVAL, KINDS, RunDirectory, UpstreamError, default_output_base, find_run, read_config
from autocast.runs.environment import datasets_dir, read_environment
from autocast.runs.execution import WORKFLOWS
from autocast.runs.exits import DONE, USAGE
from autocast.runs.job import Outcome
from autocast.runs.place import evaluation_place, saved_config
from autocast.runs.problems import Problem
from autocast.runs.provenance import command_line
from autocast.runs.reopen import reopen
from autocast.runs.reporting import read_report
from autocast.runs.request import Request
from autocast.runs.sampling import read_sample

NOTHING_DONE = "nothing was written, nothing was started"
NOT_THERE = ("datamodule.data_path", "--autoencoder")
"""Subjects whose problem is that there are no data, or no autoencoder: that does not matter to a config that is only
shown."""
DEVICES = ("auto", "cpu", "cuda")
SWITCHES: dict[str, bool | str] = {"auto": "auto", "true": True, "false": False}
SIZE = re.compile(r"\[?(?P<height>[1-9][0-9]*)(, *(?P<width>[1-9][0-9]*))?\]?")
CONFIGS = ("ae", "cache-latents", "processor", "epd", "train-eval", "eval", "simulate")
"""Commands that have a config."""


@dataclass(frozen=True)
class InspectRequest:
    """What is looked at, and how."""

    dataset: Path
    size: tuple[int, int] | None = None
    """Height and width that pictures are resized to."""
    column: str | None = None
    """Of lists of pictures, the one that is read."""
    video: Path | None = None

    @property
    def words(self) -> str:
        """What makes a run read the pictures so."""
        size = [] if self.size is None else [f"datamodule.size=[{self.size[0]},{self.size[1]}]"]
        return shlex.join([*size, *([f"datamodule.column={self.column}"] if self.column else [])])


@dataclass(frozen=True)
class ForecastRequest:
    """What a forecast is made from, and where it goes."""

    run: RunDirectory
    checkpoint: Path
    source: str
    """A data set or a file in The Well's layout."""
    out: Path
    n_steps: int | None
    """None: as far as the source goes."""
    n_members: int
    split: str
    seed: int
    batch_size: int
    """Trajectories at once."""


@dataclass(frozen=True)
class BenchmarkRequest:
    """What is measured, and where it goes."""

    run: RunDirectory
    kind: str
    checkpoint: Path
    config: dict[str, Any]
    """Of the run."""
    out: Path
    """A directory."""
    members: tuple[int, ...]
    batch_sizes: tuple[int, ...]
    n_steps: int | None
    """Of a rollout; None: as far as the test data go."""
    seconds: float
    device: str
    """One of `DEVICES`."""
    compile: bool | str
    simulator: bool
    """Whether to compare with it."""


def simulate(request: Request, screen: Screen | None = None) -> int:
    """Makes a data set.

    Returns:
        The exit code.
    """
    read_environment()
    screen = screen or Screen(as_json=request.json)
    composition = compose(request)
    if composition.problems:
        screen.problems(composition.problems)
        return USAGE
    config: Any = OmegaConf.to_container(composition.config, resolve=True)
    if request.dry_run:
        defaults: Any = OmegaConf.to_container(compose_defaults("simulate"), resolve=True)
        found = changes(defaults, config)
        details = {"config": config, "changes": found.values, "removed": list(found.removed)}
        unchecked = [*composition.unchecked, "that the simulator can be built: needs torch, done at the start"]
        return _dry(screen, f"simulate  {config['data_path']}", details, unchecked, found.rows)
    return _close(screen, f"done  {config['data_path']}", _call("simulate", screen, config))


def inspect(
    dataset: str, *, size: str | None = None, column: str | None = None, video: Path | None, json: bool, dry_run: bool
) -> int:
    """Shows what a data set is.

    Raises:
        ConfigError: `size` is no height and width.
        DataError: There is no such data set.
    """
    read_environment()
    screen = Screen(as_json=json)
    path = find_data(dataset)
    if path.is_file():
        raise DataError(
            f"{dataset}: a file. data inspect wants the directory of a data set, with data/ or train/ in it."
        )
    request = InspectRequest(path, None if size is None else _sides(size), column, video)
    if dry_run:
        unchecked = ["the data themselves: that is the command"]
        details = {"size": size or "", "column": column or "", "video": str(video or "")}
        return _dry(screen, f"inspect  {path}", details, unchecked)
    return _close(screen, str(path), _call("inspect", screen, request))


def _sides(typed: str) -> tuple[int, int]:
    """Height and width, of which one number says both."""
    found = SIZE.fullmatch(typed)
    if found is None:
        raise ConfigError(f"--size {typed}: give height and width in pixels, 256,128, or one number for both.")
    return int(found["height"]), int(found["width"] or found["height"])


def find_data(name: str) -> Path:
    """A path as it is, or a name in `$AUTOCAST_DATASETS`.

    Raises:
        DataError: Neither is there.
    """
    places = (Path(name).expanduser(), datasets_dir() / name)
    found = next((place for place in places if place.exists()), None)
    if found is None:
        there = sorted(path.name for path in datasets_dir().iterdir()) if datasets_dir().is_dir() else []
        near = difflib.get_close_matches(name, there, n=1)
        hint = f" Did you mean {near[0]}?" if near else ""
        raise DataError(f"{name}: neither a file nor a directory nor {places[1]}.{hint}")
    return found


def forecast(
    run: str, wanted: dict[str, Any], *, output_base: Path | None, overwrite: bool, json: bool, dry_run: bool
) -> int:
    """Uses a trained emulator.

    Raises:
        LaunchError: There is no such run, it has no emulator, or the file is there already.
        DataError: There are no such data.
    """
    read_environment()
    screen = Screen(as_json=json)
    found = find_run(run, output_base or default_output_base())
    kind = found.kind_to_evaluate()
    if kind is None or kind == "ae":
        raise UpstreamError(f"{found.path} has no emulator that was trained; it has {', '.join(found.kinds())}")
    source, batch_size = str(find_data(wanted["source"])), wanted["batch_size"] or _batch_size(found, kind)
    checkpoint = Path(run) if Path(run).is_file() else found.checkpoint_file(kind)
    request = ForecastRequest(
        run=found, checkpoint=checkpoint, **{**wanted, "source": source, "batch_size": batch_size}
    )
    if request.out.exists() and not overwrite:
        raise LaunchError(f"--out {request.out}: is there already. Give another name, or --overwrite")
    title = f"{request.run.path} -> {request.out}"
    if dry_run:
        names = ("source", "n_steps", "n_members", "batch_size")
        details = {name: getattr(request, name) for name in names}
        unchecked = ["that the run and these data fit each other: needs torch, done at the start"]
        return _dry(screen, f"forecast  {title}", details, unchecked)
    return _close(screen, f"done  {title}", _call("forecast", screen, request))


def compare(
    runs: Sequence[str],
    wishes: dict[str, Any],
    *,
    against: str | None,
    output_base: Path | None,
    json: bool,
    **places: Any,
) -> int:
    """Shows evaluated runs side by side.

    Args:
        runs: Names of runs, or paths of evaluations.
        wishes: What is compared: fields of `autocast.evaluation.comparable.Wishes`.
        against: The run that differences are taken to; None: the best.
        output_base: Where runs lie.
        json: Whether one document is printed.
        places: `out`, `html`, `overwrite` and `dry_run`.

    Raises:
        ConfigError: They should not be compared, or there is nothing to compare; all that speaks against it.
        NoSuchRunError: Runs are not there.
    """
    if wishes["kind"] not in (None, "member", "mean"):
        raise ConfigError(f"--kind {wishes['kind']}: there are member and mean")
    read_environment()
    screen = Screen(as_json=json)
    request = read_compare(runs, wishes, output_base or default_output_base(), against=against, **places)
    outcome = _call("compare", screen, request)
    if request.dry_run:
        details = {"runs": ", ".join(contender.label for contender in request.contenders)}
        return _dry(screen, "compare", {**details, "writes": ", ".join(map(str, request.products))}, ())
    return _close(screen, outcome.summary["title"], outcome)


def benchmark(run: str, wanted: dict[str, Any], *, output_base: Path | None, json: bool, dry_run: bool) -> int:
    """Measures what a trained model costs.

    Args:
        run: Or a checkpoint in it.
        wanted: What was typed, by option.
        output_base: Where runs lie.
        json: Whether a document is told.
        dry_run: Whether to say only what would be measured.

    Raises:
        LaunchError: There is no such run, or nothing in it is trained.
    """
    read_environment()
    screen = Screen(as_json=json)
    problems = _benchmark_problems(wanted)
    try:
        found, kind, checkpoint = _trained(run, output_base or default_output_base())
    except LaunchError as error:
        if not problems:
            raise
        screen.problems([*problems, Problem(run, str(error))])
        return USAGE
    if problems:
        screen.problems(problems)
        return USAGE
    request = BenchmarkRequest(
        run=found,
        kind=kind,
        checkpoint=checkpoint,
        config=read_config(saved_config(found, kind)),
        out=wanted["out"] or found.eval_dir(EVAL),
        members=_numbers(wanted["members"]),
        batch_sizes=_numbers(wanted["batch_sizes"]),
        n_steps=wanted["steps"],
        seconds=wanted["seconds"],
        device=wanted["device"],
        compile=SWITCHES[wanted["compile"]],
        simulator=wanted["simulator"],
    )
    if dry_run:
        names = ("kind", "checkpoint", "members", "batch_sizes", "n_steps", "seconds", "device", "compile", "simulator")
        details = {name: getattr(request, name) for name in names} | {"data": request.config["datamodule"]["data_path"]}
        unchecked = ["that the model and its data can be read: needs torch, done at the start"]
        return _dry(screen, f"benchmark  {found.path} -> {request.out}", details, unchecked)
    return _close(screen, f"benchmark  {found.path}", _call("benchmark", screen, request))


def report(run: str, places: dict[str, Any], *, output_base: Path | None, json: bool, dry_run: bool) -> int:
    """Draws the report of an evaluation again.

    Args:
        run: Or the directory of an evaluation.
        places: `evaluation`, `out` and `megabytes`, as `read_report` has them.
        output_base: Where runs lie.
        json: Whether one document is printed.
        dry_run: Whether to say only what would be drawn.

    Raises:
        NoSuchRunError: There is no such run or evaluation.
        ConfigError: Nothing can be drawn of it.
    """
    read_environment()
    screen = Screen(as_json=json)
    request = read_report(run, output_base or default_output_base(), **places)
    if dry_run:
        details = {"from": request.directory, "writes": f"{request.page}, {request.figures}"}
        return _dry(screen, f"report  {request.page}", details, ["that the films are there: looked for at the start"])
    return _close(screen, f"report  {request.page}", _call("report", screen, request))


def sample(run: str | None, wishes: dict[str, Any], *, output_base: Path | None, json: bool, dry_run: bool) -> int:
    """Draws what an autoencoder has learnt.

    Args:
        run: None: the newest with an autoencoder.
        wishes: `samples`, `checkpoint`, `prior`, `seed`, `out` and `overwrite`, as `read_sample` has them.
        output_base: Where runs lie.
        json: Whether one document is printed.
        dry_run: Whether to say only what would be drawn.

    Raises:
        NoSuchRunError: There is no such run.
        ConfigError: There is no such checkpoint, or something is asked for that there is not.
    """
    read_environment()
    screen = Screen(as_json=json)
    request = read_sample(run, output_base or default_output_base(), **wishes)
    if dry_run:
        details = {"from": ", ".join(map(str, request.checkpoints.values())), "writes": f"{request.out}/vae_*.png"}
        return _dry(screen, f"sample  {request.run.path}", details, ["the validation frames: read at the start"])
    return _close(screen, f"sample  {request.run.path}", _call("sample", screen, request))


def _trained(name: str, output_base: Path) -> tuple[RunDirectory, str, Path]:
    """The run, the kind and the checkpoint that a RUN means."""
    found, file = find_run(name, output_base), Path(name).expanduser()
    kind = _kind_of_file(found, file) if file.is_file() else found.kind_to_evaluate()
    if kind is None:
        what = f"{file} is no checkpoint of it" if file.is_file() else "nothing in it has a checkpoint yet"
        raise UpstreamError(f"{found.path}: {what}; it has {', '.join(found.kinds())}")
    return found, kind, file if file.is_file() else found.checkpoint_file(kind)


def _kind_of_file(run: RunDirectory, file: Path) -> str | None:
    """The kind whose checkpoint a file is, from its place in the run directory."""
    first = file.resolve().relative_to(run.path.resolve()).parts[0]
    return next((kind for kind, name in KINDS.items() if first in (kind, f"{name}.ckpt")), None)


def _benchmark_problems(wanted: dict[str, Any]) -> list[Problem]:
    problems = [
        Problem(f"--{name.replace('_', '-')} {wanted[name]}", "whole numbers from 1, with commas between: 1,8")
        for name in ("members", "batch_sizes")
        if not _numbers(wanted[name])
    ]
    if wanted["steps"] is not None and wanted["steps"] < 1:
        problems.append(Problem(f"--steps {wanted['steps']}", "at least 1 is needed"))
    if not wanted["seconds"] > 0:
        problems.append(Problem(f"--seconds {wanted['seconds']:g}", "more than 0 is needed"))
    for name, choices in (("device", DEVICES), ("compile", tuple(SWITCHES))):
        if wanted[name] not in choices:
            problems.append(Problem(f"--{name} {wanted[name]}", f"no such choice. There are: {', '.join(choices)}"))
    if wanted["out"] is not None and wanted["out"].is_file():
        problems.append(Problem(f"--out {wanted['out']}", "a file is there; a directory is wanted"))
    return problems


def _numbers(text: str) -> tuple[int, ...]:
    """`1,8`; nothing where that is not what it says."""
    words = [word.strip() for word in text.split(",")]
    right = all(word.isascii() and word.isdigit() and int(word) > 0 for word in words)
    return tuple(sorted({int(word) for word in words})) if right else ()


def _batch_size(run: RunDirectory, kind: str) -> int:
    """The batch size that an emulator was trained with."""
    return read_config(saved_config(run, kind))["datamodule"]["batch_size"]


def show_config(request: Request) -> int:
    """Prints the resolved config of a command, problems or not.

    Returns:
        The exit code.
    """
    read_environment()
    screen = Screen(as_json=request.json)
    saved = evaluation_place(request).saved if request.command == "eval" and request.workdir else None
    composition = compose(request) if saved is None else reopen(request, saved)
    config: Any = OmegaConf.to_container(composition.eval_config or composition.config, resolve=True)
    if request.json:
        screen.document(config)
    else:
        screen.yaml(yaml.safe_dump(config, sort_keys=False, allow_unicode=True))
    problems = [problem for problem in composition.problems if problem.subject not in NOT_THERE]
    if problems:
        screen.problems(problems)
    return USAGE if problems else DONE


def config_request(words: tuple[str, ...], request: Request) -> Request:
    """`config show ae trainer.max_epochs=3`: the first word may be a command."""
    if words and words[0] in CONFIGS:
        return replace(request, command=words[0], overrides=words[1:])
    return replace(request, overrides=words)


def _call(workflow: str, screen: Screen, *arguments: Any, **keywords: Any) -> Outcome:
    gc.enable()  # the command line was read without it
    function = getattr(importlib.import_module(WORKFLOWS), workflow)
    with screen.standard_output_kept():
        return function(*arguments, console=screen, **keywords)


def _close(screen: Screen, title: str, outcome: Outcome) -> int:
    if screen.as_json:
        screen.document({**outcome.summary, "products": [str(file) for file in outcome.products]})
        return DONE
    following = [("next", outcome.next_command)] if outcome.next_command else []
    screen.panel(title, [*outcome.rows, *following])
    return DONE


def _dry(
    screen: Screen,
    title: str,
    details: dict[str, Any],
    unchecked: Sequence[str],
    rows: Sequence[tuple[str, str]] | None = None,
) -> int:
    """Shows what would be done; `rows` are what a reader sees of the details, by default all that has a value."""
    if screen.as_json:
        screen.document({"argv": command_line(), **details, "not_checked": list(unchecked)})
        return DONE
    if rows is None:
        rows = [(key, str(value)) for key, value in details.items() if value not in (None, "")]
    gaps = [("not checked", check) for check in unchecked]
    screen.panel(title, [("command", shlex.join(command_line())), *rows, *gaps])
    screen.line(NOTHING_DONE)
    return DONE
