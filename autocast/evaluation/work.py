"""The rolling out of an evaluation: all forecasters over batches of trajectories, and the streams that watch."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import torch

from autocast.emulators import AutoencoderModel
from autocast.evaluation.baselines import fit_baselines
from autocast.evaluation.calibrated import Watched
from autocast.evaluation.calibration import VALID, Fitted, ScoreHistograms
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
from autocast.evaluation.plan import EvaluationData, Plan
from autocast.evaluation.result import CALIBRATED, MODEL, RECONSTRUCTION, SIMULATORS, Example
from autocast.evaluation.rollout_modes import in_other_mode
from autocast.evaluation.settings import CONFORMAL
from autocast.evaluation.simulated import SimulatorForecaster
from autocast.evaluation.trajectory_batches import TrajectoryBatch
from autocast.metrics.spectral import Grid
from autocast.metrics.stability import Reference
from autocast.metrics.streams import SpectrumStream, TermStream
from autocast.metrics.terms import Window
from autocast.simulators.simulator import Simulator
from autocast.types import FieldSpec

OnEvent = Callable[[str, dict[str, Any]], None]
Observer = Callable[[TrajectoryBatch, int, Window], None]
"""Looks at a window of a forecast as it comes; its first frame has lead time `start + 1`."""


class OnExample(Protocol):
    """Is told of a trajectory that was rolled out to its end."""

    def __call__(self, example: Example, spec: FieldSpec) -> None: ...


class Watching(Stream, Protocol):
    """A stream that looks at the model's windows."""

    def add(self, batch: TrajectoryBatch, start: int, window: Window) -> None: ...


