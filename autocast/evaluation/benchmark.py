"""What a benchmark found, and its files."""

from __future__ import annotations

import dataclasses
import os
import platform
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from autocast.data.manifest import versions, write_json
from autocast.data.trajectories import Trajectories
from autocast.evaluation.cost import CostSettings, Measurement, ModelCost, measure_model
from autocast.evaluation.files import write_table
from autocast.evaluation.payoff import PayOff, Simulation, SimulatorCost, measure_simulator

SIMULATOR_SHARE = 0.2
"""Of the time."""
TABLE_FILE, RECORD_FILE = "benchmark.csv", "benchmark.json"
COLUMNS = (
    "what", "batch_size", "n_members", "n_steps", "n_windows", "status", "seconds", "seconds_q1", "seconds_q3",
    "n_repeats", "steps_per_second", "peak_memory", "detail",
)  # fmt: skip


@dataclass(frozen=True)
class Subject:
    """What is known of a model beside the model itself."""

    about: dict[str, Any]
    """Of which run it is, in plain values."""
    simulator: Simulation | str
    """That made its data; else why there is none to compare with."""
    trains_autoencoder: bool = False
    """Whether the autoencoder of the model was trained along."""
    training_seconds: dict[str, float] = field(default_factory=dict)
    """Of every kind that was trained for the model, as far as it is recorded."""
    training_known: bool = False
    """Whether the model's own training is among them."""


@dataclass(frozen=True)
class Benchmark:
    """What a model costs, and what its simulator does."""

    about: dict[str, Any]
    """Which model, of which run."""
    model: ModelCost
    device: torch.device
    simulator: SimulatorCost | None = None
    why_no_simulator: str = ""
    training_seconds: dict[str, float] = field(default_factory=dict)
    """Of every kind that was trained for the model, as far as it is recorded."""
    training_known: bool = False
    """Whether the model's own training is among them."""
    notes: tuple[str, ...] = ()
    """What is not as asked for, without being an error."""

    @property
    def pay_off(self) -> PayOff | None:
        """None where there is nothing to compare."""
        seconds = self.model.rollout_seconds
        if self.simulator is None or seconds is None:
            return None
        training = sum(self.training_seconds.values()) if self.training_known else None
        return PayOff(self.simulator.seconds, seconds, training)

    def to_dict(self) -> dict[str, Any]:
        """In plain values."""
        model = dataclasses.asdict(self.model)
        del model["rows"]
        return {
            **self.about,
            "machine": machine(self.device),
            "model": model,
            "rows": [plain_row(row) for row in self.model.rows],
            "simulator": None if self.simulator is None else dataclasses.asdict(self.simulator),
            "why_no_simulator": self.why_no_simulator,
            "training_seconds": self.training_seconds,
            "pay_off": None if self.pay_off is None else _plain_pay_off(self.pay_off),
            "notes": list(self.notes),
        }


def run_benchmark(
    model: Any,
    test: Trajectories,
    settings: CostSettings,
    subject: Subject,
    *,
    device: torch.device,
    progress: Callable[[int, int], None],
    note: Callable[[str], None],
) -> Benchmark:
    """Measures a model on test trajectories, and the simulator of its data beside it.

    Args:
        model: In evaluation mode, on `device`.
        test: Where initial frames are taken from.
        settings: What is measured.
        subject: What is known of the model.
        device: Of the model.
        progress: Told the measurements that are done and those that there will be.
        note: Told what is not as asked for.
    """
    notes: list[str] = []

    def keep(text: str) -> None:
        notes.append(text)
        note(text)

    simulation, why = (None, subject.simulator) if isinstance(subject.simulator, str) else (subject.simulator, "")
    if model.reconstructs:
        simulation, why = None, "an autoencoder alone forecasts nothing"
    share = 0.0 if simulation is None else SIMULATOR_SHARE * settings.seconds
    cost = measure_model(
        model,
        test,
        dataclasses.replace(settings, seconds=settings.seconds - share),
        device=device,
        trains_autoencoder=subject.trains_autoencoder,
        progress=lambda done, total: progress(done, total + (simulation is not None)),
        note=keep,
    )
    simulated = None
    if simulation is not None:
        n_frames = cost.n_steps * model.stride
        simulated = measure_simulator(simulation, n_frames=n_frames, device=device, seconds=share)
        progress(len(cost.rows) + 1, len(cost.rows) + 1)
    return Benchmark(
        about={**subject.about, **_facts(model), "asked": dataclasses.asdict(settings)},
        model=cost,
        device=device,
        simulator=simulated,
        why_no_simulator=why,
        training_seconds=subject.training_seconds,
        training_known=subject.training_known,
        notes=tuple(notes),
    )


def _facts(model: Any) -> dict[str, Any]:
    names = ("n_steps_input", "n_steps_output", "stride", "n_solver_steps", "deterministic", "reconstructs")
    return {name: getattr(model, name) for name in names}


def plain_row(row: Measurement) -> dict[str, Any]:
    values = {**dataclasses.asdict(row), "steps_per_second": row.steps_per_second}
    return {column: values[column] for column in COLUMNS}


def machine(device: torch.device) -> dict[str, Any]:
    """Where it was measured."""
    is_gpu = device.type == "cuda"
    return {
        "node": platform.node(),
        "platform": platform.platform(),
        "device": device.type,
        "device_name": torch.cuda.get_device_name(device) if is_gpu else _cpu_name(),
        "n_threads": torch.get_num_threads(),
        "n_cores": os.cpu_count(),
        "versions": versions(),
    }


def write_benchmark(benchmark: Benchmark, directory: Path) -> list[Path]:
    """Writes the rows and the record, each whole or not at all; their files."""
    directory.mkdir(parents=True, exist_ok=True)
    table, record = directory / TABLE_FILE, directory / RECORD_FILE
    rows = pd.DataFrame([plain_row(row) for row in benchmark.model.rows], columns=list(COLUMNS))
    write_table(rows.astype({"peak_memory": "Int64"}), table)
    write_json(record, benchmark.to_dict())
    return [table, record]


def _plain_pay_off(pay_off: PayOff) -> dict[str, Any]:
    derived = {"speed_up": pay_off.speed_up, "n_trajectories": pay_off.n_trajectories, "verdict": pay_off.verdict}
    return {**dataclasses.asdict(pay_off), **derived}


def _cpu_name() -> str:
    file = Path("/proc/cpuinfo")
    lines = file.read_text().splitlines() if file.is_file() else []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or platform.machine())
