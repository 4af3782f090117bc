"""Rolls a model and its baselines out over the test split, once and seeded, and measures everything on the way."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import torch

from autocast.emulators import AutoencoderModel
from autocast.evaluation import tables
from autocast.evaluation.baselines import fit_baselines, fitted_trajectories
from autocast.evaluation.compilation import compile_where_it_pays
from autocast.evaluation.examples import ExampleCollector
from autocast.evaluation.forecasters import (
    Forecaster,
    Forecasts,
    ModelForecaster,
    baseline_forecaster,
    reconstruction_forecaster,
)
from autocast.evaluation.latent_usage import LatentUsageStream
from autocast.evaluation.parts import Parts, Stream
from autocast.evaluation.plan import EvaluationData, Plan, make_plan
from autocast.evaluation.result import MEAN, MEMBER, MODEL, RECONSTRUCTION, EvaluationResult, Spectrum
from autocast.evaluation.rollout_file import ROLLOUTS_FILE, RolloutRecorder, recorded_rollouts
from autocast.evaluation.rollout_modes import in_rollout_mode
from autocast.evaluation.settings import ALL_LEADS, EvaluationSettings
from autocast.evaluation.trajectory_batches import TrajectoryBatch
from autocast.metrics.registry import METRICS, resolve_metrics
from autocast.metrics.spectral import Grid
from autocast.metrics.streams import SpectrumStream, TermStream
from autocast.metrics.terms import Window
from autocast.version import __version__

PARTS_DIR = ".parts"

OnEvent = Callable[[str, dict[str, Any]], None]
Observer = Callable[[TrajectoryBatch, int, Window], None]
"""Looks at a window of a forecast as it comes; its first frame has lead time `start + 1`."""


def _ignore(name: str, values: dict[str, Any]) -> None:
    pass


@torch.no_grad()
def evaluate(
    model: Forecasts,
    datamodule: EvaluationData,
    settings: EvaluationSettings,
    out_dir: Path,
    on_event: OnEvent = _ignore,
    *,
    device: str | torch.device = "cpu",
    weights: str = "",
) -> EvaluationResult:
    """Scores a model on every trajectory of the test split, and writes the tables into `out_dir`.

    Each trajectory is rolled out once, from its first frames; scores, spectra, coverage, examples and kept rollouts are
    of that one ensemble. Draws depend on the seed, the trajectory and the member only.

    Args:
        model: In evaluation mode, on `device`.
        datamodule: Its test split is scored, its training split gives the baselines.
        settings: What is measured.
        out_dir: Gets `metrics.csv`, `rollout_metrics.csv`, `trajectory_metrics.csv`, of an ensemble `coverage.csv`, and
            `rollouts.hdf5` if that is asked for; of an autoencoder alone, `latents.csv`.
        on_event: Told of "evaluation_started", "progress" (steps done and in all), "scored" (trajectories that are kept
            in parts), "note" and "table_written".
        device: Of the model.
        weights: What identifies those of the model. With it `out_dir` keeps parts of what is done, with which another
            call goes on, until `forget_parts`.

    Raises:
        ConfigError: Forecasts are to be compiled, and there is no compiler.
        DataError: If there is no trajectory to score.
    """
    device = torch.device(device)
    out_dir.mkdir(parents=True, exist_ok=True)
    model, datamodule, settings = in_rollout_mode(model, datamodule, settings)
    plan = make_plan(model, datamodule, settings, device)

    def note(text: str) -> None:
        on_event("note", {"text": text})

    for text in plan.notes:
        note(text)
    on_event("evaluation_started", plan.sizes)
    model_forecaster = ModelForecaster(model, plan.n_members, settings.seed, device, plan.max_rows)
    compile_where_it_pays(model_forecaster, plan, note)
    forecasters: dict[str, Forecaster] = {MODEL: model_forecaster, **_baselines(model, datamodule, plan, device)}
    streams = {name: plan.term_stream(plan.n_members if name == MODEL else 1) for name in forecasters}
    spectra = {name: plan.spectrum_stream() for name in forecasters if name in (MODEL, RECONSTRUCTION)}
    examples = ExampleCollector(plan.examples, scalar_names=plan.spec.scalar_names)
    usage = LatentUsageStream(model) if isinstance(model, AutoencoderModel) else None
    parts = Parts(out_dir / PARTS_DIR, _identity(plan, datamodule, weights, device)) if weights else None
    with ExitStack() as stack:
        observers = {name: _observers(name, streams, spectra) for name in forecasters}
        kept: dict[str, Stream] = {"timing": model_forecaster, "examples": examples}
        kept |= {f"scores/{name}": stream for name, stream in streams.items()}
        kept |= {f"spectra/{name}": stream for name, stream in spectra.items()}
        observers[MODEL].append(examples.add)
        if usage is not None:
            kept["latents"] = usage
            observers[MODEL].append(usage.add)
        if settings.save_rollouts:
            kept["rollouts"] = recorder = stack.enter_context(_recorder(plan, out_dir, parts))
            observers[MODEL].append(recorder.add)
        _roll_out(plan, forecasters, observers, parts, kept, on_event)
    provenance = _provenance(plan, datamodule, model_forecaster)
    result = dataclasses.replace(
        _result(plan, streams, spectra, examples, provenance),
        deterministic=model.deterministic,
        reconstructs=model.reconstructs,
        latents=usage.finish() if usage else None,
    )
    _write(result, streams, plan, out_dir, on_event)
    return result


def _baselines(model: Forecasts, datamodule: EvaluationData, plan: Plan, device: torch.device) -> dict[str, Forecaster]:
    names = plan.settings.baselines
    steps = fit_baselines(
        names,
        datamodule.split("train"),
        n_steps_input=model.n_steps_input,
        n_steps_output=model.n_steps_output,
        stride=model.stride,
    )
    found = {name: baseline_forecaster(step) for name, step in steps.items()}
    if RECONSTRUCTION in names:
        found[RECONSTRUCTION] = reconstruction_forecaster(model, device)
    return found


def _observers(name: str, streams: Mapping[str, TermStream], spectra: Mapping[str, SpectrumStream]) -> list[Observer]:
    streams_of_name: list[TermStream | SpectrumStream] = [streams[name]]
    if name in spectra:
        streams_of_name.append(spectra[name])
    return [_measuring(stream) for stream in streams_of_name]


def _measuring(stream: TermStream | SpectrumStream) -> Observer:
    return lambda batch, start, window: stream.add(batch.numbers, start, window)


def forget_parts(out_dir: Path) -> None:
    """Removes what would let an evaluation go on that has all its files."""
    shutil.rmtree(out_dir / PARTS_DIR, ignore_errors=True)


def _identity(plan: Plan, datamodule: EvaluationData, weights: str, device: torch.device) -> dict[str, Any]:
    """All that scores depend on; how the work is cut into batches and calls is not among it."""
    free = ("name", "batch_size", "max_rows", "memory_limit", "video", "fps")
    settings = {key: value for key, value in dataclasses.asdict(plan.settings).items() if key not in free}
    return {
        "weights": weights,
        "data": datamodule.digest,
        "lengths": plan.lengths,
        "n_steps_input": plan.test.n_steps_input,
        "stride": plan.test.stride,
        "settings": settings,
        "examples": plan.examples,
        "versions": [__version__, str(torch.__version__), device.type],
    }


def _recorder(plan: Plan, out_dir: Path, parts: Parts | None) -> AbstractContextManager[RolloutRecorder]:
    """It goes on with a file of these parts, even one that was complete; no other one is looked at."""
    file, unfinished = out_dir / ROLLOUTS_FILE, (parts.directory if parts else out_dir) / f".{ROLLOUTS_FILE}"
    if parts is None or parts.is_empty:
        unfinished.unlink(missing_ok=True)
    elif not unfinished.is_file() and file.is_file():
        file.replace(unfinished)
    elif not unfinished.is_file():
        parts.forget()
    return recorded_rollouts(
        file,
        plan.spec,
        lengths=plan.lengths,
        n_members=plan.n_members,
        n_steps_input=plan.test.n_steps_input,
        unfinished=unfinished,
    )


def _roll_out(
    plan: Plan,
    forecasters: Mapping[str, Forecaster],
    observers: Mapping[str, list[Observer]],
    parts: Parts | None,
    kept: Mapping[str, Stream],
    on_event: OnEvent,
) -> None:
    """Every forecaster over every batch that is not in a part; a window is seen by its observers and forgotten."""
    restored = parts.restore(kept) if parts else []
    if restored:
        on_event("note", {"text": f"goes on after {len(restored)} of {plan.n_trajectories} trajectories"})
    total = sum(plan.lengths) * len(forecasters)
    done = sum(plan.lengths[i] for i in restored) * len(forecasters)
    for batch in plan.test.batches(plan.batch_size, without=set(restored)):
        for name, forecaster in forecasters.items():
            start = 0
            for forecast in forecaster(batch):
                window = _window(batch, start, forecast, plan.grid)
                n_steps = window.truth.shape[1]
                for observe in observers[name]:
                    observe(batch, start, window)
                start += n_steps
                done += n_steps * len(batch.numbers)
                on_event("progress", {"done": done, "total": total, "model": name})
        if parts:
            parts.keep(batch.numbers, kept)
            restored += batch.numbers
            on_event("scored", {"step": len(restored), "n_trajectories": plan.n_trajectories})


def _window(batch: TrajectoryBatch, start: int, forecast: torch.Tensor, grid: Grid) -> Window:
    """A forecast beside its truth, on the forecast's device and in single precision at least."""
    dtype = torch.promote_types(forecast.dtype, torch.float32)
    truth = batch.truth[:, start : start + forecast.shape[2]]
    return Window(truth.to(forecast.device, dtype), forecast.to(dtype), grid)


