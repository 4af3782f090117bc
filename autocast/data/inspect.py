"""What a data set holds and what is wrong with it: one pass over all frames of all splits."""

from __future__ import annotations

import dataclasses
import hashlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from autocast.data.headers import DatasetHeader, describe
from autocast.data.splits import open_split
from autocast.data.statistics import Moments, Statistics
from autocast.data.stats_file import stored_statistics
from autocast.data.trajectories import Trajectories
from autocast.types import FieldSpec

N_PLACES = 5
"""Places that a finding names; the others are only counted."""
OUTLIER_DEVIATIONS = 5.0
STATS_TOLERANCE = 1e-2
"""Of a deviation: what stated statistics may be off before they count as those of other data."""
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Finding:
    """Something to look at. "error": the data cannot be trained on; "warning": perhaps as intended."""

    severity: str
    check: str
    message: str


@dataclass(frozen=True)
class ChannelReport:
    name: str
    unit: str
    minimum: float
    maximum: float
    mean: float
    std: float
    std_delta: float
    """Deviation of the change from one frame to the next."""


@dataclass(frozen=True)
class SplitReport:
    n_trajectories: int
    n_steps: tuple[int, int]
    """Of the shortest and the longest trajectory."""
    n_files: int
    n_bytes: int
    channels: list[ChannelReport]
    scalars: dict[str, tuple[float, float]]
    """Smallest and largest value of each scalar."""


@dataclass(frozen=True)
class DatasetReport:
    path: Path
    layout: str
    digest: str
    spec: FieldSpec
    splits: dict[str, SplitReport]
    manifest: dict[str, Any] | None
    statistics: str
    """Where the statistics used in training come from."""
    findings: list[Finding] = field(default_factory=list)
    notes: tuple[str, ...] = ()
    """What is read otherwise than it lies on disk, or drawn."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; a number that is not finite is None."""
        values = dataclasses.asdict(self) | {"path": str(self.path), "spec": self.spec.to_dict()}
        return _plain(values)


def inspect_dataset(data: str | Path | DatasetHeader, *, progress: Progress | None = None) -> DatasetReport:
    """The report of a data set. Raises `DataError` where its files cannot be read at all.

    Args:
        data: Its directory, or, where pictures are resized or of another column, its header.
        progress: Told how many trajectories were looked at, and how many there are.
    """
    header = data if isinstance(data, DatasetHeader) else describe(data)
    splits = {split: open_split(header, split) for split in header.splits}
    scans = {split: _Scan(trajectories, split) for split, trajectories in splits.items()}
    n_total, n_done = sum(t.n_trajectories for t in splits.values()), 0
    for scan in scans.values():
        for i in range(scan.trajectories.n_trajectories):
            scan.add(i)
            n_done += 1
            if progress is not None:
                progress(n_done, n_total)
    statistics, stats_findings = _check_stats(header, scans)
    return DatasetReport(
        path=header.path,
        layout=header.layout,
        digest=header.digest,
        spec=next(iter(splits.values())).spec,
        splits={split: scan.report(header) for split, scan in scans.items()},
        manifest=header.manifest,
        statistics=statistics,
        findings=[
            *(finding for scan in scans.values() for finding in scan.findings()),
            *_check_splits(scans),
            *stats_findings,
        ],
        notes=header.notes,
    )


class _Places:
    """Counts places of one kind and remembers the first few."""

    def __init__(self) -> None:
        self.n = 0
        self.first: list[str] = []

    def add(self, place: str) -> None:
        self.n += 1
        if len(self.first) < N_PLACES:
            self.first.append(place)

    def __str__(self) -> str:
        more = f" and {self.n - len(self.first)} more" if self.n > len(self.first) else ""
        return "; ".join(self.first) + more


