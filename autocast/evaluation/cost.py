"""What a trained model costs: parameters, operations, time and memory of a window and of a whole rollout.

A step's row is one window, from initial frames in physical units to the forecast in physical units; a rollout's row
goes on from there. Both are of the same initial frames and the same members.
"""

from __future__ import annotations

import functools
import itertools
import math
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import nn

from autocast.data.trajectories import Trajectories
from autocast.evaluation.compilation import compile_anyway
from autocast.evaluation.forecasters import ModelForecaster
from autocast.evaluation.memory import host_memory_left, peak_bytes
from autocast.evaluation.settings import AUTO
from autocast.evaluation.trajectory_batches import TestTrajectories
from autocast.nn.flops import counting_flops
from autocast.nn.memory import is_out_of_memory

STEP, ROLLOUT = "step", "rollout"
MEASURED, OUT_OF_MEMORY, OUT_OF_TIME = "measured", "out of memory", "out of time"
MAX_REPEATS = 100
MIN_REPEATS = 3
"""That a rollout is cut short for, so that there is a spread; a step has more."""
N_WARM = 2
"""Calls before the timed ones; with CUDA graphs the second one records."""
N_FIRST_WINDOWS = 3
"""Of a rollout: it has taken all the memory that it takes, and later windows are compiled as these."""

Progress = Callable[[int, int], None]
"""Told the measurements that are done and those that there will be."""
Note = Callable[[str], None]


@dataclass(frozen=True)
class CostSettings:
    """What is measured."""

    members: tuple[int, ...] = (1, 8)
    """Of a forecast that is not deterministic."""
    batch_sizes: tuple[int, ...] = (1, 4)
    """Trajectories in a model call."""
    n_steps: int | None = None
    """Of a rollout; None is to the end of the shortest test trajectory."""
    seconds: float = 60.0
    """For all measurements, compilation left out; what has begun is finished."""
    compile: bool | str = AUTO
    """Whether forecasts are compiled; "auto" is on a GPU where there is a compiler."""


@dataclass(frozen=True)
class Measurement:
    """The cost of one call; seconds and bytes are None where it could not be made."""

    what: str
    """`STEP` or `ROLLOUT`."""
    batch_size: int
    n_members: int
    n_steps: int
    """Steps forecast by the call; a rollout may be cut short to save time."""
    n_windows: int
    status: str = MEASURED
    seconds: float | None = None
    """Median over the repeats."""
    seconds_q1: float | None = None
    seconds_q3: float | None = None
    n_repeats: int = 0
    peak_memory: int | None = None
    """Bytes of tensors at once, without weights and inputs."""
    detail: str = ""
    """Why it could not be made."""

    @property
    def n_rows(self) -> int:
        return self.batch_size * self.n_members

    @property
    def steps_per_second(self) -> float | None:
        """Steps of single trajectories, each member one."""
        return None if self.seconds is None else self.n_rows * self.n_steps / self.seconds


@dataclass(frozen=True)
class ModelCost:
    """What was measured of a model."""

    n_parameters: int
    n_trained: int
    weight_bytes: int
    """Of parameters and buffers."""
    flops_per_step: float | None
    """Of one member of one trajectory; None where counting took more memory than there is."""
    n_steps: int
    """Of a whole rollout."""
    compiled: bool
    rows: tuple[Measurement, ...]

    @property
    def single(self) -> Measurement | None:
        """The rollout of one member of one trajectory, if it could be measured."""
        found = (row for row in self.rows if row.what == ROLLOUT and row.n_rows == 1 and row.status == MEASURED)
        return next(found, None)

    @property
    def rollout_seconds(self) -> float | None:
        """Of a whole rollout of one member of one trajectory, in proportion where it was cut short."""
        row = self.single
        return None if row is None or row.seconds is None else row.seconds * self.n_steps / row.n_steps


