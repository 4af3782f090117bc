"""A run that is stopped within an epoch and resumed is the run that was never stopped."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch

from autocast.data.datamodule import FieldDataModule
from autocast.data.well_writer import well_file
from autocast.signals import StoppedError, StopRequest
from autocast.training.checkpoints import CheckpointSettings
from autocast.types import FieldSpec

STATES = ("state_dict", "current_model_state", "averaging_state", "optimizer_states", "lr_schedulers")


@pytest.fixture
def fields(toy, tmp_path: Path) -> Path:
    """A data set of 27 training windows: 5 batches of 5, and 2 windows that an epoch leaves out."""
    spec = FieldSpec("toy", ("u", "v"), ("", ""), ("x", "y"), toy.GRID, (2.0, 3.0), ("periodic", "wall"), 0.3)
    rng = np.random.default_rng(0)
    for split, n, n_steps in (("train", 3, 13), ("valid", 2, 7)):
        with well_file(tmp_path / f"toy/data/{split}/part.hdf5", spec, n_trajectories=n, n_steps=n_steps) as writer:
            for i in range(n):
                writer.write(i, rng.normal(size=(n_steps, *toy.GRID, 2)).astype(np.float32))
    return tmp_path / "toy"


def open_data(path: Path, n_workers: int, batch_size: int = 5) -> FieldDataModule:
    limits = {"memory_limit": 0.0, "n_workers": n_workers}
    return FieldDataModule(path, n_steps_input=3, n_steps_output=2, batch_size=batch_size, **limits)


def recorder(toy, seen: list[list[int]], signal_after: int | None = None):
    """A model that notes which windows it is trained on, and in some batch gets a signal."""

    class Recorder(toy.ToyModel):
        def loss(self, batch, noise):
            terms = super().loss(batch, noise)
            if self.training:
                seen.append((100 * batch.trajectory + batch.start).tolist())
                if len(seen) == signal_after:
                    os.kill(os.getpid(), signal.SIGUSR2)
            return terms

    return Recorder(noise=0.2)


def last(run_dir: Path) -> Path:
    return run_dir / "epd/checkpoints/last.ckpt"


def records(run_dir: Path) -> list[dict[str, float]]:
    lines = (run_dir / "epd/metrics.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if k != "seconds"} for line in lines]


def assert_equal_states(a, b, path=""):
    if isinstance(a, torch.Tensor):
        assert torch.equal(a, b), path
    elif isinstance(a, dict):
        assert a.keys() == b.keys(), path
        for key in a:
            assert_equal_states(a[key], b[key], f"{path}.{key}")
    elif isinstance(a, list | tuple):
        assert len(a) == len(b), path
        for i, (x, y) in enumerate(zip(a, b, strict=True)):
            assert_equal_states(x, y, f"{path}[{i}]")
    else:
        assert a == b, path


@pytest.mark.parametrize("n_workers", [0, 2])
@pytest.mark.parametrize(("accumulate", "stops"), [(1, (1, 7, 10, 14)), (2, (1, 8, 10))])
def test_a_stopped_run_ends_as_one_that_was_not(train, toy, fields, tmp_path, n_workers, accumulate, stops):
    """Stopped in the first batch, within epochs, and in an epoch's last batch; five batches are an epoch."""
    options = {"max_epochs": 3, "trainer_options": {"accumulate_grad_batches": accumulate}}
    undisturbed: list[list[int]] = []
    train(recorder(toy, undisturbed), data=open_data(fields, 0), run_dir=tmp_path / "a", **options)

    seen: list[list[int]] = []
    resume_from = None
    for after in stops:
        stop = StopRequest()
        model, data = recorder(toy, seen, after), open_data(fields, n_workers)
        with stop.catching(signal.SIGUSR2), pytest.raises(StoppedError) as stopped:
            train(model, data=data, run_dir=tmp_path / "b", resume_from=resume_from, stop=stop, **options)
        resume_from = last(tmp_path / "b")
        assert stopped.value.reason == "SIGUSR2"
        assert stopped.value.step == toy.load(resume_from)["global_step"]
        assert stopped.value.epoch == len(seen) // 5
    data = open_data(fields, n_workers)
    train(recorder(toy, seen), data=data, run_dir=tmp_path / "b", resume_from=resume_from, **options)

    assert seen == undisturbed
    a, b = (toy.load(last(tmp_path / name)) for name in ("a", "b"))
    for key in STATES:
        assert_equal_states(a[key], b[key], key)
    assert records(tmp_path / "a") == records(tmp_path / "b")