class _Scan:
    """All that one pass over a split finds, trajectory by trajectory."""

    CHECKS = (
        ("error", "not finite", "frames with values that are not finite"),
        ("warning", "constant frames", "frames that are the same everywhere"),
        ("warning", "repeated frames", "frames equal to the one before"),
        ("warning", "outliers", f"frames whose mean is {OUTLIER_DEVIATIONS:g} deviations from their trajectory's"),
    )

    def __init__(self, trajectories: Trajectories, split: str):
        self.trajectories = trajectories
        self.split = split
        n_channels = trajectories.spec.n_channels
        self.values, self.deltas = Moments(n_channels), Moments(n_channels)
        self.initial_fields: list[str] = []
        self.places = {check: _Places() for _, check, _ in self.CHECKS}

    def add(self, i: int) -> None:
        last, means = None, []
        for step, frame in enumerate(_frames(self.trajectories, i)):
            if step == 0:
                self.initial_fields.append(hashlib.sha256(frame.tobytes()).hexdigest())
            self._add_frame(frame, last, i, step)
            means.append(frame.mean(axis=0, dtype=np.float64))
            last = frame
        self._check_outliers(np.array(means), i)

    def _add_frame(self, frame: np.ndarray, last: np.ndarray | None, i: int, step: int) -> None:
        """`frame`, `last`: `(points, C)`."""
        finite = np.isfinite(frame).all(axis=0)
        self._note("not finite", ~finite, i, step)
        if step > 0:
            self._note("constant frames", finite & (frame == frame[0]).all(axis=0), i, step)
        if last is not None:
            self._note("repeated frames", finite & (frame == last).all(axis=0), i, step)
        if not finite.all():
            return
        self.values.add(frame)
        if last is not None and np.isfinite(last).all():
            self.deltas.add(frame.astype(np.float64) - last)

    def _check_outliers(self, means: np.ndarray, i: int) -> None:
        """`means`: `(T, C)`. The Well's own check of its data."""
        if not np.isfinite(means).all():
            return
        std = means.std(axis=0)
        far = np.abs(means - means.mean(axis=0)) >= OUTLIER_DEVIATIONS * np.where(std > 0, std, np.inf)
        for step in np.flatnonzero(far.any(axis=1)):
            self._note("outliers", far[step], i, int(step))

    def _note(self, check: str, channels: np.ndarray, i: int, step: int) -> None:
        if channels.any():
            names = ", ".join(np.array(self.trajectories.spec.channel_names)[channels])
            self.places[check].add(f"{self.split} trajectory {i} step {step} ({names})")

    def findings(self) -> Iterator[Finding]:
        for severity, check, what in self.CHECKS:
            if self.places[check].n:
                yield Finding(severity, check, f"{self.split}: {self.places[check].n} {what}: {self.places[check]}")

    def report(self, header: DatasetHeader) -> SplitReport:
        spec, n = self.trajectories.spec, self.trajectories.n_trajectories
        n_steps = [self.trajectories.n_steps(i) for i in range(n)]
        values = self.values
        numbers = (values.minimum, values.maximum, values.mean, values.std, self.deltas.std)
        scalars = np.array([self.trajectories.scalars(i) for i in range(n)])
        split = header.splits[self.split]
        return SplitReport(
            n_trajectories=n,
            n_steps=(min(n_steps), max(n_steps)),
            n_files=len(split.files),
            n_bytes=split.n_bytes,
            channels=[
                ChannelReport(name, unit, *(float(number[c]) for number in numbers))
                for c, (name, unit) in enumerate(zip(spec.channel_names, spec.units, strict=True))
            ],
            scalars={
                name: (float(scalars[:, k].min()), float(scalars[:, k].max()))
                for k, name in enumerate(spec.scalar_names)
            },
        )


def _frames(trajectories: Trajectories, i: int, n_block: int = 16) -> Iterator[np.ndarray]:
    """The frames of a trajectory as `(points, C)`."""
    n_steps, n_channels = trajectories.n_steps(i), trajectories.spec.n_channels
    for start in range(0, n_steps, n_block):
        block = trajectories.read(i, start, min(start + n_block, n_steps))
        yield from block.reshape(len(block), -1, n_channels)


def _check_splits(scans: dict[str, _Scan]) -> Iterator[Finding]:
    """An initial field in two splits makes test scores too good; twice in one split it is a waste."""
    owners: dict[str, list[str]] = {}
    for split, scan in scans.items():
        for i, digest in enumerate(scan.initial_fields):
            owners.setdefault(digest, []).append(f"{split} {i}")
    shared, repeated = _Places(), _Places()
    for places in owners.values():
        splits = Counter(place.split()[0] for place in places)
        if len(places) > 1:
            (shared if len(splits) > 1 else repeated).add(" = ".join(places))
    if shared.n:
        yield Finding("error", "shared initial fields", f"{shared.n} initial fields are in several splits: {shared}")
    if repeated.n:
        yield Finding("warning", "repeated initial fields", f"{repeated.n} initial fields occur twice: {repeated}")
    for split in ("train", "valid", "test"):
        if split not in scans:
            yield Finding("warning", "missing split", f"there is no split {split!r}")


def _check_stats(header: DatasetHeader, scans: dict[str, _Scan]) -> tuple[str, list[Finding]]:
    """Where the statistics come from, and whether they are those of the training split."""
    if "train" not in scans:
        return "none: there is no training split", []
    stored, why = stored_statistics(header, scans["train"].trajectories)
    if stored is not None:
        return stored.source, list(_compare(stored, scans["train"]))
    if not why:
        return "no file: computed from the training split when needed", []
    message = f"{why}; statistics computed from the training split are used instead"
    return "computed from the training split", [Finding("warning", "statistics", message)]


def _compare(stated: Statistics, scan: _Scan) -> Iterator[Finding]:
    for c, name in enumerate(scan.trajectories.spec.channel_names):
        std = max(float(scan.values.std[c]), 1e-30)
        for quantity, found in (("mean", scan.values.mean[c]), ("std", scan.values.std[c])):
            said = float(getattr(stated, quantity)[c])
            if abs(said - found) > STATS_TOLERANCE * std:
                message = f"{stated.source} says {quantity} {said:.4E} of {name}, the training split has {found:.4E}"
                yield Finding("warning", "statistics", f"{message}. Delete the file, and it is computed anew.")


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value
