import csv
import functools
import itertools
import json
from types import SimpleNamespace

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import EarlyStopping
from torch import nn

from autocast.errors import ConfigError
from autocast.generative.noise import Noise
from autocast.training.module import AUGMENTATION, TrainingModule


def records(tmp_path):
    return [json.loads(line) for line in (tmp_path / "epd" / "metrics.jsonl").read_text().splitlines()]


def test_loss_falls_and_the_summary_says_how_it_ended(train, tmp_path):
    summary = train(max_epochs=4)
    losses = [record["train/loss"] for record in records(tmp_path)]
    assert losses == sorted(losses, reverse=True)
    assert (summary.epochs, summary.steps) == (4, 16)
    assert summary.best_objective == min(record["val/objective"] for record in records(tmp_path))
    assert summary.checkpoint_file.is_file()
    assert summary.peak_memory > 1e6
    assert not summary.stopped_early


def test_one_record_per_epoch_with_rate_best_and_terms(train, tmp_path):
    train()
    found = records(tmp_path)
    assert [record["epoch"] for record in found] == [1, 2, 3]
    assert [record["step"] for record in found] == [4, 8, 12]
    names = {
        "lr",
        "is_best",
        "seconds",
        "train/loss",
        "train/loss/error",
        "val/objective",
        "val/loss/error",
        "val/vrmse",
    }
    assert names <= set(found[0])
    best = min(found, key=lambda record: record["val/objective"])
    assert [record["epoch"] for record in found if record["is_best"]][-1] == best["epoch"]
    with (tmp_path / "epd" / "metrics.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [float(row["val/objective"]) for row in rows] == [record["val/objective"] for record in found]


def test_epoch_loss_is_the_mean_over_samples(train, toy, tmp_path):
    still = functools.partial(torch.optim.SGD, lr=0.0)
    losses = []

    class Model(toy.ToyModel):
        def loss(self, batch, noise):
            terms = super().loss(batch, noise)
            losses.extend([terms["loss"].item()] * self.training)
            return terms

    train(Model(), max_epochs=1, optimizer=still, lr_scheduler=None, callbacks={})
    (record,) = records(tmp_path)
    assert record["train/loss"] == pytest.approx(float(sum(losses) / len(losses)))
    assert record["train/loss"] == pytest.approx(record["train/loss/error"] + record["train/loss/smooth"])


def test_csv_gains_a_column_when_a_later_epoch_is_the_first_validated(train, tmp_path):
    train(max_epochs=2, trainer_options={"check_val_every_n_epoch": 2})
    with (tmp_path / "epd" / "metrics.csv").open() as stream:
        first, second = csv.DictReader(stream)
    assert first["val/objective"] == ""
    assert float(second["val/objective"]) > 0
    assert not records(tmp_path)[0]["is_best"]


def test_early_stopping_is_reported(train, tmp_path):
    stopper = EarlyStopping("val/objective", patience=2, min_delta=10.0)
    summary = train(max_epochs=9, callbacks={"early_stopping": stopper})
    assert summary.stopped_early
    assert summary.epochs == 3 == len(records(tmp_path))


def test_max_steps_ends_with_a_validated_epoch(train, tmp_path):
    summary = train(max_epochs=-1, trainer_options={"max_steps": 6})
    assert summary.steps == 6
    assert records(tmp_path)[-1]["step"] == 6
    assert "val/objective" in records(tmp_path)[-1]


def test_runs_without_validation_and_without_averaging(train, tmp_path):
    summary = train(max_epochs=2, callbacks={}, trainer_options={"limit_val_batches": 0})
    assert summary.best_epoch is None
    assert summary.checkpoint_file.is_file()


def test_frozen_parameters_never_reach_the_optimizer(train, toy):
    model, seen = toy.ToyModel(), []

    def make(groups):
        seen.extend(parameter for group in groups for parameter in group["params"])
        return torch.optim.AdamW(groups, lr=0.1)

    before = model.frozen.weight.clone()
    train(model, max_epochs=1, optimizer=make)
    assert {id(p) for p in seen} == {id(p) for p in model.map.parameters()}
    assert torch.equal(model.frozen.weight, before)


def test_a_model_with_nothing_to_learn_is_a_users_mistake():
    module = TrainingModule(nn.Identity(), optimizer=torch.optim.Adam)
    with pytest.raises(ConfigError, match="no trainable parameter"):
        module.configure_optimizers()


def test_accumulated_gradients_equal_one_large_batch(train, toy, tmp_path):
    data = functools.partial(toy.ToyData, n=20)
    plain = {"callbacks": {}, "lr_scheduler": None, "optimizer": functools.partial(torch.optim.SGD, lr=0.1)}
    whole, halves = toy.ToyModel(noise=0.3), toy.ToyModel(noise=0.3)
    train(whole, max_epochs=1, data=data(batch_size=10), **plain)
    options = {"accumulate_grad_batches": 2}
    train(halves, max_epochs=1, data=data(batch_size=5), run_dir=tmp_path / "b", trainer_options=options, **plain)
    assert torch.allclose(whole.map.weight, halves.map.weight, atol=1e-6)


def test_noise_differs_between_samples_and_repeats_with_the_seed(train, toy, tmp_path):
    first, again, other = (toy.ToyModel(noise=0.1) for _ in range(3))
    train(first, max_epochs=2)
    train(again, max_epochs=2, run_dir=tmp_path / "again")
    train(other, max_epochs=2, run_dir=tmp_path / "other", seed=1)
    assert first.draws == again.draws != other.draws
    assert len(set(first.draws[:4])) == 4


def test_validation_noise_is_the_same_in_every_epoch(train, tmp_path, toy):
    still = functools.partial(torch.optim.SGD, lr=0.0)
    train(toy.ToyModel(noise=0.1), max_epochs=3, optimizer=still, lr_scheduler=None)
    assert len({record["val/objective"] for record in records(tmp_path)}) == 1


def test_augmentation_changes_training_batches_only(train, toy):
    seen = augmentations(train, max_epochs=2)
    assert len(seen) == 8
    assert len({number for numbers in seen for number in numbers}) == 40


def test_augmentation_does_not_depend_on_the_accumulation(train, toy, tmp_path):
    whole = augmentations(train, max_epochs=1, data=toy.ToyData(n=20, batch_size=10))
    options = {"accumulate_grad_batches": 2}
    data = toy.ToyData(n=20, batch_size=5)
    parts = augmentations(train, max_epochs=1, data=data, run_dir=tmp_path / "b", trainer_options=options)
    assert list(itertools.chain(*whole)) == list(itertools.chain(*parts))


@pytest.mark.parametrize("n_ranks", [1, 2, 3])
def test_draws_do_not_depend_on_the_number_of_ranks(toy, monkeypatch, n_ranks):
    drawn = {}

    def augment(batch, noise):
        numbers = noise.uniform(like=torch.empty(())).tolist()
        drawn.update(zip(batch.trajectory.tolist(), numbers, strict=True))
        return batch

    windows = toy.Windows(12, seed=0)
    for rank in range(n_ranks):
        module = TrainingModule(toy.ToyModel(), optimizer=torch.optim.Adam, augment=augment)
        place = {"world_size": n_ranks, "global_rank": rank, "global_step": 3, "accumulate_grad_batches": 2}
        module._trainer = SimpleNamespace(**place)
        for i, batch in enumerate((range(6), range(6, 12))):
            module.training_step(windows[list(batch)[rank::n_ranks]], i)
    expected = Noise([(42, AUGMENTATION, 3, row) for row in range(12)]).uniform(like=torch.empty(()))
    assert [drawn[i] for i in range(12)] == expected.tolist()


def test_training_never_draws_what_a_rollout_draws(train, toy):
    """A rollout's noise is keyed (seed, trajectory, member), and its seed may be the training's."""
    keys = []

    class Model(toy.ToyModel):
        def loss(self, batch, noise):
            keys.extend(noise._keys)
            return super().loss(batch, noise)

    train(Model(), max_epochs=1)
    assert all(len(key) == 4 and key[1] >= 2**48 for key in keys)


def augmentations(train, **options):
    """What was drawn for each batch of a training."""
    seen = []

    def augment(batch, noise):
        seen.append(noise.uniform(like=torch.empty(())).tolist())
        return batch

    train(augment=augment, **options)
    return seen


def test_scores_are_taken_on_a_few_batches_spread_over_the_validation(toy):
    module = TrainingModule(toy.ToyModel(), optimizer=torch.optim.Adam, n_score_batches=2)
    module.trainer = L.Trainer(logger=False, enable_checkpointing=False, enable_progress_bar=False, accelerator="cpu")
    module.trainer.fit_loop.epoch_loop.val_loop._max_batches = [8]
    assert [i for i in range(8) if module._is_scored(i)] == [2, 6]


def test_a_batch_whose_score_is_not_known_does_not_count(train, toy, tmp_path):
    class Model(toy.ToyModel):
        def validation_scores(self, batch, noise):
            n = torch.tensor(float(batch.size))
            return {"size": n, "often": n if batch.size == 5 else n * torch.nan, "never": n * torch.nan}

    train(Model(), max_epochs=1)  # 7 windows in batches of 5 and 2
    (row,) = [json.loads(line) for line in (tmp_path / "epd" / "metrics.jsonl").read_text().splitlines()]
    assert row["val/size"] == pytest.approx((5 * 5 + 2 * 2) / 7)
    assert (row["val/often"], row["val/never"]) == (5.0, None)


def test_overfit_batches_repeats_one_batch(train, toy, tmp_path):
    seen = []

    class Model(toy.ToyModel):
        def loss(self, batch, noise):
            seen.extend([batch.trajectory.tolist()] * self.training)
            return super().loss(batch, noise)

    train(Model(), max_epochs=3, trainer_options={"overfit_batches": 1})
    assert len(seen) == 3
    assert seen[0] == seen[1] == seen[2]
    assert len(seen[0]) == 5
