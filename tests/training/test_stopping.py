"""What happens to a training that is asked to stop."""

from __future__ import annotations

import functools
import os
import signal
from pathlib import Path

import lightning as L
import pytest
from lightning.fabric.plugins.environments import SLURMEnvironment
from lightning.pytorch.callbacks import Callback, EarlyStopping

from autocast.signals import StoppedError, StopRequest

SLURM = {"NTASKS": "1", "JOB_NAME": "train", "JOB_ID": "1", "PROCID": "0", "LOCALID": "0", "NODEID": "0", "NNODES": "1"}
TORCHRUN = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "GROUP_RANK": "0", "TORCHELASTIC_RUN_ID": "1"}


@pytest.fixture(params=["plain", "slurm", "torchrun", "torchrun in slurm"])
def environment(request, monkeypatch) -> str:
    if "slurm" in request.param:
        for name, value in SLURM.items():
            monkeypatch.setenv(f"SLURM_{name}", value)
    if "torchrun" in request.param:
        for name, value in TORCHRUN.items():
            monkeypatch.setenv(name, value)
    return request.param


class SignalAt(Callback):
    """Gets this process a signal in an optimiser step, and keeps the trainer."""

    def __init__(self, step: int, number: signal.Signals = signal.SIGTERM):
        self.step, self.number = step, number
        self.trainer: L.Trainer | None = None

    def on_before_optimizer_step(self, trainer: L.Trainer, *_) -> None:
        self.trainer = trainer
        if trainer.global_step + 1 == self.step:
            os.kill(os.getpid(), self.number)


def stopped(train, toy, step, number=signal.SIGTERM, callbacks=None, **options):
    """How a training ends that gets a signal in a step: four steps are an epoch."""
    stop, sender = StopRequest(), SignalAt(step, number)
    own = {"ema": toy.WarmupEMA(decay=0.9), "sender": sender, **(callbacks or {})}
    with stop.catching(signal.SIGUSR2, signal.SIGTERM):
        try:
            return train(stop=stop, callbacks=own, **options), sender.trainer
        except StoppedError as error:
            return error, sender.trainer


def last(run_dir: Path) -> Path:
    return run_dir / "epd/checkpoints/last.ckpt"


@pytest.mark.parametrize("number", [signal.SIGUSR2, signal.SIGTERM])
def test_every_environment_leaves_the_signals_to_us(train, toy, tmp_path, environment, number):
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGUSR1)
    error, trainer = stopped(train, toy, 6, number)
    assert (error.reason, error.epoch, error.step) == (number.name, 1, 6)
    assert toy.load(last(tmp_path))["global_step"] == 6
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGUSR1)) == before
    cluster = trainer._accelerator_connector.cluster_environment
    assert isinstance(cluster, SLURMEnvironment) == (environment == "slurm")
    assert not isinstance(cluster, SLURMEnvironment) or not cluster.auto_requeue


def test_an_epochs_end_is_completed_first(train, toy, tmp_path):
    error, _ = stopped(train, toy, 4)
    assert (error.epoch, error.step) == (1, 4)
    assert (tmp_path / "epd/metrics.jsonl").read_text().count("val/objective") == 1


def test_an_accumulation_is_completed_first(train, toy, tmp_path):
    stop = StopRequest()
    stop.ask("SIGUSR2")
    with pytest.raises(StoppedError) as found:
        train(stop=stop, trainer_options={"accumulate_grad_batches": 3}, max_epochs=2)
    assert found.value.step == 1
    assert toy.load(last(tmp_path))["loops"]["fit_loop"]["epoch_loop.batch_progress"]["current"]["ready"] == 3


@pytest.mark.parametrize(
    ("step", "options"),
    [
        (12, {"max_epochs": 3}),
        (6, {"max_epochs": -1, "trainer_options": {"max_steps": 6}}),
        (8, {"max_epochs": 9, "callbacks": {"stopper": EarlyStopping("val/objective", patience=1, min_delta=9.0)}}),
    ],
)
def test_a_training_that_is_complete_anyway_is_not_stopped(train, toy, step, options):
    summary, _ = stopped(train, toy, step, **options)
    assert summary.steps == step


def test_a_minimum_of_epochs_does_not_outlast_the_request(train, toy):
    """Lightning leaves `should_stop` set where early stopping has to wait for the minimum."""
    stopper = EarlyStopping("val/objective", patience=1, min_delta=9.0)
    options = {"max_epochs": 9, "trainer_options": {"min_epochs": 5}, "callbacks": {"stopper": stopper}}
    error, _ = stopped(train, toy, 14, **options)
    assert isinstance(error, StoppedError)
    assert error.step == 14


def test_a_termination_before_the_first_step_loses_nothing(train, toy, tmp_path):
    """Here Lightning's handler is still in place, after which it leaves within the first accumulation."""
    calls = []

    class Data(toy.ToyData):
        def val_dataloader(self):
            calls.append(os.kill(os.getpid(), signal.SIGTERM))
            return super().val_dataloader()

    options = {"data": Data(), "trainer_options": {"accumulate_grad_batches": 2}}
    error, _ = stopped(train, toy, None, **options)
    assert calls
    assert (error.reason, error.step) == ("SIGTERM", 0)


def test_a_request_of_the_caller_needs_no_signal(train, toy):
    stop = StopRequest()
    stop.ask("SIGINT")
    with pytest.raises(KeyboardInterrupt):
        train(stop=stop)


def test_the_rate_of_a_stopped_run_goes_on(train, toy, tmp_path):
    whole = functools.partial(train, run_dir=tmp_path / "a", max_epochs=3)
    whole()
    stopped(train, toy, 7, run_dir=tmp_path / "b", max_epochs=3)
    train(run_dir=tmp_path / "b", max_epochs=3, resume_from=last(tmp_path / "b"))
    a, b = (toy.load(last(tmp_path / name))["lr_schedulers"] for name in ("a", "b"))
    assert a == b
