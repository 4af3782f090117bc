"""A discriminator in training: exact resume, accumulation, and what is refused."""

from __future__ import annotations

import pytest
import torch
from lightning.pytorch import Callback

from autocast.errors import ConfigError
from autocast.training.adversaries import check_adversaries
from autocast.training.checkpoints import CheckpointSettings

STATES = ("state_dict", "current_model_state", "optimizer_states", "adversaries", "lr_schedulers")
EVERY_STEP = CheckpointSettings(every_n_minutes=0.0)


class Stop(Callback):
    def __init__(self, step):
        self.step = step

    def on_train_batch_end(self, trainer, *_):
        if trainer.global_step == self.step:
            raise Stopped


class Stopped(Exception):
    pass


def discriminator(checkpoint, key="current_model_state"):
    return {k: v for k, v in checkpoint[key].items() if "discriminator" in k}


def load(toy, run_dir):
    return toy.load(run_dir / "epd/checkpoints/last.ckpt")


@pytest.mark.parametrize("step", [3, 9])
def test_resuming_in_the_middle_of_an_epoch_is_exact(toy, ranks, data, tmp_path, step):
    """Before the discriminator begins, and after."""
    ranks.train("gan", data, tmp_path / "whole", n_ranks=1, checkpoint=EVERY_STEP)
    parts = tmp_path / "parts"
    with pytest.raises(Stopped):
        ranks.train("gan", data, parts, n_ranks=1, checkpoint=EVERY_STEP, callbacks={"stop": Stop(step + 1)})
    ranks.train("gan", data, parts, n_ranks=1, resume_from=parts / "epd/checkpoints/last.ckpt")
    a, b = load(toy, tmp_path / "whole"), load(toy, parts)
    for key in STATES:
        assert toy.states_are_equal(a[key], b[key]), key
    (state,) = a["adversaries"]
    assert {int(s["step"]) for s in state["state"].values()} == {18 - 3}


def test_an_accumulation_is_one_step(toy, ranks, data, tmp_path):
    ranks.train("gan", data, tmp_path, n_ranks=1, accumulate=2)
    (state,) = load(toy, tmp_path)["adversaries"]
    assert {int(s["step"]) for s in state["state"].values()} == {9 - 3}


def test_its_rate_follows_the_schedule(toy, ranks, data, tmp_path):
    """The model's optimiser, which begins at ten times its rate, is a step further on its way down."""
    ranks.train("gan", data, tmp_path, n_ranks=1)
    checkpoint = load(toy, tmp_path)
    (state,), (optimizer,) = checkpoint["adversaries"], checkpoint["optimizer_states"]
    assert optimizer["param_groups"][0]["lr"] / 10 < state["param_groups"][0]["lr"] < 1e-4


def test_it_changes_only_after_its_start_and_is_logged(toy, ranks, data, tmp_path):
    with pytest.raises(Stopped):
        ranks.train("gan", data, tmp_path / "a", n_ranks=1, checkpoint=EVERY_STEP, callbacks={"stop": Stop(4)})
    with pytest.raises(Stopped):
        ranks.train("gan", data, tmp_path / "b", n_ranks=1, checkpoint=EVERY_STEP, callbacks={"stop": Stop(3)})
    early, earlier = (discriminator(load(toy, tmp_path / name)) for name in "ab")
    assert early
    assert toy.states_are_equal(early, earlier)
    ranks.train("gan", data, tmp_path / "c", n_ranks=1)
    assert not toy.states_are_equal(discriminator(load(toy, tmp_path / "c")), early)
    header = (tmp_path / "c/epd/metrics.csv").read_text().splitlines()[0].split(",")
    assert {"train/loss/adversarial", "train/weight/adversarial", "train/discriminator/loss"} <= set(header)
    assert not any(name.startswith("val/loss/adversarial") for name in header)


@pytest.mark.parametrize(
    ("precision", "is_sharded", "remedy"), [("16-mixed", False, "bf16-mixed"), ("32-true", True, "trainer=default")]
)
def test_where_it_cannot_be_trained_it_is_refused(precision, is_sharded, remedy):
    with pytest.raises(ConfigError, match=remedy):
        check_adversaries(precision, [object()], is_sharded=is_sharded)
    check_adversaries(precision, [], is_sharded=is_sharded)


def test_bfloat16_trains(ranks, data, tmp_path):
    summary = ranks.train("gan", data, tmp_path, n_ranks=1, trainer_options={"precision": "bf16-mixed"})
    assert torch.isfinite(torch.tensor(summary.best_objective))
