"""Caches of latents in a run directory: where a new one goes, and which one a processor is trained on."""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autocast.errors import DataError
from autocast.runs.adoption import KEY
from autocast.runs.directory import DONE, LATENTS, RunDirectory, cache_stage, is_cache, read_config, run_of_file
from autocast.runs.parents import Parent
from autocast.runs.place import named_directory
from autocast.runs.problems import Problem, as_problem
from autocast.runs.request import SLURM, Request

MANIFEST = "manifest.json"
PREFERRED = ("float32", "bfloat16", "float16")
"""Of several caches that fit."""
Digest = Callable[[Mapping[str, Any]], str]
"""The digest of the data set that a section `datamodule` names; raises `DataError` where there is none."""


@dataclass(frozen=True)
class Cache:
    """A cache that was launched in a run, as its records tell."""

    run: RunDirectory
    stage: str
    checkpoint: dict[str, Any]
    """The record of the autoencoder that it is made with."""
    data_digest: str
    dtype: str

    @property
    def directory(self) -> Path:
        return self.run.stage_dir(self.stage)

    @property
    def is_done(self) -> bool:
        return self.run.state("ae", self.stage) == DONE

    def is_of(self, checkpoint: Parent) -> bool:
        """One that waits for its autoencoder takes what that will have become."""
        if self.checkpoint["sha256"] is None:
            return self.checkpoint["uid"] == checkpoint.uid
        return not checkpoint.pending and self.checkpoint["sha256"] == checkpoint.sha256()


def caches(run: RunDirectory) -> list[Cache]:
    """All that are there; one whose folder was deleted is not."""
    stages = (stage for stage in run.stages("ae") if is_cache(stage))
    return [_read(run, stage) for stage in stages if run.config_file("ae", stage).is_file()]


def cache_place(config: dict[str, Any]) -> tuple[RunDirectory, str]:
    """The run and the stage of the cache that a config is of."""
    directory = Path(config[LATENTS])
    return RunDirectory(directory.parents[2]), cache_stage(directory)


def processor_command(config: dict[str, Any]) -> str:
    """The command that trains on the cache which a config is of: it names what it would not find by itself."""
    checkpoint, (run, _) = Path(config[KEY]), cache_place(config)
    home = run_of_file(checkpoint)
    is_its_own = home is not None and home.checkpoint_file("ae").resolve() == checkpoint.resolve()
    words = ["autocast", "processor", "--autoencoder", str(home.path if home and is_its_own else checkpoint)]
    data = config["datamodule"]["data_path"]
    if home is None or _data_of(home) != Path(data).resolve():
        words += ["--dataset", str(data)]
    if home is None or home.path.resolve() != run.path.resolve() or config["dtype"] != PREFERRED[0]:
        words.append(f"latents={config[LATENTS]}")
    return shlex.join(words)


def set_latents(config: dict[str, Any], request: Request, digest_of: Digest) -> tuple[list[Problem], dict[str, Any]]:
    """Puts the directory of a cache into a config: of the one that is to be made, or of the one that fits.

    Returns:
        What is wrong, and facts for the record of the stage.
    """
    makes = request.command == "cache-latents"
    if not makes and (request.command != "processor" or config[LATENTS]):
        return [], {}
    if config[LATENTS]:
        return [Problem(LATENTS, "has its place in the run: ae/latents/<key>. Give --workdir DIR for another run.")], {}
    checkpoint = Parent.of(KEY, Path(config[KEY]), awaited=request.mode == SLURM)
    try:
        digest = digest_of(config["datamodule"])
    except DataError as error:
        return [as_problem(error, "datamodule.data_path")], {}
    found = _new(config, request, checkpoint, digest) if makes else _fitting(request, checkpoint, digest)
    if isinstance(found, Problem):
        return [found], {}
    config[LATENTS] = str(found)
    return [], {"data_digest": digest} if makes else {}


def _data_of(run: RunDirectory) -> Path | None:
    """The data set that the autoencoder of a run was trained on."""
    file = run.config_file("ae")
    return Path(read_config(file)["datamodule"]["data_path"]).resolve() if file.is_file() else None


def _read(run: RunDirectory, stage: str) -> Cache:
    record = run.run_record("ae", stage)
    dtype = read_config(run.config_file("ae", stage))["dtype"]
    return Cache(run, stage, record["parents"][0], record["data_digest"], dtype)


def _new(config: dict[str, Any], request: Request, checkpoint: Parent, digest: str) -> Path | Problem:
    """Where a cache goes: to where it is already, if it is there."""
    run, dtype = named_directory(request) or checkpoint.run, config["dtype"]
    if run is None:
        return Problem(str(checkpoint.file), "lies in no run directory. Give --workdir DIR: the cache goes there.")
    there = (c for c in caches(run) if c.is_of(checkpoint) and (c.data_digest, c.dtype) == (digest, dtype))
    source = f"of run {checkpoint.uid}" if checkpoint.pending else checkpoint.sha256()
    key = hashlib.sha256("\n".join((source, digest, dtype)).encode()).hexdigest()[:8]
    return next((cache.directory for cache in there), run.latents_dir(key))


def _fitting(request: Request, checkpoint: Parent, digest: str) -> Path | Problem:
    """The cache to train on; in slurm mode it may be one that is still to be made."""
    there = caches(checkpoint.run) if checkpoint.run else []
    fitting = [cache for cache in there if cache.is_of(checkpoint) and cache.data_digest == digest]
    usable = [cache for cache in fitting if cache.is_done or request.mode == SLURM]
    if usable:
        return min(usable, key=lambda cache: (not cache.is_done, PREFERRED.index(cache.dtype))).directory
    subject = f"--autoencoder {request.autoencoder}" if request.autoencoder else KEY
    make = f"{_command(request, checkpoint)}; another place is latents=DIR."
    if fitting:
        return Problem(subject, f"its cache {fitting[0].directory} is not complete. Go on with it: {make}")
    if there:
        others = "; ".join(f"{cache.directory} is of {_other(cache, checkpoint)}" for cache in there)
        return Problem(subject, f"has no cache of these latents: {others}. Make one: {make}")
    return Problem(subject, f"has no cache of latents. Make one: {make}")


def _other(cache: Cache, checkpoint: Parent) -> str:
    return "other data" if cache.is_of(checkpoint) else "another checkpoint"


def _command(request: Request, checkpoint: Parent) -> str:
    source = request.autoencoder or str(checkpoint.file)
    words = ["autocast", "cache-latents", "--autoencoder", source]
    words += ["--dataset", request.dataset] if request.dataset else []
    return shlex.join([*words, *(["--mode", "slurm"] if request.mode == SLURM else [])])
