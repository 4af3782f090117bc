import functools
import json
import os
import shutil
import signal

import pytest
import torch
from lightning.pytorch import Callback
from pytorch_optimizer.optimizer.soap import SOAP
from rich.console import Console

from autocast.errors import CheckpointError
from autocast.training.checkpoints import CheckpointSettings, link
from autocast.training.progress import Display


def epochs(run_dir):
    lines = (run_dir / "epd" / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line)["epoch"] for line in lines]


def last(run_dir):
    return run_dir / "epd" / "checkpoints" / "last.ckpt"


ADAMW = functools.partial(torch.optim.AdamW, lr=0.03)
SOAP = functools.partial(SOAP, lr=0.03, precondition_frequency=3)


@pytest.mark.parametrize(("noise", "optimizer"), [(0.0, ADAMW), (0.2, ADAMW), (0.0, SOAP)])
def test_resuming_at_an_epochs_end_is_exact(train, toy, tmp_path, noise, optimizer):
    recipe = {"max_epochs": 4, "optimizer": optimizer}
    train(toy.ToyModel(noise=noise), run_dir=tmp_path / "whole", **recipe)

    parts = tmp_path / "parts"
    train(toy.ToyModel(noise=noise), run_dir=parts, callbacks={**_ema(toy), "stop": StopAfter(2)}, **recipe)
    assert epochs(parts) == [1, 2]
    train(toy.ToyModel(noise=noise), run_dir=parts, resume_from=last(parts), **recipe)

    a, b = (toy.load(last(tmp_path / name)) for name in ("whole", "parts"))
    for key in ("state_dict", "current_model_state", "averaging_state", "optimizer_states", "lr_schedulers"):
        assert toy.states_are_equal(a[key], b[key]), key
    assert epochs(tmp_path / "parts") == [1, 2, 3, 4]
    assert a["callbacks"]["BestObjective"] == b["callbacks"]["BestObjective"]


def test_an_optimiser_of_an_earlier_version_is_refused_with_a_way_out(train, toy, tmp_path):
    train(max_epochs=1)
    checkpoint = toy.load(last(tmp_path))
    groups = checkpoint["optimizer_states"][0]["param_groups"]
    groups[:] = [{**groups[0], "params": [index for group in groups for index in group["params"]]}]
    torch.save(checkpoint, tmp_path / "earlier.ckpt")
    with pytest.raises(CheckpointError, match=r"earlier version.*--init-from RUN"):
        train(max_epochs=2, resume_from=tmp_path / "earlier.ckpt")


def test_the_first_line_says_from_where(train, tmp_path):
    train(max_epochs=2)
    with (tmp_path / "out.txt").open("w") as stream:
        display, events = Display(Console(file=stream, width=80)), []
        train(max_epochs=3, resume_from=last(tmp_path), display=display, on_event=lambda *e: events.append(e))
    first, second, *_ = (tmp_path / "out.txt").read_text().splitlines()
    assert first == f"resumed from {last(tmp_path)}: epoch 3 of 3, after step 8"
    assert "spans 12 steps instead of 8" in second
    assert events[0] == ("resumed", {"file": str(last(tmp_path)), "epoch": 3, "step": 8})


def test_an_extended_run_follows_the_longer_schedule(train, toy, tmp_path):
    train(max_epochs=2, run_dir=tmp_path / "a")
    train(max_epochs=4, run_dir=tmp_path / "a", resume_from=last(tmp_path / "a"))
    train(max_epochs=4, run_dir=tmp_path / "b")
    rates = [
        [json.loads(line)["lr"] for line in (tmp_path / run / "epd" / "metrics.jsonl").read_text().splitlines()]
        for run in ("a", "b")
    ]
    assert rates[0][2:] == rates[1][2:]
    assert rates[0][:2] != rates[1][:2]


@pytest.mark.parametrize("limits", [{"max_steps": 8}, {"max_steps": 7}])
def test_a_run_limited_in_steps_is_extended_without_repeating_an_epoch(train, toy, tmp_path, limits):
    train(max_epochs=-1, trainer_options=limits)
    summary = train(max_epochs=-1, trainer_options={"max_steps": 12}, resume_from=last(tmp_path))
    assert summary.steps == 12
    found = [json.loads(line) for line in (tmp_path / "epd" / "metrics.jsonl").read_text().splitlines()]
    assert [record["epoch"] for record in found] == list(range(1, len(found) + 1))
    assert all("train/loss" in record for record in found)


