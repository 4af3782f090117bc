"""Panels of what a trained model costs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from autocast.panels.words import Rows, count, forecast_command, short, time_text
from autocast.runs.console import file_size
from autocast.runs.job import Outcome

if TYPE_CHECKING:
    from autocast.data.datamodule import FieldDataModule
    from autocast.evaluation.benchmark import Benchmark
    from autocast.evaluation.cost import Measurement
    from autocast.runs.using import BenchmarkRequest


def measured_run(request: BenchmarkRequest, datamodule: FieldDataModule) -> dict[str, Any]:
    """Which model a benchmark is of."""
    record = (
        request.run.run_record(request.kind, "train") if request.run.run_file(request.kind, "train").is_file() else {}
    )
    return {
        "run": str(request.run.path),
        "kind": request.kind,
        "uid": record.get("uid"),
        "checkpoint": str(request.checkpoint),
        "data": {"path": str(datamodule.header.path), "split": "test", "digest": datamodule.digest},
    }


def benchmarked(request: BenchmarkRequest, found: Benchmark, files: list[Path]) -> Outcome:
    """The closing panel of a benchmark."""
    cost = found.model
    flops = "too large to count" if cost.flops_per_step is None else f"{short(cost.flops_per_step)}FLOP a step"
    sizes = f"{short(cost.n_parameters)} params, {short(cost.n_trained)} trained"
    compiled = " · compiled" if cost.compiled else ""
    rows = [
        ("model", f"{request.kind} · {sizes} · {flops}"),
        ("on", f"{_measured_on(found)}{compiled}"),
        ("", f"{'batch':>5} {'members':>7} {'steps':>5} {'median':>9} {'spread':>6} {'steps/s':>8} {'memory':>9}"),
        *((row.what, _measurement(row)) for row in cost.rows),
        *_beside_simulator(found),
        ("files", f"{', '.join(file.name for file in files)} in {request.out}"),
    ]
    return Outcome(found.to_dict(), rows, _after_benchmark(request, deterministic=found.about["deterministic"]), files)


def _measured_on(found: Benchmark) -> str:
    import torch

    if found.device.type == "cuda":
        return torch.cuda.get_device_name(found.device)
    return f"cpu, {count(torch.get_num_threads(), 'thread')}"


def _measurement(row: Measurement) -> str:
    """A line of the table; spread is the interquartile range over the median."""
    size = f"{row.batch_size:>5} {row.n_members:>7} {row.n_steps:>5}"
    if row.seconds is None or row.seconds_q1 is None or row.seconds_q3 is None:
        return f"{size} {row.status}{': ' if row.detail else ''}{row.detail[:30]}"
    spread = f"{100 * (row.seconds_q3 - row.seconds_q1) / row.seconds:.0f} %" if row.n_repeats > 1 else "-"
    memory = file_size(row.peak_memory or 0)
    return f"{size} {time_text(row.seconds):>9} {spread:>6} {row.steps_per_second:>8,.4g} {memory:>9}"


def _beside_simulator(found: Benchmark) -> Rows:
    """What a trajectory costs the simulator, and when training has paid off."""
    if found.simulator is None:
        return [("simulator", f"not compared: {found.why_no_simulator}")]
    name, n_steps, seconds = found.simulator.name, found.model.n_steps, time_text(found.simulator.seconds)
    rows = [("simulator", f"{name} · {seconds} for {count(n_steps, 'step')} of a trajectory")]
    if found.pay_off is None:
        return [*rows, ("speed-up", "not known: no rollout of one member could be measured")]
    pay_off, training = found.pay_off, sum(found.training_seconds.values())
    stages = f"training of {' and '.join(found.training_seconds)} took {time_text(training)}"
    rows.append(("speed-up", f"{pay_off.speed_up:.3g} × · one member takes {time_text(pay_off.model_seconds)}"))
    return [*rows, ("paid off", pay_off.verdict), *([("", stages)] if found.training_known else [])]


def _after_benchmark(request: BenchmarkRequest, *, deterministic: bool) -> str:
    run, emulates = request.run, request.kind != "ae"
    if run.done_record(request.kind, "eval") is None:
        return f"autocast eval --workdir {run.quoted}"
    if emulates:
        return forecast_command(run, request.config, deterministic=deterministic)
    return f"open {run.eval_dir() / 'report.html'}"