def _result(
    plan: Plan,
    streams: Mapping[str, TermStream],
    spectra: Mapping[str, SpectrumStream],
    examples: ExampleCollector,
    provenance: dict[str, Any],
) -> EvaluationResult:
    headline = MEAN if plan.n_members > 1 else MEMBER
    per_trajectory = streams[MODEL].by_trajectory(METRICS["vrmse"], headline, 1, plan.n_steps).mean(-1)
    return EvaluationResult(
        spec=plan.spec,
        scores=tables.lead_time_table(streams, plan.spec),
        n_members=plan.n_members,
        n_trajectories=plan.n_trajectories,
        n_steps=plan.n_steps,
        examples=examples.finish(dict(enumerate(per_trajectory.tolist()))),
        spectra=_spectrum(plan, spectra),
        coverage=tables.coverage_table(streams[MODEL], plan.spec, plan.windows) if plan.n_members > 1 else None,
        windows=tables.window_table(streams, plan.spec, plan.windows),
        provenance=provenance,
    )


def _spectrum(plan: Plan, spectra: Mapping[str, SpectrumStream]) -> Spectrum | None:
    if plan.grid.n_shells == 0:
        return None
    model, reconstruction = spectra[MODEL], spectra.get(RECONSTRUCTION)
    return Spectrum(
        wavenumber=np.array(plan.grid.wavenumbers),
        lead_times=model.lead_times,
        truth=model.average("truth"),
        member=model.average("member"),
        mean=model.average("mean") if plan.n_members > 1 else None,
        reconstruction=None if reconstruction is None else reconstruction.average("member"),
    )