def test_a_finished_run_has_nothing_left_to_do(train, tmp_path):
    train(max_epochs=2)
    before = (tmp_path / "epd" / "metrics.jsonl").read_text()
    summary = train(max_epochs=2, resume_from=last(tmp_path))
    assert summary.epochs == 2
    assert (tmp_path / "epd" / "metrics.jsonl").read_text() == before


def test_metrics_and_best_follow_a_run_to_another_directory(train, toy, tmp_path):
    first = train(max_epochs=2, run_dir=tmp_path / "a")
    options = {"optimizer": functools.partial(torch.optim.AdamW, lr=0.0), "lr_scheduler": None}
    second = train(max_epochs=3, run_dir=tmp_path / "b", resume_from=last(tmp_path / "a"), **options)
    assert epochs(tmp_path / "b") == [1, 2, 3]
    assert epochs(tmp_path / "a") == [1, 2]
    assert second.checkpoint_file.is_file()
    assert first.best_epoch == 2


@pytest.mark.parametrize("max_epochs", [2, 3])
def test_an_older_checkpoint_brings_no_best_from_its_future(train, toy, tmp_path, max_epochs):
    train(max_epochs=4, run_dir=tmp_path / "a", checkpoint=CheckpointSettings(every_n_epochs=1))
    older = tmp_path / "a/epd/checkpoints/epoch-0002.ckpt"
    summary = train(max_epochs=max_epochs, run_dir=tmp_path / "b", resume_from=older)
    assert best_of(toy, summary.checkpoint_file) == summary.best_epoch
    assert best_files(tmp_path / "b") == [f"best-{summary.best_epoch:04}.ckpt"]
    assert epochs(tmp_path / "b") == list(range(1, max_epochs + 1))


def test_a_best_that_is_lost_leaves_the_checkpoint_resumed_from(train, toy, tmp_path):
    """Epoch 1 is the best, epoch 2 is resumed from, and `best-0001.ckpt` is gone."""
    still = {"optimizer": functools.partial(torch.optim.SGD, lr=0.0), "lr_scheduler": None, "callbacks": {}}
    first = train(max_epochs=2, run_dir=tmp_path / "a", **still)
    assert first.best_epoch == 1
    (tmp_path / "a/epd/checkpoints/best-0001.ckpt").unlink()
    train(max_epochs=2, run_dir=tmp_path / "b", resume_from=last(tmp_path / "a"), **still)
    assert (tmp_path / "b/encoder_processor_decoder.ckpt").samefile(last(tmp_path / "a"))
    assert best_files(tmp_path / "b") == []


def test_a_finished_run_takes_over_no_later_epoch(train, tmp_path):
    train(max_epochs=3, run_dir=tmp_path / "a", checkpoint=CheckpointSettings(every_n_epochs=1))
    older = tmp_path / "a/epd/checkpoints/epoch-0001.ckpt"
    summary = train(max_epochs=1, run_dir=tmp_path / "b", resume_from=older)
    assert (summary.epochs, epochs(tmp_path / "b")) == (1, [1])
    assert len((tmp_path / "b/epd/metrics.csv").read_text().splitlines()) == 2


def test_a_checkpoint_outside_a_run_brings_no_metrics(train, toy, tmp_path):
    train(max_epochs=2, run_dir=tmp_path / "a")
    alone = tmp_path / "elsewhere/kept/some.ckpt"
    alone.parent.mkdir(parents=True)
    shutil.copy(last(tmp_path / "a"), alone)
    shutil.copy(tmp_path / "a/epd/metrics.jsonl", tmp_path / "elsewhere/metrics.jsonl")
    shutil.copy(last(tmp_path / "a"), alone.with_name("best-0001.ckpt"))
    summary = train(max_epochs=3, run_dir=tmp_path / "b", resume_from=alone)
    assert epochs(tmp_path / "b") == [3]
    assert best_of(toy, summary.checkpoint_file) == summary.best_epoch