class Work:
    """What is rolled out on one device, and what watches it.

    Args:
        model: In evaluation mode, on `device`.
        datamodule: Its training split gives the baselines.
        plan: Of the whole evaluation.
        device: Of the model.
        on_event: Told of "note", "progress" and "scored".
        simulators: By the names of the baselines that they are.
        on_example: Told of every example as soon as it is complete.
        fitted: A calibration that is shown beside the model.
    """

    def __init__(
        self,
        model: Forecasts,
        datamodule: EvaluationData,
        plan: Plan,
        device: torch.device,
        on_event: OnEvent,
        simulators: Mapping[str, Simulator],
        on_example: OnExample | None = None,
        fitted: Fitted | None = None,
    ):
        self.plan = plan
        self.on_event = on_event
        self.simulators = simulators
        self.model_forecaster = ModelForecaster(model, plan.n_members, plan.settings.seed, device, plan.max_rows)
        compile_where_it_pays(self.model_forecaster, plan, lambda text: on_event("note", {"text": text}))
        self.simulator_forecasters = _simulated(model, datamodule, plan, device, simulators)
        self.forecasters: dict[str, Forecaster] = {
            MODEL: self.model_forecaster,
            **_baselines(model, datamodule, plan, device),
            **self._other_rollout(model),
            **self.simulator_forecasters,
        }
        names = list(self.forecasters)
        self.streams = {name: plan.term_stream(plan.n_members if name == MODEL else 1) for name in names}
        self.spectra = {name: plan.spectrum_stream() for name in names if name in (MODEL, RECONSTRUCTION)}
        self.examples = ExampleCollector(
            plan.examples,
            scalar_names=plan.spec.scalar_names,
            on_complete=functools.partial(on_example, spec=plan.spec) if on_example else None,
        )
        self.usage = LatentUsageStream(model) if isinstance(model, AutoencoderModel) else None
        self.kept: dict[str, Stream] = {"timing": self.model_forecaster.stopwatch}
        self.kept |= {f"cost/{name}": forecaster.stopwatch for name, forecaster in self.simulator_forecasters.items()}
        self.kept |= {f"scores/{name}": stream for name, stream in self.streams.items()}
        self.kept |= {f"spectra/{name}": stream for name, stream in self.spectra.items()}
        self._observers = {name: _observers(name, self.streams, self.spectra) for name in names}
        self._n_done, self._n_scored = 0, 0
        self.watch("examples", self.examples)
        if self.usage is not None:
            self.watch("latents", self.usage)
        self.histograms = self._fit_histograms()
        self.calibrated = None if fitted is None else self._watch_calibrated(fitted)

    @property
    def timing(self) -> dict[str, Any]:
        """Of the model, and of baselines that are no matter of a moment."""
        own = self.model_forecaster.timing()
        baselines = {name: forecaster.timing() for name, forecaster in self.simulator_forecasters.items()}
        return {**own, "baselines": baselines} if baselines else own

    @property
    def n_steps(self) -> int:
        """Of all forecasters and trajectories."""
        beyond = len(self.plan.stress_trajectories) * (self.plan.settings.stress or 0)
        return sum(self.plan.lengths) * len(self.forecasters) + beyond

    def watch(self, name: str, stream: Watching) -> None:
        """From now on it sees the model's windows, and its part is kept under a name."""
        self.kept[name] = stream
        self._observers[MODEL].append(stream.add)

    def roll_out(self, groups: Sequence[Sequence[int]], parts: Parts | None) -> None:
        """Every forecaster over every group of trajectories; a window is seen by its observers and forgotten."""
        for numbers in groups:
            batch = self.plan.test.read(numbers)
            reference = Reference.of(batch.truth, self.plan.grid.n_dims)
            for name, forecaster in self.forecasters.items():
                start = 0
                for forecast in forecaster(batch):
                    window = _window(batch, start, forecast, self.plan.grid, reference)
                    for observe in self._observers[name]:
                        observe(batch, start, window)
                    start += window.truth.shape[1]
                    self.progress(window.truth.shape[1] * len(numbers))
            if parts:
                parts.keep(numbers, self.kept)
                self.scored(len(numbers))

    def _other_rollout(self, model: Forecasts) -> dict[str, Forecaster]:
        """One member, by the name of its mode."""
        other = in_other_mode(model) if self.plan.settings.other_rollout else None
        first = self.model_forecaster
        return {other.mode: ModelForecaster(other, 1, first.seed, first.device, first.max_rows)} if other else {}

    def _fit_histograms(self) -> ScoreHistograms | None:
        plan = self.plan
        if plan.split != VALID or plan.settings.calibrate != CONFORMAL:
            return None
        histograms = ScoreHistograms(plan.lengths, plan.spec.n_channels)
        self.watch("histograms", histograms)
        return histograms

    def _watch_calibrated(self, fitted: Fitted) -> Watched:
        watched = Watched(self.plan, fitted)
        for name, stream in watched.streams.items():
            self.watch(name, stream)
        if watched.ensemble is not None:
            self.streams[CALIBRATED] = watched.ensemble.scores
        return watched

    def progress(self, n_steps: int) -> None:
        """So many more are done."""
        self._n_done += n_steps
        self.on_event("progress", {"done": self._n_done, "total": self.n_steps})

    def scored(self, n_trajectories: int) -> None:
        """So many more are in parts."""
        self._n_scored += n_trajectories
        self.on_event("scored", {"step": self._n_scored, "n_trajectories": self.plan.n_rollouts})


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


def _simulated(
    model: Forecasts,
    datamodule: EvaluationData,
    plan: Plan,
    device: torch.device,
    simulators: Mapping[str, Simulator],
) -> dict[str, SimulatorForecaster]:
    sizes = {"stride": model.stride, "n_steps_output": model.n_steps_output}
    names = [name for name in plan.settings.baselines if name in SIMULATORS]
    return {name: SimulatorForecaster(simulators[name], datamodule.spec, **sizes, device=device) for name in names}


def _observers(name: str, streams: Mapping[str, TermStream], spectra: Mapping[str, SpectrumStream]) -> list[Observer]:
    streams_of_name: list[TermStream | SpectrumStream] = [streams[name]]
    if name in spectra:
        streams_of_name.append(spectra[name])
    return [_measuring(stream) for stream in streams_of_name]


def _measuring(stream: TermStream | SpectrumStream) -> Observer:
    return lambda batch, start, window: stream.add(batch.numbers, start, window)


def _window(batch: TrajectoryBatch, start: int, forecast: torch.Tensor, grid: Grid, reference: Reference) -> Window:
    """A forecast beside its truth, on the forecast's device and in single precision at least."""
    dtype = torch.promote_types(forecast.dtype, torch.float32)
    truth = batch.truth[:, start : start + forecast.shape[2]]
    device = forecast.device
    return Window(truth.to(device, dtype), forecast.to(dtype), grid, reference.to(device, dtype))
