import json

import pytest
import torch

from autocast.training.checkpoints import newest_valid
from autocast.training.divergence import DivergenceError


class Trap:
    """Windows one of which makes the loss not a number, or large."""

    def __init__(self, toy, factor, place=17):
        self.data = toy.ToyData()
        self.data.train.x[place] *= factor


def last_of(tmp_path, toy):
    return toy.load(tmp_path / "epd" / "checkpoints" / "last.ckpt")


def test_the_message_names_epoch_step_and_term(train, toy, tmp_path):
    with pytest.raises(DivergenceError, match=r"train/loss/smooth is not finite at epoch 2, optimiser step 5"):
        train(toy.ToyModel(bad_step=6), max_epochs=4)
    checkpoint = last_of(tmp_path, toy)
    assert checkpoint["global_step"] == 4
    assert all(x.isfinite().all() for x in checkpoint["state_dict"].values())


def test_a_bad_batch_is_named_by_its_windows_and_can_be_skipped(train, toy, tmp_path):
    """Of 4 batches an epoch one holds the bad window; those of the epochs after it too."""
    skipped = []
    for attempt in range(4):
        options = {"resume_from": newest_valid(tmp_path / "epd/checkpoints")} if skipped[1:] else {}
        try:
            summary = train(max_epochs=3, data=Trap(toy, float("nan")).data, skip_steps=skipped, **options)
            break
        except DivergenceError as error:
            said = str(error)
            assert "trajectory 17 from frame 0" in said
            step = int(said.partition("optimiser step ")[2].partition(" ")[0])
            skipped.append(step)
            assert f"trainer.skip_steps=[{','.join(map(str, skipped))}]" in said
            if attempt == 0:
                assert not list(tmp_path.rglob("last.ckpt")), "the first epoch never ended"
    assert len(skipped) == 3
    assert (summary.epochs, summary.steps) == (3, 12)
    checkpoint = last_of(tmp_path, toy)
    assert all(x.isfinite().all() for x in checkpoint["state_dict"].values())
    records = [json.loads(line) for line in (tmp_path / "epd/metrics.jsonl").read_text().splitlines()]
    assert [record["epoch"] for record in records] == [1, 2, 3]


def test_a_batch_that_is_skipped_changes_nothing(train, toy, tmp_path):
    seen = []

    class Watched(toy.ToyModel):
        def loss(self, batch, noise):
            seen.append(self.map.weight.detach().clone())
            return super().loss(batch, noise)

    class NoValidation(toy.ToyData):
        def val_dataloader(self):
            return []

    train(Watched(), max_epochs=1, data=NoValidation(), skip_steps=[1, 2], callbacks={})
    first, last = seen
    checkpoint = last_of(tmp_path, toy)
    assert checkpoint["global_step"] == 4
    (state, *_) = checkpoint["optimizer_states"][0]["state"].values()
    assert int(state["step"]) == 2
    assert not torch.equal(first, last)


@pytest.mark.parametrize(("max_spike", "stops"), [(100.0, True), (1e9, False), (None, False)])
def test_a_loss_that_jumps_stops_the_run(train, toy, tmp_path, max_spike, stops):
    data = toy.ToyData(n=402)
    options = {"data": data, "optimizer": lambda groups: torch.optim.SGD(groups, lr=0.03), "max_spike": max_spike}
    train(max_epochs=1, **options)
    data.train.x[33] *= 1e3
    last = newest_valid(tmp_path / "epd/checkpoints")
    if stops:
        with pytest.raises(
            DivergenceError, match=r"train/loss is .*, and was .* at epoch 2.*trajectory 33 from frame 0"
        ):
            train(max_epochs=2, resume_from=last, **options)
    else:
        train(max_epochs=2, resume_from=last, **options)


def test_a_run_goes_on_at_a_lower_rate(train, toy, tmp_path):
    make = {rate: (lambda groups, rate=rate: torch.optim.AdamW(groups, lr=rate)) for rate in (0.1, 0.05)}
    train(max_epochs=1, optimizer=make[0.1], lr_scheduler=None)
    rates = []
    for options in ({"lr_scheduler": None}, {}):
        train(max_epochs=2, optimizer=make[0.05], resume_from=newest_valid(tmp_path / "epd/checkpoints"), **options)
        rates += [json.loads(line)["lr"] for line in (tmp_path / "epd/metrics.jsonl").read_text().splitlines()][-1:]
    assert rates[0] == pytest.approx(0.05)