@pytest.mark.parametrize("max_epochs", [2, 3])
@pytest.mark.parametrize("target", ["best-0002.ckpt", "encoder_processor_decoder.ckpt"])
def test_a_best_that_a_kill_left_unnamed_is_named_on_resuming(train, toy, tmp_path, monkeypatch, max_epochs, target):
    class KilledError(Exception):
        pass

    def stop(source, name):
        if name.name == target and epochs(tmp_path) == [1, 2]:
            raise KilledError
        link(source, name)

    with monkeypatch.context() as patch:
        patch.setattr("autocast.training.checkpoints.link", stop)
        with pytest.raises(KilledError):
            train(max_epochs=2)
    main = tmp_path / "encoder_processor_decoder.ckpt"
    assert (best_of(toy, last(tmp_path)), best_of(toy, main)) == (2, 1)

    summary = train(max_epochs=max_epochs, resume_from=last(tmp_path))
    assert best_of(toy, main) == summary.best_epoch == max_epochs
    assert best_files(tmp_path) == [f"best-{max_epochs:04}.ckpt"]


def test_the_middle_of_an_epoch_is_not_taken_for_the_best_before_it(train, toy, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        train(signalled_model(toy, at_call=6), max_epochs=2)
    (tmp_path / "epd/checkpoints/best-0001.ckpt").unlink()
    train(max_epochs=1, resume_from=last(tmp_path))
    assert best_files(tmp_path) == []


def test_ctrl_c_saves_the_step_and_raises_keyboard_interrupt(train, toy, tmp_path):
    model = signalled_model(toy, at_call=6)
    with pytest.raises(KeyboardInterrupt):
        train(model, max_epochs=5)
    checkpoint = toy.load(last(tmp_path))
    assert checkpoint["global_step"] == 6
    assert epochs(tmp_path) == [1]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    summary = train(max_epochs=3, resume_from=last(tmp_path))
    assert (summary.epochs, summary.steps) == (3, 12)
    assert epochs(tmp_path) == [1, 2, 3]


def test_ctrl_c_at_an_epochs_last_step_completes_the_epoch(train, toy, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        train(signalled_model(toy, at_call=8), max_epochs=5)
    assert epochs(tmp_path) == [1, 2]
    summary = train(max_epochs=3, resume_from=last(tmp_path))
    assert summary.steps == 12
    assert epochs(tmp_path) == [1, 2, 3]


def test_a_termination_signal_saves_the_step(train, toy, tmp_path):
    with pytest.raises(SystemExit):
        train(signalled_model(toy, at_call=6, number=signal.SIGTERM), max_epochs=5)
    assert toy.load(last(tmp_path))["global_step"] == 6


def test_an_error_between_steps_keeps_them(train, toy, tmp_path):
    class Data(toy.ToyData):
        def train_dataloader(self):
            loader = super().train_dataloader()
            loader.collate_fn = FailAt(7)
            return loader

    with pytest.raises(OSError, match="disk"):
        train(max_epochs=5, data=Data())
    assert toy.load(last(tmp_path))["global_step"] == 6


def test_the_averages_of_an_unfinished_epoch_are_restored(train, toy, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        train(signalled_model(toy, at_call=6), max_epochs=2, checkpoint=CheckpointSettings())
    assert toy.load(last(tmp_path))["callbacks"]["MetricsLog"]["n_samples"] == 10


def best_of(toy, file):
    return toy.load(file)["callbacks"]["BestObjective"]["epoch"]


def best_files(run_dir):
    return sorted(file.name for file in (run_dir / "epd" / "checkpoints").glob("best-*"))


class StopAfter(Callback):
    def __init__(self, n):
        self.n = n

    def on_train_epoch_end(self, trainer, module):
        trainer.should_stop = trainer.current_epoch + 1 == self.n


class FailAt:
    def __init__(self, n):
        self.n, self.seen = n, 0

    def __call__(self, batch):
        self.seen += 1
        if self.seen == self.n:
            raise OSError("disk gone")
        return batch


def _ema(toy):
    return {"ema": toy.WarmupEMA(decay=0.9)}


def signalled_model(toy, at_call, number=signal.SIGINT):
    class Signalled(toy.ToyModel):
        def loss(self, batch, noise):
            terms = super().loss(batch, noise)
            if self.training and self.n_calls == at_call:
                os.kill(os.getpid(), number)
            return terms

    return Signalled()
