"""A run that is bounded by wall-clock, under a clock that only the toy model moves."""

from __future__ import annotations

import functools
import itertools
import json
import math
import random

import pytest
import torch
from lightning.pytorch.callbacks import Callback

from autocast.signals import StoppedError, StopRequest
from autocast.training import fit as fitting
from autocast.training.budget import Budget
from autocast.training.checkpoints import newest_valid

SECONDS = 400.0


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch):
    """Of all budgets."""
    clock = Clock()
    monkeypatch.setattr(fitting, "Budget", functools.partial(Budget, clock=clock))
    return clock


def slow(toy, clock, seed=0):
    """A toy model whose steps take about a second, every tenth three, and validations half of that a batch."""
    draws = random.Random(seed)

    class Slow(toy.ToyModel):
        def loss(self, batch, noise):
            seconds = draws.uniform(0.7, 1.3) * (3 if draws.random() < 0.1 else 1)
            clock.now += seconds if self.training else seconds / 2
            return super().loss(batch, noise)

    return Slow()


class StopAt(Callback):
    """Asks for a stop at a time."""

    def __init__(self, clock, now, stop):
        self.clock, self.now, self.stop = clock, now, stop

    def on_train_batch_end(self, *_):
        if self.clock.now >= self.now:
            self.stop.ask("SIGUSR2")


def rate_of(file):
    return torch.load(file, weights_only=True)["optimizer_states"][0]["param_groups"][0]["lr"]


@pytest.mark.parametrize("seed", range(3))
def test_the_schedule_ends_where_the_time_ends_over_restarts(train, toy, clock, tmp_path, seed):
    file = tmp_path / "epd/checkpoints"
    attempts = [90.0, 240.0, math.inf]
    used = 0.0
    for attempt, until in enumerate(attempts):
        stop = StopRequest()
        options = {"resume_from": newest_valid(file)} if attempt else {}
        started = clock.now
        callbacks = {"stop": StopAt(clock, started + until - used, stop)}
        arguments = {"max_epochs": -1, "budget": SECONDS, "callbacks": callbacks, "stop": stop, **options}
        if math.isfinite(until):
            with pytest.raises(StoppedError):
                train(slow(toy, clock, seed), **arguments)
        else:
            train(slow(toy, clock, seed), **arguments)
        used += clock.now - started
        clock.now += 1000.0  # the time between two attempts is nobody's
    assert 0.93 * SECONDS < used < SECONDS
    assert rate_of(file / "last.ckpt") == pytest.approx(0.03 * 0.01, rel=0.005)
    epochs = [json.loads(line) for line in (tmp_path / "epd/metrics.jsonl").read_text().splitlines()]
    assert [record["epoch"] for record in epochs] == list(range(1, len(epochs) + 1))
    assert "val/objective" in epochs[-1]


def test_the_rate_follows_the_time_and_not_the_steps(train, toy, clock):
    seen = []

    class Look(Callback):
        def on_train_batch_end(self, trainer, module, *_):
            seen.append((module.budget.share, trainer.optimizers[0].param_groups[0]["lr"] / 0.03))

    train(slow(toy, clock), max_epochs=-1, budget=SECONDS, callbacks={"look": Look()})
    assert len(seen) > 150
    for share, rate in seen[10:]:
        assert rate == pytest.approx(0.01 + 0.99 * (1 + math.cos(math.pi * share)) / 2, abs=0.02)


def test_epochs_and_steps_still_bound_a_run_with_time_to_spare(train, toy, clock):
    summary = train(slow(toy, clock), max_epochs=3, budget=1e6)
    assert summary.epochs == 3
    assert rate_of(summary.checkpoint_file.parent / "epd/checkpoints/last.ckpt") == pytest.approx(3e-4)


def test_a_budget_that_is_used_up_trains_no_further(train, toy, clock, tmp_path):
    train(slow(toy, clock), max_epochs=-1, budget=40.0)
    last = newest_valid(tmp_path / "epd/checkpoints")
    before, started = torch.load(last, weights_only=True)["global_step"], clock.now
    summary = train(slow(toy, clock), max_epochs=-1, budget=40.0, resume_from=last)
    assert (summary.steps, clock.now) == (before, started)


def test_a_first_epoch_that_is_too_long_ends_in_time(train, toy, clock):
    data = toy.ToyData(n=3000)
    summary = train(slow(toy, clock), max_epochs=-1, budget=60.0, data=data)
    assert clock.now < 60
    assert (summary.epochs, summary.best_epoch) == (1, 1)
    assert 30 < summary.steps < 60


def test_there_is_no_length_before_the_first_step():
    clock, agreement = itertools.count(), type("Alone", (), {"greatest": lambda self, *n: list(n)})()
    budget = Budget(100.0, agreement, clock=lambda: float(next(clock)))
    assert budget.total_steps(0) == budget.total_steps(7) == math.inf