class Clock:
    """A time limit, shared out evenly among what is still to be measured."""

    def __init__(self, seconds: float, n_measurements: int):
        self._until = time.monotonic() + seconds
        self._n_left = n_measurements

    @property
    def is_over(self) -> bool:
        return time.monotonic() >= self._until

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Inside, no time passes."""
        start = time.monotonic()
        yield
        self._until += time.monotonic() - start

    def share(self) -> float:
        """Seconds for the next measurement; every call is one."""
        left = max(0.0, self._until - time.monotonic()) / max(self._n_left, 1)
        self._n_left -= 1
        return left


@torch.no_grad()
def measure_model(
    model: Any,
    test: Trajectories,
    settings: CostSettings,
    *,
    device: torch.device,
    trains_autoencoder: bool,
    progress: Progress,
    note: Note,
) -> ModelCost:
    """Counts and times a model on the first frames of test trajectories.

    Args:
        model: In evaluation mode, on `device`.
        test: Its first trajectories are forecast, in turn where there are fewer than a batch has.
        settings: One member of one trajectory is measured whatever they say.
        device: Of the model.
        trains_autoencoder: Whether the autoencoder of the model was trained along.
        progress: Told of every row.
        note: Told what is not as asked for.

    Raises:
        ConfigError: Forecasts are to be compiled, and there is no compiler.
        DataError: If there is no trajectory to forecast.
    """
    source = TestTrajectories.of(model, test)
    n_steps = _rollout_length(model, source, settings, note)
    bench = _Bench(model, source, device, n_steps)
    flops = _count_flops(bench)
    bench.compiled = compile_anyway(model, device, settings.compile, bench.try_window, note)
    rows = list(_measure_rows(bench, _sizes(model, settings, note), settings.seconds, progress))
    if any(row.what == ROLLOUT and row.status == MEASURED and row.n_steps < n_steps for row in rows):
        note(f"rollouts are cut short of {n_steps} steps where time is short; more --seconds are more steps.")
    n_parameters, n_trained = count_parameters(model, trains_autoencoder=trains_autoencoder)
    weights = itertools.chain(model.parameters(), model.buffers())
    return ModelCost(
        n_parameters=n_parameters,
        n_trained=n_trained,
        weight_bytes=sum(x.numel() * x.element_size() for x in weights),
        flops_per_step=flops,
        n_steps=n_steps,
        compiled=bench.compiled,
        rows=tuple(rows),
    )


def count_parameters(model: nn.Module, *, trains_autoencoder: bool) -> tuple[int, int]:
    """All, and those that its training changed. A loaded autoencoder is frozen, whatever it was in the training."""
    n_trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    frozen = [p for p in model.parameters() if not p.requires_grad]
    n_frozen = sum(p.numel() for p in frozen)
    return n_trained + n_frozen, n_trained + (n_frozen if trains_autoencoder else 0)


def count_forecast_flops(forecaster: ModelForecaster, batch: Any) -> int:
    """Operations of one window of all members of a batch."""
    with counting_flops() as counter:
        next(forecaster.windows(batch, forecaster.model.n_steps_output))
    return counter.total


def time_calls(call: Callable[[], Any], device: torch.device, seconds: float) -> list[float]:
    """Seconds of each of some calls, at least one and no more than `MAX_REPEATS`, as long as time is left."""
    taken: list[float] = []
    until = time.perf_counter() + seconds
    while not taken or (len(taken) < MAX_REPEATS and time.perf_counter() + taken[-1] <= until):
        _synchronise(device)
        start = time.perf_counter()
        call()
        _synchronise(device)
        taken.append(time.perf_counter() - start)
    return taken


def quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    """First quartile, median and third."""
    first, median, third = np.percentile(values, [25, 50, 75])
    return float(first), float(median), float(third)


class _Bench:
    """Forecasts of any size from the same initial frames."""

    def __init__(self, model: Any, source: TestTrajectories, device: torch.device, n_steps: int):
        self.model = model
        self.device = device
        self.n_steps = n_steps
        self.compiled = False
        self._source = source

    def batch(self, batch_size: int) -> Any:
        """On the device; only a reconstruction looks at the truth."""
        n_steps = self.n_steps if self.model.reconstructs else 0
        return self._source.beginning(batch_size, n_steps).to(self.device)

    def forecaster(self, n_members: int) -> ModelForecaster:
        return ModelForecaster(self.model, n_members, 0, self.device)

    def try_window(self) -> None:
        """A first call, whose time does not count."""
        next(self.forecaster(1).windows(self.batch(1), self.model.n_steps_output))

    def n_windows(self, n_steps: int) -> int:
        return math.ceil(n_steps / self.model.n_steps_output)


def _count_flops(bench: _Bench) -> float | None:
    try:
        return count_forecast_flops(bench.forecaster(1), bench.batch(1)) / bench.model.n_steps_output
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        return None


def _rollout_length(model: Any, source: TestTrajectories, settings: CostSettings, note: Note) -> int:
    known = min(source.lengths)
    if settings.n_steps is None:
        return known
    if model.reconstructs and settings.n_steps > known:
        note(f"--steps {settings.n_steps}: an autoencoder reconstructs what is there, {known} steps.")
        return known
    return settings.n_steps


def _sizes(model: Any, settings: CostSettings, note: Note) -> list[tuple[int, int]]:
    """Batch size and members of every row, the smallest first; one of each is always there."""
    members = {1} if model.deterministic else {1, *settings.members}
    if model.deterministic and not model.reconstructs and set(settings.members) - {1}:
        note("its forecasts are deterministic: one member.")
    sizes = itertools.product({1, *settings.batch_sizes}, members)
    return sorted(sizes, key=lambda size: (size[0] * size[1], size))


def _measure_rows(
    bench: _Bench, sizes: Sequence[tuple[int, int]], seconds: float, progress: Progress
) -> Iterator[Measurement]:
    clock, total = Clock(seconds, 2 * len(sizes)), 2 * len(sizes)
    largest: Measurement | None = None
    progress(0, total)
    for i, (batch_size, n_members) in enumerate(sizes):
        step = _measure_step(bench, batch_size, n_members, largest, clock)
        progress(2 * i + 1, total)
        rollout = _measure_rollout(bench, step, clock)
        progress(2 * i + 2, total)
        largest = rollout if rollout.peak_memory else largest
        yield from (step, rollout)


def _measure_step(
    bench: _Bench, batch_size: int, n_members: int, smaller: Measurement | None, clock: Clock
) -> Measurement:
    n_steps = min(bench.model.n_steps_output, bench.n_steps)
    row = Measurement(STEP, batch_size, n_members, n_steps, n_windows=1)
    if clock.is_over:
        clock.share()
        return replace(row, status=OUT_OF_TIME)
    if too_much := _too_much(bench.device, row.n_rows, smaller):
        clock.share()
        return replace(row, status=OUT_OF_MEMORY, detail=too_much)
    return _filled(bench, row, clock)


def _measure_rollout(bench: _Bench, step: Measurement, clock: Clock) -> Measurement:
    """As many windows as there is time for; where a step could not be measured, neither is it."""
    row = replace(step, what=ROLLOUT, n_steps=bench.n_steps, n_windows=bench.n_windows(bench.n_steps))
    if step.status != MEASURED or step.seconds is None:
        clock.share()
        return row
    if clock.is_over:
        clock.share()
        return Measurement(ROLLOUT, row.batch_size, row.n_members, row.n_steps, row.n_windows, OUT_OF_TIME)
    return _filled(bench, row, clock, step.seconds)


def _filled(bench: _Bench, row: Measurement, clock: Clock, seconds_per_window: float | None = None) -> Measurement:
    """A row with its figures, or with what there was no memory for."""
    share = clock.share()
    if seconds_per_window is not None:
        n_affordable = max(1, int(share / seconds_per_window / MIN_REPEATS))
        if n_affordable < row.n_windows:
            n_steps = n_affordable * bench.model.n_steps_output
            row = replace(row, n_steps=n_steps, n_windows=n_affordable)
    try:
        return _timed(bench, row, share, clock)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        detail = str(error).partition("\n")[0]
    if bench.device.type == "cuda":
        torch.cuda.empty_cache()
    empty = Measurement(row.what, row.batch_size, row.n_members, row.n_steps, row.n_windows)
    return replace(empty, status=OUT_OF_MEMORY, detail=detail)


def _timed(bench: _Bench, row: Measurement, seconds: float, clock: Clock) -> Measurement:
    forecaster, batch = bench.forecaster(row.n_members), bench.batch(row.batch_size)

    def call(n_windows: int = row.n_windows) -> None:
        """Windows one by one, as a user streams them."""
        deque(itertools.islice(forecaster.windows(batch, row.n_steps), n_windows), maxlen=0)

    few = functools.partial(call, min(N_FIRST_WINDOWS, row.n_windows))
    with torch.compiler.set_stance("force_eager"):
        peak = peak_bytes(few, bench.device)
    with clock.stopped() if bench.compiled else nullcontext():
        for _ in range(N_WARM if row.what == STEP or bench.compiled else 0):  # a rollout's step was warm already
            few()
    first, median, third = quartiles(taken := time_calls(call, bench.device, seconds))
    return replace(
        row,
        status=MEASURED,
        seconds=median,
        seconds_q1=first,
        seconds_q3=third,
        n_repeats=len(taken),
        peak_memory=peak,
    )


def _too_much(device: torch.device, n_rows: int, smaller: Measurement | None) -> str:
    """Why a call need not be tried: a CPU's system may end a program that asks for too much, instead of refusing."""
    if device.type == "cuda" or smaller is None or smaller.peak_memory is None:
        return ""
    wanted, left = smaller.peak_memory * n_rows / smaller.n_rows, host_memory_left()
    return f"needs about {wanted / 1e9:.3g} GB of {left / 1e9:.3g} GB" if wanted > left else ""


def _synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
