"""What a model costs: counts that can be checked by hand, and rows that are there whatever happens."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from autocast.assembly import assemble_autoencoder, assemble_emulator
from autocast.autoencoders.bottlenecks import IdentityBottleneck
from autocast.autoencoders.deep_compression import DeepCompressionEncoder
from autocast.autoencoders.identity import IdentityEncoder
from autocast.data.normaliser import Normaliser
from autocast.data.trajectories import Trajectories
from autocast.evaluation import cost as costs
from autocast.evaluation.benchmark import Subject, run_benchmark, write_benchmark
from autocast.evaluation.cost import (
    MEASURED,
    OUT_OF_MEMORY,
    OUT_OF_TIME,
    ROLLOUT,
    STEP,
    CostSettings,
    ModelCost,
    count_parameters,
    measure_model,
)
from autocast.evaluation.payoff import PayOff, Simulation
from autocast.generative import parametrisations, schedules
from autocast.generative.samplers import Euler
from autocast.nn.backbone import Backbone
from autocast.processors.diffusion import Diffusion
from autocast.processors.direct import Direct
from autocast.processors.ensemble import Ensemble
from autocast.processors.flow_matching import FlowMatching
from autocast.simulators.kuramoto_sivashinsky import KuramotoSivashinsky
from autocast.types import FieldSpec

CPU = torch.device("cpu")
N_FRAMES, N_TRAJECTORIES = 8, 2
QUICK = {"seconds": 1e6, "members": (1, 3), "batch_sizes": (1, 2)}
"""Of three members of two trajectories at most."""


@pytest.fixture(autouse=True)
def few_repeats(monkeypatch: pytest.MonkeyPatch) -> None:
    """However much time there is."""
    monkeypatch.setattr(costs, "MAX_REPEATS", 2)


class OneLayer(Backbone):
    """A convolution over three points of each axis; it counts its calls, and fails if there are too many rows."""

    def __init__(self, n_in: int, n_out: int, *, grid_shape: tuple[int, ...], most_rows: int = 999, **_: Any):
        super().__init__()
        convolution = nn.Conv1d if len(grid_shape) == 1 else nn.Conv2d
        self.layer = convolution(n_in, n_out, 3, padding=1)
        self.rows: list[int] = []
        self.most_rows = most_rows

    def forward(self, x: torch.Tensor, features: torch.Tensor | None = None) -> torch.Tensor:
        if len(x) > self.most_rows:
            raise torch.OutOfMemoryError(f"no memory for {len(x)} rows")
        self.rows.append(len(x))
        return self.layer(x)


class Waves(Trajectories):
    """Noise."""

    n_trajectories = N_TRAJECTORIES

    def __init__(self, spec: FieldSpec):
        self.spec = spec
        rng = np.random.default_rng(0)
        shape = (N_TRAJECTORIES, N_FRAMES, *spec.grid_shape, spec.n_channels)
        self.fields = rng.normal(size=shape).astype(np.float32)

    def n_steps(self, i: int) -> int:
        return N_FRAMES

    def read(self, i: int, start: int, stop: int, stride: int = 1) -> np.ndarray:
        return self.fields[i, start:stop:stride]

    def scalars(self, i: int) -> np.ndarray:
        return np.zeros(0, np.float32)

    def constant_fields(self, i: int) -> None:
        return None

    def name(self, i: int) -> str:
        return f"trajectory {i}"


def emulator(spec: FieldSpec, *, processor: Any = Direct, encoder: Any = IdentityEncoder, **backbone: Any) -> Any:
    """Two steps in, three out."""
    return assemble_emulator(
        encoder,
        IdentityBottleneck,
        lambda encoded: processor(encoded, backbone=lambda *a, **k: OneLayer(*a, **{**k, **backbone})),
        spec=spec,
        normaliser=Normaliser.identity(spec.n_channels),
        n_steps_input=2,
        n_steps_output=3,
        frozen=True,
    ).eval()


def flow(n_steps: int) -> Callable[..., Any]:
    return lambda encoded, backbone: FlowMatching(encoded, backbone=backbone, sampler=Euler(n_steps))


def measure(model: Any, notes: list[str] | None = None, **settings: Any) -> ModelCost:
    return measure_model(
        model,
        Waves(model.spec),
        CostSettings(**{**QUICK, **settings}),
        device=CPU,
        trains_autoencoder=False,
        progress=lambda done, total: None,
        note=(notes if notes is not None else []).append,
    )


def sizes(cost: ModelCost) -> Counter:
    return Counter((row.what, row.batch_size, row.n_members) for row in cost.rows)


def test_parameters_and_operations_are_those_counted_by_hand(make_spec):
    """A 3 x 3 convolution from 2 steps of 2 channels to 3 of 2, on 8 x 12 points."""
    cost = measure(emulator(make_spec()))
    assert cost.n_parameters == cost.n_trained == 9 * 4 * 6 + 6
    assert cost.flops_per_step == 2 * (9 * 4 * 6) * (8 * 12) / 3
    assert cost.weight_bytes >= 4 * cost.n_parameters


def test_an_autoencoder_counts_as_trained_where_it_was(make_spec):
    model = nn.ModuleDict({"autoencoder": nn.Linear(3, 2).requires_grad_(False), "processor": nn.Linear(4, 5)})
    assert count_parameters(model, trains_autoencoder=False) == (8 + 25, 25)
    assert count_parameters(model, trains_autoencoder=True) == (8 + 25, 8 + 25)


@pytest.mark.parametrize("n_solver_steps", [1, 4])
def test_operations_grow_with_members_and_solver_steps(make_spec, n_solver_steps):
    model = emulator(make_spec(), processor=flow(n_solver_steps))
    bench = costs._Bench(model, costs.TestTrajectories(Waves(model.spec), 2), CPU, 6)
    one, three = (costs.count_forecast_flops(bench.forecaster(m), bench.batch(2)) for m in (1, 3))
    assert three == 3 * one
    n_channels_in = 2 * 2 + 3 * 2  # the past, and what the noise has become
    assert one == 2 * n_solver_steps * 2 * (9 * n_channels_in * 6) * (8 * 12)


def test_a_rollout_calls_its_model_once_a_window_and_solver_step(make_spec, monkeypatch):
    """A rollout of 5 steps is two windows of 3."""
    model = emulator(make_spec(), processor=flow(4))
    calls: list[tuple[int, int]] = []

    def counted(call, device, seconds):
        before = len(model.processor.backbone.rows)
        call()
        rows = model.processor.backbone.rows[before:]
        calls.append((len(rows), rows[0]))
        return [1.0]

    monkeypatch.setattr(costs, "time_calls", counted)
    cost = measure(model, n_steps=5, seconds=1e6)
    assert [row.n_windows for row in cost.rows if row.what == ROLLOUT] == [2] * 4
    expected = [(row.n_windows * model.n_solver_steps, row.batch_size * row.n_members) for row in cost.rows]
    assert calls == expected


def test_every_size_has_its_step_and_rollout_of_the_same_members(make_spec):
    cost = measure(emulator(make_spec(), processor=flow(1)), members=(3,), batch_sizes=(4,))
    assert sizes(cost) == {(what, b, m): 1 for what in (STEP, ROLLOUT) for b in (1, 4) for m in (1, 3)}
    for row in cost.rows:
        assert row.status == MEASURED
        assert row.seconds_q1 <= row.seconds <= row.seconds_q3
        assert row.n_repeats == 2
        assert row.peak_memory > 0
        assert row.steps_per_second == row.batch_size * row.n_members * row.n_steps / row.seconds
    assert {row.n_steps for row in cost.rows if row.what == STEP} == {3}


def edm(encoded: Any, backbone: Any) -> Diffusion:
    return Diffusion(
        encoded,
        backbone=backbone,
        sampler=Euler(3),
        schedule=schedules.Edm(),
        parametrisation=parametrisations.Edm(),
    )


@pytest.mark.parametrize("processor", [Direct, Ensemble, flow(2), edm])
def test_every_kind_of_processor_can_be_measured(make_spec, processor):
    model = emulator(make_spec(), processor=processor)
    cost = measure(model)
    assert {row.status for row in cost.rows} == {MEASURED}
    assert {row.n_members for row in cost.rows} == ({1} if model.deterministic else {1, 3})
    assert cost.flops_per_step % model.n_solver_steps == 0


def test_memory_grows_with_rows(make_spec):
    rows = measure(emulator(make_spec(), processor=flow(1))).rows
    by_rows = {row.n_rows: row.peak_memory for row in rows if row.what == STEP}
    assert by_rows[6] > by_rows[1]


def test_a_deterministic_model_has_one_member_and_says_so(make_spec):
    notes: list[str] = []
    cost = measure(emulator(make_spec()), notes)
    assert {row.n_members for row in cost.rows} == {1}
    assert any("deterministic" in note for note in notes)


def test_a_row_without_memory_says_so_and_the_others_are_there(make_spec):
    cost = measure(emulator(make_spec(), processor=flow(2), most_rows=3))
    status = {(row.what, row.n_rows): row.status for row in cost.rows}
    assert status == {
        (what, n): MEASURED if n <= 3 else OUT_OF_MEMORY for what in (STEP, ROLLOUT) for n in (1, 2, 3, 6)
    }
    failed = [row for row in cost.rows if row.status == OUT_OF_MEMORY]
    assert {row.detail for row in failed} == {"no memory for 6 rows"}
    assert {(row.seconds, row.steps_per_second, row.peak_memory) for row in failed} == {(None, None, None)}


def test_a_cpu_is_not_asked_for_more_than_it_has(make_spec, monkeypatch):
    model = emulator(make_spec(), processor=flow(1))
    monkeypatch.setattr(costs, "host_memory_left", lambda: 0.0)
    cost = measure(model)
    assert [row.status for row in cost.rows] == [MEASURED] * 2 + [OUT_OF_MEMORY] * 6
    assert cost.rows[-1].detail.startswith("needs about")
    assert set(model.processor.backbone.rows) == {1}


def test_other_errors_are_not_swallowed(make_spec):
    model = emulator(make_spec())
    model.processor.backbone.layer = nn.Linear(1, 1)
    with pytest.raises(RuntimeError, match="shapes"):
        measure(model)


def test_when_time_is_up_rows_say_so(make_spec, monkeypatch):
    monkeypatch.setattr(costs.Clock, "is_over", property(lambda clock: clock._n_left < 7))
    rows = measure(emulator(make_spec(), processor=flow(1))).rows
    assert [row.status for row in rows] == [MEASURED] * 2 + [OUT_OF_TIME] * 6


def test_a_rollout_is_cut_to_whole_windows_where_time_is_short(make_spec, monkeypatch):
    monkeypatch.setattr(costs.Clock, "is_over", False)
    notes: list[str] = []
    cost = measure(emulator(make_spec()), notes, n_steps=3000, seconds=0.05)
    assert cost.single.n_steps < 3000
    assert cost.single.n_steps == 3 * cost.single.n_windows
    assert cost.rollout_seconds == pytest.approx(cost.single.seconds * 3000 / cost.single.n_steps)
    assert any("cut short" in note for note in notes)


def test_an_emulator_goes_on_after_its_data_and_an_autoencoder_does_not(make_spec):
    spec = make_spec()
    assert measure(emulator(spec), n_steps=20).n_steps == 20
    autoencoder = assemble_autoencoder(
        IdentityEncoder, IdentityBottleneck, spec=spec, normaliser=Normaliser.identity(spec.n_channels)
    )
    notes: list[str] = []
    cost = measure(autoencoder.eval(), notes, n_steps=20)
    assert cost.n_steps == N_FRAMES - 1
    assert notes[0].startswith("--steps 20")
    assert {row.status for row in cost.rows} == {MEASURED}


def test_a_latent_model_of_frozen_parts_and_fields_with_one_axis(make_spec):
    encoder = lambda spec: DeepCompressionEncoder(spec, widths=(4, 4), blocks=(1, 1), latent_channels=3)  # noqa: E731
    cost = measure(emulator(make_spec(), encoder=encoder, processor=flow(2)))
    assert {row.status for row in cost.rows} == {MEASURED}
    assert 0 < cost.n_trained < cost.n_parameters
    line = measure(emulator(make_spec((16,)), processor=flow(2)))
    assert {row.status for row in line.rows} == {MEASURED}


@pytest.mark.parametrize(
    ("simulator", "model", "training", "n_trajectories", "verdict"),
    [
        (2.0, 0.5, 300.0, 200, "after 200 trajectories"),
        (2.0, 0.5, 301.0, 201, "after 201 trajectories"),
        (2.0, 0.5, 1.0, 1, "after 1 trajectory"),
        (0.5, 2.0, 300.0, None, "never: the model is slower than the simulator here"),
        (1.0, 1.0, 300.0, None, "never: the model is slower than the simulator here"),
        (2.0, 0.5, None, None, "not known: the run has no record of how long its training took"),
    ],
)
def test_training_pays_off_when_what_it_took_is_saved(simulator, model, training, n_trajectories, verdict):
    found = PayOff(simulator, model, training)
    assert (found.n_trajectories, found.verdict) == (n_trajectories, verdict)
    assert found.speed_up == simulator / model


def simulation(n_frames: int) -> KuramotoSivashinsky:
    return KuramotoSivashinsky(grid_shape=(16,), extent=(12.0,), n_frames=n_frames, burn_in=0.0)


def test_the_table_and_the_record_agree(make_spec, tmp_path: Path):
    model = emulator(make_spec((16,)), processor=flow(2), most_rows=3)
    subject = Subject({"run": "rd/00"}, Simulation(simulation, 7), training_seconds={"epd": 9.0}, training_known=True)
    found = run_benchmark(
        model,
        Waves(model.spec),
        CostSettings(**QUICK),
        subject,
        device=CPU,
        progress=lambda done, total: None,
        note=lambda text: None,
    )
    table, record = write_benchmark(found, tmp_path / "eval")
    assert sorted(path.name for path in (tmp_path / "eval").iterdir()) == ["benchmark.csv", "benchmark.json"]
    said = json.loads(record.read_text())
    rows = pd.read_csv(table, dtype={"peak_memory": "Int64"}, keep_default_na=False, na_values=["nan"])
    assert len(rows) == len(said["rows"]) == 8
    for line, row in zip(rows.to_dict("records"), said["rows"], strict=True):
        assert line.keys() == row.keys()
        for name, value in row.items():
            if value is None:
                assert pd.isna(line[name]), name
            else:
                assert line[name] == (pytest.approx(value, rel=1e-8) if isinstance(value, float) else value), name
    assert said["machine"]["device"] == "cpu"
    assert {"n_threads", "node"} <= said["machine"].keys()
    assert "torch" in said["machine"]["versions"]
    assert said["simulator"]["name"] == "KuramotoSivashinsky"
    assert said["simulator"]["n_frames"] == N_FRAMES - 2
    saved = said["pay_off"]["simulator_seconds"] - said["pay_off"]["model_seconds"]
    assert said["pay_off"]["n_trajectories"] == (math.ceil(9.0 / saved) if saved > 0 else None)


def test_without_a_simulator_there_is_a_reason(make_spec):
    model = emulator(make_spec())
    found = run_benchmark(
        model,
        Waves(model.spec),
        CostSettings(**QUICK),
        Subject({}, "nobody knows"),
        device=CPU,
        progress=lambda done, total: None,
        note=lambda text: None,
    )
    assert (found.simulator, found.pay_off, found.why_no_simulator) == (None, None, "nobody knows")
