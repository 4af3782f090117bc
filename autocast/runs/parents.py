"""What a stage stands on: files of other runs, how they enter a signature, and whether they are complete."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from autocast.runs.directory import (
    ABSENT,
    DONE,
    KINDS,
    LATENTS,
    TRAIN,
    RunDirectory,
    UpstreamError,
    cache_stage,
    run_of_file,
)
from autocast.runs.identity import known_sha256, sha256, signature

POLL_SECONDS = 1.0
HOPELESS = ("failed", "stuck", "cancelled", "aborted", "interrupted", "upstream_incomplete", "ended")
"""Last words after which no marker comes by itself."""
RESUMED_FROM = "resume_from"
"""The role of a checkpoint that a training goes on from: it does not make another run of it."""


@dataclass(frozen=True)
class Parent:
    """A file that another stage makes, or has made."""

    role: str
    file: Path
    run: RunDirectory | None = None
    """None for a file that lies in no run."""
    kind: str | None = None
    pending: bool = False
    """Whether it is still to be made, or may still change: then it is used when its stage is done, not before."""
    stage: str = TRAIN
    """That makes it."""

    @classmethod
    def of(cls, role: str, file: Path, *, awaited: bool = False) -> Parent:
        """A file by its place; with `awaited`, one whose stage is not done is pending."""
        run = run_of_file(file)
        kind = _kind(file, run) if run else None
        parent = cls(role, file, run, kind, stage=_stage(file, run) if run else TRAIN)
        return replace(parent, pending=awaited and not parent.is_complete)

    @property
    def is_complete(self) -> bool:
        """Whether its stage is done, or there is none to wait for; a checkpoint of an epoch is what it is."""
        if self.run is None or self.kind is None:
            return True
        if self.stage != TRAIN:
            return self.run.state(self.kind, self.stage) in (DONE, ABSENT)
        return self.file.name != f"{KINDS[self.kind]}.ckpt" or self.run.state(self.kind) == DONE

    @property
    def uid(self) -> str | None:
        known = self.run and self.kind and self.run.run_file(self.kind, self.stage).is_file()
        return self.run.run_record(self.kind, self.stage)["uid"] if self.run and self.kind and known else None

    def sha256(self) -> str:
        """The file's digest, from its run's marker where that still holds."""
        return known_sha256(self.file, self._product())

    def record(self) -> dict[str, Any]:
        """What `run.json` keeps of it; the digest of one that is still to be made is filled in when the job starts."""
        return {
            "role": self.role,
            "file": str(self.file.absolute()),
            "run": str(self.run.path.absolute()) if self.run else None,
            "kind": self.kind,
            "stage": self.stage,
            "uid": self.uid,
            "sha256": None if self.pending else self.sha256(),
        }

    def _product(self) -> Mapping[str, Any] | None:
        marker = self.run.done_record(self.kind, self.stage) if self.run and self.kind else None
        if marker is None or self.run is None:
            return None
        return marker["products"].get(self.file.resolve().relative_to(self.run.path.resolve()).as_posix())


def stage_signature(config: Mapping[str, Any], stage: str, records: Sequence[Mapping[str, Any]]) -> str:
    """The signature of a stage. Parents enter by their content, so that a renamed run is the same parent; one that is
    still to be made by the run that makes it."""
    contents = {
        parent["role"]: parent["sha256"] or f"of run {parent['uid']}"
        for parent in records
        if parent["role"] != RESUMED_FROM
    }
    data = str(Path(config["datamodule"]["data_path"]).expanduser().absolute())
    return signature(config, stage, {"datamodule.data_path": data, **contents})


def verified(record: Mapping[str, Any], *, seconds: float) -> dict[str, Any]:
    """The record of a parent once it is complete and has the content that its own marker, or the record, says.

    Args:
        record: As `Parent.record` made it.
        seconds: How long a marker may take to appear: on a shared file system it does so late on other nodes.

    Raises:
        UpstreamError: It is not complete, or its file is not what it should be.
    """
    stage = record.get("stage", TRAIN)  # what an earlier version recorded was trained
    parent = Parent(record["role"], Path(record["file"]), _run(record), record.get("kind"), stage=stage)
    expected = record["sha256"]
    if expected is None:
        expected = _awaited(parent, seconds)["sha256"]
    if not parent.file.is_file():
        raise UpstreamError(f"{parent.file}: no such file, which this stage needs ({parent.role})")
    if sha256(parent.file) != expected:
        raise UpstreamError(
            f"{parent.file}: its content is not what its run left when it was done ({parent.role}). "
            "Launch this stage again to use it as it is now"
        )
    return {**record, "uid": parent.uid, "sha256": expected}


def await_done(run: RunDirectory, kind: str, stage: str, *, seconds: float) -> None:
    """Returns when a stage has its marker: on a shared file system it may appear late on other nodes.

    Raises:
        UpstreamError: It has none, or its journal says that none will come.
    """
    last = time.monotonic() + seconds
    while run.state(kind, stage) != DONE:
        events = run.events(kind, stage)
        if events and events[-1]["event"] in HOPELESS:
            raise UpstreamError(_incomplete(run, kind, stage, f"its last word is '{events[-1]['event']}'"))
        if time.monotonic() > last:
            raise UpstreamError(_incomplete(run, kind, stage, f"no marker after {seconds:g} s"))
        time.sleep(POLL_SECONDS)


def _awaited(parent: Parent, seconds: float) -> Mapping[str, Any]:
    """What the marker of a stage says of the file, as soon as there is one."""
    assert parent.run is not None
    assert parent.kind is not None
    await_done(parent.run, parent.kind, parent.stage, seconds=seconds)
    product = parent._product()
    if product is None:
        raise UpstreamError(f"{parent.run.path}: its marker does not know {parent.file.name}, which this stage needs")
    return product


def _incomplete(run: RunDirectory, kind: str, stage: str, found: str) -> str:
    return (
        f"{run.path}: its {kind} {stage} is not complete ({found}), and what it left may be half done. "
        f"Nothing was done with it. Continue it: autocast resume {run.quoted}"
    )


def _run(record: Mapping[str, Any]) -> RunDirectory | None:
    return RunDirectory(Path(record["run"])) if record["run"] else None


def _kind(file: Path, run: RunDirectory) -> str | None:
    """The kind whose stage makes a file, from its place in the run directory."""
    first = file.resolve().relative_to(run.path.resolve()).parts[0]
    return next((kind for kind, name in KINDS.items() if first in (kind, f"{name}.ckpt")), None)


def _stage(file: Path, run: RunDirectory) -> str:
    """The stage that makes a file: a training, unless it lies in a cache of latents."""
    parts = file.resolve().relative_to(run.path.resolve()).parts
    return cache_stage(file.parent) if parts[:-2] == ("ae", LATENTS) else TRAIN