def _write(
    result: EvaluationResult, streams: Mapping[str, TermStream], plan: Plan, out_dir: Path, on_event: OnEvent
) -> None:
    asked = [metric.name for metric in resolve_metrics(plan.settings.metrics)]
    by_trajectory = tables.trajectory_table(streams, plan.spec, {ALL_LEADS: (1, plan.n_steps)})
    files = {
        "metrics.csv": result.windows,
        "rollout_metrics.csv": result.scores,
        "trajectory_metrics.csv": by_trajectory,
    }
    chosen = {name: tables.select_metrics(table, asked) for name, table in files.items() if table is not None}
    if result.coverage is not None and "coverage_error" in asked:
        chosen["coverage.csv"] = result.coverage
    if result.latents is not None:
        chosen["latents.csv"] = result.latents.table
    for name, table in chosen.items():
        tables.write_table(table, out_dir / name)
        on_event("table_written", {"file": str(out_dir / name)})


def _provenance(plan: Plan, datamodule: EvaluationData, forecaster: ModelForecaster) -> dict[str, Any]:
    train = datamodule.split("train") if plan.settings.baselines else None
    return {
        "data": {
            "name": plan.spec.dataset_name,
            "split": "test",
            "digest": datamodule.digest,
            "n_trajectories": plan.n_trajectories,
        },
        "rollout": {
            "mode": plan.settings.rollout or "the model's own",
            "seed": plan.settings.seed,
            "n_members": plan.n_members,
            "n_steps": plan.n_steps,
            "n_steps_input": plan.test.n_steps_input,
            "stride": plan.test.stride,
        },
        "baselines": {"fitted_to_trajectories": 0 if train is None else len(fitted_trajectories(train))},
        "timing": forecaster.timing(),
    }
