"""The run directory: the only place that spells the names of its files."""

from __future__ import annotations

import difflib
import json
import os
import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from autocast.errors import LaunchError
from autocast.runs.events import Event, read_events

KINDS = {
    "ae": "autoencoder",
    "epd": "encoder_processor_decoder",
    "processor": "processor",
    "translate": "translator",
}
"""Short name of a kind (its folder) and long name (its config and its checkpoint)."""

BEST_FOR_EVALUATION = ("epd", "processor", "ae", "translate")
ABSENT, UNFINISHED, DONE = "absent", "unfinished", "done"
TRAIN, EVAL = "train", "eval"
LATENTS = "latents"
"""Folder of the caches that an autoencoder's run holds, and first part of the names of their stages."""
JOB_ID = re.compile(r"\d+(_\d+)?")


class NoSuchRunError(LaunchError):
    """A RUN that names no run directory, or more than one."""


class UpstreamError(LaunchError):
    """A stage that another one stands on has not made what it needs."""


@dataclass(frozen=True)
class RunDirectory:
    """A directory with at most one run of each kind."""

    path: Path

    @property
    def label(self) -> str:
        """`<date>/<run-name>`: the last two parts of the path."""
        return "/".join(self.path.absolute().parts[-2:])

    @property
    def quoted(self) -> str:
        """The path as a shell wants it, for commands that are printed."""
        return shlex.quote(str(self.path))

    def config_file(self, kind: str, stage: str = TRAIN) -> Path:
        return self.path / f"{KINDS[kind]}.yaml" if stage == TRAIN else self.stage_dir(stage) / "config.yaml"

    def checkpoint_file(self, kind: str) -> Path:
        return self.path / f"{KINDS[kind]}.ckpt"

    def kind_dir(self, kind: str) -> Path:
        return self.path / kind

    @property
    def latent_statistics_file(self) -> Path:
        """Of the autoencoder that was trained here."""
        return self.kind_dir("ae") / "latent_statistics.json"

    def checkpoints_dir(self, kind: str) -> Path:
        return self.kind_dir(kind) / "checkpoints"

    def last_checkpoint(self, kind: str) -> Path | None:
        """`last.ckpt`, or the one before it where the last was never completed."""
        files = (self.checkpoints_dir(kind) / name for name in ("last.ckpt", "previous.ckpt"))
        return next((file for file in files if is_checkpoint(file)), None)

    def metrics_file(self, kind: str, suffix: str = "jsonl") -> Path:
        return self.kind_dir(kind) / f"metrics.{suffix}"

    def logs_dir(self, kind: str) -> Path:
        return self.kind_dir(kind) / "logs"

    def eval_dir(self, stage: str = EVAL) -> Path:
        return self.path / stage

    def latents_dir(self, key: str) -> Path:
        """A cache of latents."""
        return self.kind_dir("ae") / LATENTS / key

    def stage_dir(self, stage: str) -> Path:
        """The folder that is an evaluation's, or a cache's, own."""
        return self.latents_dir(stage.removeprefix(f"{LATENTS}-")) if is_cache(stage) else self.eval_dir(stage)

    def record_dir(self, kind: str, stage: str) -> Path:
        return self.path / ".autocast" / kind / stage

    def run_file(self, kind: str, stage: str) -> Path:
        return self.record_dir(kind, stage) / "run.json"

    def events_file(self, kind: str, stage: str) -> Path:
        return self.record_dir(kind, stage) / "events.jsonl"

    def done_file(self, kind: str, stage: str) -> Path:
        return self.record_dir(kind, stage) / "DONE.json"

    def run_record(self, kind: str, stage: str) -> dict[str, Any]:
        return json.loads(self.run_file(kind, stage).read_text())

    def recorded_targets(self, kind: str) -> str:
        """What the user allowed to be constructed when a kind was trained here; nothing where no record is."""
        return self.run_record(kind, TRAIN)["user_targets"] if self.run_file(kind, TRAIN).is_file() else ""

    def done_record(self, kind: str, stage: str) -> dict[str, Any] | None:
        file = self.done_file(kind, stage)
        return json.loads(file.read_text()) if file.is_file() else None

    def events(self, kind: str, stage: str) -> list[Event]:
        return read_events(self.events_file(kind, stage))

    def state(self, kind: str, stage: str = TRAIN) -> str:
        if self.done_file(kind, stage).is_file():
            return DONE
        known = self.run_file(kind, stage).is_file() or (self.config_file(kind).is_file() and stage == TRAIN)
        return UNFINISHED if known else ABSENT

    def kinds(self) -> list[str]:
        """The kinds that are trained here, the one that `eval` prefers first."""
        return [kind for kind in BEST_FOR_EVALUATION if self.state(kind) != ABSENT]

    def launched(self) -> list[tuple[str, str]]:
        """Kind and name of every stage that was launched here."""
        return [(kind, stage) for kind in KINDS for stage in self.stages(kind)]

    def stages(self, kind: str) -> list[str]:
        records = (self.path / ".autocast" / kind).glob("*/run.json")
        return sorted((file.parent.name for file in records), key=lambda stage: (stage != TRAIN, stage))

    def kind_of_stage(self, stage: str) -> str | None:
        """The kind that an evaluation, or a cache, in this directory belongs to."""
        return next((kind for kind in KINDS if self.run_file(kind, stage).is_file()), None)

    def kind_to_evaluate(self) -> str | None:
        """The emulator if there is one with something to load, else the autoencoder."""
        return next((kind for kind in BEST_FOR_EVALUATION if self.checkpoint_file(kind).is_file()), None)

    def files_of(self, kind: str, stage: str = TRAIN) -> list[Path]:
        """What `--overwrite` replaces: the stage's own files; those of a training include its evaluations."""
        if stage != TRAIN:
            return [self.stage_dir(stage), self.record_dir(kind, stage)]
        evaluations = [self.eval_dir(stage) for stage in self.stages(kind) if stage != TRAIN and not is_cache(stage)]
        own = [self.config_file(kind), self.checkpoint_file(kind), self.kind_dir(kind)]
        return [*own, *evaluations, self.record_dir(kind, TRAIN).parent]

    def sibling(self, kind: str) -> RunDirectory:
        """The first of `<run-name>-2`, `<run-name>-3`, ... that has no run of the kind."""
        n = 2
        while (other := RunDirectory(self.path.with_name(f"{self.path.name}-{n}"))).state(kind) != ABSENT:
            n += 1
        return other