@pytest.mark.parametrize("n_workers", [0, 2])
def test_an_epochs_end_is_continued_with_the_next_epochs_order(train, toy, fields, tmp_path, n_workers):
    whole: list[list[int]] = []
    parts: list[list[int]] = []
    train(recorder(toy, whole), data=open_data(fields, 0), run_dir=tmp_path / "a", max_epochs=3)
    train(recorder(toy, parts), data=open_data(fields, n_workers), run_dir=tmp_path / "b", max_epochs=1)
    resumed = {"resume_from": last(tmp_path / "b"), "max_epochs": 3}
    train(recorder(toy, parts), data=open_data(fields, n_workers), run_dir=tmp_path / "b", **resumed)
    assert parts == whole


def test_a_checkpoint_by_the_clock_continues_within_the_epoch(train, toy, fields, tmp_path):
    """As after kill -9: what came after the checkpoint is trained again, with the same batches."""
    whole: list[list[int]] = []
    again: list[list[int]] = []
    every_step = CheckpointSettings(every_n_minutes=1e-9)
    kept = tmp_path / "kept.ckpt"

    def keep(event, values):
        if event == "checkpoint" and values["step"] == 8:
            kept.write_bytes(Path(values["file"]).read_bytes())

    train(recorder(toy, whole), data=open_data(fields, 0), checkpoint=every_step, on_event=keep, max_epochs=2)
    train(recorder(toy, again), data=open_data(fields, 0), run_dir=tmp_path / "b", resume_from=kept, max_epochs=2)
    assert again == whole[8:]


def test_a_limited_epoch_is_continued_too(train, toy, fields, tmp_path):
    """Three of five batches are an epoch."""
    options = {"max_epochs": 2, "trainer_options": {"limit_train_batches": 3}}
    whole: list[list[int]] = []
    parts: list[list[int]] = []
    train(recorder(toy, whole), data=open_data(fields, 0), run_dir=tmp_path / "a", **options)
    stop = StopRequest()
    with stop.catching(signal.SIGUSR2), pytest.raises(StoppedError):
        train(recorder(toy, parts, 5), data=open_data(fields, 0), run_dir=tmp_path / "b", stop=stop, **options)
    train(
        recorder(toy, parts),
        data=open_data(fields, 0),
        run_dir=tmp_path / "b",
        resume_from=last(tmp_path / "b"),
        **options,
    )
    assert len(whole) == 6
    assert parts == whole


@pytest.mark.parametrize(
    ("batch_size", "accumulate", "first"),
    [(2, 2, 8), (5, 3, 0), (9, 1, 9), (27, 1, 0)],
)
def test_a_place_is_one_in_the_samples_whatever_the_batch_size(
    train, toy, fields, tmp_path, batch_size, accumulate, first
):
    """Two batches of five are trained. Whole steps of the new size count; some may come again, none is left out."""
    seen: list[list[int]] = []
    stop = StopRequest()
    with stop.catching(signal.SIGUSR2), pytest.raises(StoppedError):
        train(recorder(toy, seen, 2), data=open_data(fields, 0), stop=stop, max_epochs=2)
    resumed: list[list[int]] = []
    data = open_data(fields, 0, batch_size)
    options = {"accumulate_grad_batches": accumulate}
    train(recorder(toy, resumed), data=data, resume_from=last(tmp_path), max_epochs=2, trainer_options=options)
    order = data.train_dataloader().sampler.order(0)
    windows = [int(100 * i + j) for i, j in zip(*data.windows("train").locate(order), strict=True)]
    n_epoch = 27 // batch_size * batch_size
    assert [i for batch in resumed for i in batch][: n_epoch - first] == windows[first:n_epoch]
    assert [record["epoch"] for record in records(tmp_path)] == [1, 2]
    assert len(resumed) == (n_epoch - first) // batch_size + 27 // batch_size
