"""Runs a simulator into a data set: streamed to disk, continued after any interruption, the same for any batch size.

A data set in the making is the directory `.simulation` in its place: the settings, one partial file per split with all
its space laid out, and a journal of the trajectories in them. A trajectory is journaled after its frames have been
handed to the operating system, so what a killed process leaves is a journal that claims too little and never too much.
Only when all is there, files move to their names, and `manifest.json` comes last: a data set with one is complete.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from autocast.data.headers import MANIFEST_FILE, PENDING_DIR, SPLITS, STATS_FILE, sha256_of
from autocast.data.manifest import check_same, file_entry, make_plan, versions, write_json
from autocast.data.statistics import compute_statistics
from autocast.data.stats_file import write_statistics
from autocast.data.well import open_well_file
from autocast.data.well_writer import WellWriter, create_well_file
from autocast.errors import DataError
from autocast.types import FieldSpec

if TYPE_CHECKING:
    from autocast.simulators.simulator import Simulator, Trajectories

Progress = Callable[[int, int], None]
"""Told the frames that are done and those that there will be, in all splits."""

SEEDS_PER_SPLIT = 720720
"""A multiple of 1 to 16: the first trajectory of a split is the first case of a simulator that cycles through cases."""


@dataclass(frozen=True)
class SimulationSummary:
    """What a call did, and what there is now."""

    path: Path
    n_trajectories: int
    n_simulated: int
    """Trajectories that this call computed; 0 where the data set was complete already."""
    digest: str

    @property
    def was_complete(self) -> bool:
        return self.n_simulated == 0


def trajectory_seed(seed: int, split: str, index: int) -> int:
    """The seed of trajectory `index` of a split; those of a split follow each other."""
    digest = hashlib.sha256(f"{seed}/{split}".encode()).digest()
    return int.from_bytes(digest[:4], "big") * SEEDS_PER_SPLIT + index


def simulate_dataset(
    simulator: Simulator,
    path: str | Path,
    *,
    splits: Mapping[str, int],
    seed: int,
    batch_size: int = 8,
    device: str = "cpu",
    progress: Progress | None = None,
) -> SimulationSummary:
    """Makes the data set in directory `path`, continues it, or finds it complete.

    Args:
        simulator: Its class and settings are recorded in the manifest.
        path: The directory's name is the data set's.
        splits: Number of trajectories of "train", "valid" and "test".
        seed: With the split and the index it gives each trajectory's seed.
        batch_size: Trajectories that are solved at once; twice as many are in memory, while those before are written.
        device: Where the simulator computes.
        progress: See `Progress`.

    Raises:
        DataError: Another data set is there, or a trajectory is not finite.
    """
    path = Path(path).absolute()
    _check_splits(splits, batch_size)
    plan = make_plan(simulator, path.name, splits, seed)
    if (done := _find_complete(path, plan)) is not None:
        return done
    pending = _Pending(path, plan)
    n_simulated = pending.simulate(simulator, batch_size, device, progress)
    digest = pending.finish()
    return SimulationSummary(path, sum(plan["splits"].values()), n_simulated, digest)


class _Pending:
    """A data set in the making."""

    def __init__(self, path: Path, plan: dict[str, Any]):
        self.path = path
        self.plan = plan
        self.spec = FieldSpec.from_dict(plan["spec"])
        self.n_frames: int = plan["n_frames"]
        self.directory = path / PENDING_DIR
        self._journal_file = self.directory / "journal.txt"
        self._begin()
        self._journaled = self._read_journal()

    def file(self, split: str) -> Path:
        """The partial file, or the final one if the process was killed while the files were moved."""
        partial, final = self.directory / f"{split}.hdf5", self.final_file(split)
        return final if final.is_file() else partial

    def final_file(self, split: str) -> Path:
        return self.path / "data" / split / f"{self.path.name}.hdf5"

    def simulate(self, simulator: Simulator, batch_size: int, device: str, progress: Progress | None) -> int:
        """All trajectories that are missing; their number."""
        n_simulated, report = 0, self._reporter(progress)
        with ThreadPoolExecutor(1) as writer:
            written: Future[None] | None = None
            for split, indices in self._missing_batches(batch_size):
                seeds = [trajectory_seed(self.plan["seed"], split, index) for index in indices]
                result = simulator.simulate(seeds, device=device, progress=report)
                self._check(split, result)
                if written is not None:
                    written.result()
                written = writer.submit(self._write, split, indices, result.fields.numpy(), result.scalars.numpy())
                n_simulated += len(indices)
            if written is not None:
                written.result()
        return n_simulated

    def finish(self) -> str:
        """Statistics, final names and manifest; the digest."""
        names = {split: str(self.final_file(split).relative_to(self.path)) for split in self.plan["splits"]}
        with ThreadPoolExecutor(len(names)) as pool:
            found = {name: pool.submit(file_entry, self.file(split)) for split, name in names.items()}
            train = open_well_file(self.file("train"))
            write_statistics(self.directory / STATS_FILE, compute_statistics(train), train)
            entries = {name: entry.result() for name, entry in found.items()}
        digest = sha256_of({name: entry["sha256"] for name, entry in entries.items()})
        manifest = {"plan": self.plan, "versions": versions(), "files": entries, "digest": digest}
        write_json(self.directory / MANIFEST_FILE, manifest)
        for split in names:
            self.final_file(split).parent.mkdir(parents=True, exist_ok=True)
            self.file(split).replace(self.final_file(split))
        for name in (STATS_FILE, MANIFEST_FILE):
            (self.directory / name).replace(self.path / name)
        shutil.rmtree(self.directory)
        return digest

    def _begin(self) -> None:
        """Files with all space laid out, then the plan: a directory with a plan is ready to be filled."""
        plan_file = self.directory / "plan.json"
        if plan_file.is_file():
            check_same(self.path, json.loads(plan_file.read_text()), self.plan, "an unfinished simulation")
            return
        if (self.path / "data").exists():
            raise DataError(f"data set {self.path}: data are there that no simulation made. Give another name.")
        shutil.rmtree(self.directory, ignore_errors=True)
        self.directory.mkdir(parents=True)
        for split, n in self.plan["splits"].items():
            create_well_file(self.file(split), self.spec, n_trajectories=n, n_steps=self.n_frames)
        self._journal_file.touch()
        write_json(plan_file, self.plan)

    def _read_journal(self) -> set[tuple[str, int]]:
        """Trajectories that are on disk. A last line without its end was cut short and does not count."""
        lines = self._journal_file.read_text().split("\n")[:-1]
        return {(split, int(index)) for split, index in (line.split() for line in lines)}

    def _missing_batches(self, batch_size: int) -> Iterator[tuple[str, list[int]]]:
        for split, n in self.plan["splits"].items():
            for start in range(0, n, batch_size):
                indices = range(start, min(start + batch_size, n))
                if missing := [index for index in indices if (split, index) not in self._journaled]:
                    yield split, missing

    def _check(self, split: str, result: Trajectories) -> None:
        if result.rejected:
            messages = "\n".join(rejection.message for rejection in result.rejected)
            raise DataError(
                f"data set {self.path}: split {split} cannot be simulated with this seed and these settings.\n"
                f"{messages}\nWhat is done so far is kept in {self.directory}. To give another seed or other "
                f"settings, remove {self.path} first or give another name."
            )

    def _write(self, split: str, indices: list[int], fields: np.ndarray, scalars: np.ndarray) -> None:
        with WellWriter(self.file(split), self.spec) as writer:
            for row, index in enumerate(indices):
                writer.write(index, fields[row])
                writer.write_scalars(index, scalars[row])
        with self._journal_file.open("a") as journal:
            journal.write("".join(f"{split} {index}\n" for index in indices))

    def _reporter(self, progress: Progress | None) -> Callable[[int], None] | None:
        """Turns a simulator's count of new frames into the whole data set's."""
        if progress is None:
            return None
        done, total = len(self._journaled) * self.n_frames, sum(self.plan["splits"].values()) * self.n_frames
        progress(done, total)

        def report(n_new: int) -> None:
            nonlocal done
            done += n_new
            progress(done, total)

        return report


def _check_splits(splits: Mapping[str, int], batch_size: int) -> None:
    unknown = sorted(set(splits) - set(SPLITS))
    if unknown or splits.get("train", 0) < 1 or min(splits.values()) < 0:
        raise DataError(
            f"splits={dict(splits)}: give numbers of trajectories of {', '.join(SPLITS)}, train at least 1."
        )
    if batch_size < 1:
        raise DataError(f"batch_size={batch_size}: must be at least 1.")


def _find_complete(path: Path, plan: dict[str, Any]) -> SimulationSummary | None:
    file = path / MANIFEST_FILE
    if not file.is_file():
        return None
    try:
        manifest = json.loads(file.read_text())
        found, digest, entries = manifest["plan"], manifest["digest"], manifest["files"]
    except (json.JSONDecodeError, KeyError) as error:
        raise DataError(
            f"data set {path}: {file} is damaged ({error}). Delete the data set or give another name."
        ) from error
    check_same(path, found, plan, "a data set")
    for name, entry in entries.items():
        size = (path / name).stat().st_size if (path / name).is_file() else None
        if size != entry["n_bytes"]:
            raise DataError(
                f"data set {path}: {name} has {size} bytes, its manifest says {entry['n_bytes']}. "
                f"Delete the data set and simulate it again."
            )
    shutil.rmtree(path / PENDING_DIR, ignore_errors=True)
    return SimulationSummary(path, sum(plan["splits"].values()), 0, digest)