def read_config(file: Path) -> dict[str, Any]:
    """A saved config, as plain values."""
    return yaml.safe_load(file.read_text(encoding="utf-8"))


def is_checkpoint(path: Path) -> bool:
    """A file, or the directory that a sharded training writes."""
    return path.is_file() or (path / ".metadata").is_file()


def is_run(path: Path) -> bool:
    run = RunDirectory(path)
    return path.is_dir() and bool(run.kinds() or run.launched())


def is_cache(stage: str) -> bool:
    """Whether a stage makes a cache of latents."""
    return stage.startswith(f"{LATENTS}-")


def cache_stage(directory: Path) -> str:
    """The stage that makes the cache in a directory."""
    return f"{LATENTS}-{directory.name}"


def run_of_file(path: Path) -> RunDirectory | None:
    """The run that a file belongs to: the nearest directory above it that holds one."""
    above = (*path.parents, *path.absolute().parents)
    return next((RunDirectory(folder) for folder in above if is_run(folder)), None)


def find_run(name: str | Path, output_base: Path) -> RunDirectory:
    """The run that `name` means: a path, a checkpoint in a run, `<date>/<run-name>`, a uid or a job id.

    Raises:
        NoSuchRunError: No run is called that, or more than one is.
    """
    text = str(name)
    places = {place.resolve(): place for place in (Path(text).expanduser(), output_base / text)}
    found = [run for place in places.values() if (run := _run_at(place))]
    if not found:
        found = [run for run in all_runs(output_base) if _has_uid(run, text) or _had_job(run, text)]
    if len(found) == 1:
        return found[0]
    if found:
        raise NoSuchRunError(f"{text} means {_listed(found)}: give the path of one of them")
    raise NoSuchRunError(f"no such run: {text}.{_nearest(text, output_base)}")


def all_runs(output_base: Path) -> list[RunDirectory]:
    """Every `<date>/<run-name>` of an output base, in order of name."""
    return [RunDirectory(path) for path in sorted(output_base.glob("*/*")) if is_run(path)]


def default_output_base() -> Path:
    return Path(os.environ.get("AUTOCAST_OUTPUTS") or "outputs")


def _run_at(place: Path) -> RunDirectory | None:
    if is_run(place):
        return RunDirectory(place)
    return run_of_file(place) if is_checkpoint(place) else None


def _has_uid(run: RunDirectory, uid: str) -> bool:
    records = (run.run_record(kind, stage) for kind, stage in run.launched())
    return any(record["uid"] == uid for record in records)


def _had_job(run: RunDirectory, job_id: str) -> bool:
    """Whether a stage was ever submitted under this id, or as a member of the array that it is the id of."""
    if not JOB_ID.fullmatch(job_id):
        return False
    files = [run.events_file(kind, stage) for kind, stage in run.launched()]
    lines = (line for file in files if file.is_file() for line in file.read_text(encoding="utf-8").split("\n")[:-1])
    said = (json.loads(line) for line in lines if '"event": "submitted"' in line[:80])
    ids = {str(event["job_id"]) for event in said}
    return job_id in ids | {member.partition("_")[0] for member in ids}


def _nearest(name: str, output_base: Path) -> str:
    labels = [run.label for run in all_runs(output_base)]
    near = difflib.get_close_matches(name, labels, n=3, cutoff=0.5)
    if near:
        return f" Did you mean {' or '.join(near)}?"
    if labels:
        return f" There are in {output_base}: {', '.join(labels[-5:])}"
    return f" There is no run in {output_base}: give a path, or --output-base"


def _listed(runs: list[RunDirectory]) -> str:
    return f"{len(runs)} runs ({', '.join(str(run.path) for run in runs)})"
