"""Batches that are computed in pieces, and in smaller ones when memory runs out."""

from __future__ import annotations

import functools
import json
import subprocess
import sys

import lightning as L
import pytest
import torch
from torch import nn

from autocast.errors import ConfigError
from autocast.training.compilation import compile_for
from autocast.training.micro_batches import MemoryShortageError

TOO_LARGE = "CUDA out of memory. Tried to allocate 1.50 GiB. GPU 0 has a total capacity of 39.39 GiB."


class NoWayBack(torch.autograd.Function):
    """For gradients of which there is no memory."""

    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        raise torch.OutOfMemoryError(TOO_LARGE)


@pytest.fixture
def small(toy):
    """`small(n)` has memory for n windows at once; `backward` is where it runs out."""

    class Small(toy.ToyModel):
        def __init__(self, most, *, backward=False):
            super().__init__(noise=0.3)
            self.most, self.backward = most, backward
            self.sizes = []

        def loss(self, batch, noise):
            self.sizes.append(batch.size)
            if batch.size <= self.most:
                return super().loss(batch, noise)
            if not self.backward or not self.training:
                raise torch.OutOfMemoryError(TOO_LARGE)
            nothing = NoWayBack.apply(self.map.bias[0])  # made first, so it comes last, after other gradients
            terms = super().loss(batch, noise)
            return {**terms, "loss": terms["loss"] + 0 * nothing}

    return Small


def final(run_dir):
    """Weights of the last step, and their averages."""
    checkpoint = torch.load(run_dir / "epd/checkpoints/last.ckpt", weights_only=True)
    averaged = {f"averaged.{name}": weights for name, weights in checkpoint["state_dict"].items()}
    return {**checkpoint["current_model_state"], **averaged}


def records(run_dir):
    """The toy's VRMSE is left out: it is that of a whole batch, no mean over windows."""
    lines = (run_dir / "epd/metrics.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if k not in ("seconds", "val/vrmse")} for line in lines]


def assert_same(found, expected, atol=1e-6):
    a, b = final(found), final(expected)
    assert a.keys() == b.keys()
    for name, weights in b.items():
        assert torch.allclose(a[name], weights, rtol=1e-5, atol=atol), name
    for one, other in zip(records(found), records(expected), strict=True):
        assert one == pytest.approx(other, rel=max(1e-4, atol))


@pytest.mark.parametrize("name", ["ae", "ensemble"])
def test_pieces_make_the_batch_but_for_rounding(ranks, data, tmp_path, name):
    short = {"max_epochs": 1, "n_ranks": 1, "trainer_options": {"limit_train_batches": 3}}
    for micro_batch in (None, 3):  # of 4 windows
        (tmp_path / str(micro_batch)).mkdir()
        ranks.train(name, data, tmp_path / str(micro_batch), micro_batch=micro_batch, **short)
    assert_same(tmp_path / "3", tmp_path / "None")


def test_a_discriminator_learns_from_all_pieces(ranks, data, tmp_path, monkeypatch):
    """Where its weight is not adapted to each."""
    monkeypatch.setattr(ranks, "Adversarial", functools.partial(ranks.Adversarial, adaptive=False))
    for micro_batch in (None, 3):
        (tmp_path / str(micro_batch)).mkdir()
        ranks.train("gan", data, tmp_path / str(micro_batch), n_ranks=1, max_epochs=1, micro_batch=micro_batch)
    assert_same(tmp_path / "3", tmp_path / "None", 1e-5)


@pytest.mark.parametrize(
    ("options", "atol"), [({}, 1e-6), ({"accumulate_grad_batches": 3}, 1e-6), ({"precision": "bf16-mixed"}, 1e-3)]
)
def test_noise_steps_and_terms_are_those_of_the_batch(train, toy, tmp_path, options, atol):
    whole, pieces = toy.ToyModel(noise=0.3), toy.ToyModel(noise=0.3)
    train(whole, run_dir=tmp_path / "whole", trainer_options=options)
    summary = train(pieces, run_dir=tmp_path / "pieces", trainer_options=options, micro_batch=2)
    assert_same(tmp_path / "pieces", tmp_path / "whole", atol)
    assert set(whole.draws) < set(pieces.draws)
    assert summary.micro_batch == 2


def test_gradients_are_cut_and_weights_changed_once_for_all_pieces(train, toy):
    seen = []

    class Watched(L.pytorch.callbacks.Callback):
        def on_before_optimizer_step(self, trainer, module, optimizer):
            seen.append(trainer.global_step)

    train(callbacks={"watched": Watched()}, max_epochs=1, micro_batch=1)
    assert seen == [0, 1, 2, 3]


@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize("accumulated", [1, 2])
def test_when_memory_runs_out_the_step_is_made_again_in_smaller_pieces(
    train, toy, small, tmp_path, capsys, backward, accumulated
):
    """Wherever that is: the gradients that were there already count once."""
    options = {"trainer_options": {"accumulate_grad_batches": accumulated}, "max_epochs": 2}
    train(toy.ToyModel(noise=0.3), run_dir=tmp_path / "whole", **options)
    capsys.readouterr()
    model, events = small(1, backward=backward), []
    summary = train(model, run_dir=tmp_path / "small", on_event=lambda *event: events.append(event), **options)
    assert_same(tmp_path / "small", tmp_path / "whole")
    assert model.sizes[:4] == [5, 2, 1, 1]
    assert set(model.sizes[4:]) == {1}
    assert summary.micro_batch == 1
    (note,) = [fields["text"] for kind, fields in events if kind == "note"]
    assert "memory ran out" in note
    assert note.endswith("trainer.micro_batch=1")
    assert capsys.readouterr().out.count(note) == 1


def test_it_may_run_out_in_the_middle_of_an_accumulation(train, toy, small, tmp_path):
    class Crowded(small):
        def loss(self, batch, noise):
            self.most = 9 if len(self.sizes) < 2 else 3  # from the second batch of the second step
            return super().loss(batch, noise)

    options = {"trainer_options": {"accumulate_grad_batches": 2}, "max_epochs": 1, "micro_batch": 5}
    for model in (toy.ToyModel(noise=0.3), Crowded(9, backward=True)):
        train(model, run_dir=tmp_path / type(model).__name__, **options)
    assert_same(tmp_path / "Crowded", tmp_path / "ToyModel")


def test_a_validation_is_computed_in_smaller_pieces_too(train, toy, small, tmp_path):
    class Narrow(small):
        def loss(self, batch, noise):
            self.most = 9 if self.training else 2
            return super().loss(batch, noise)

    train(toy.ToyModel(noise=0.3), run_dir=tmp_path / "whole", max_epochs=1)
    train(Narrow(9), run_dir=tmp_path / "narrow", max_epochs=1)
    assert records(tmp_path / "narrow")[0]["val/objective"] == pytest.approx(
        records(tmp_path / "whole")[0]["val/objective"], rel=1e-5
    )


def test_a_run_goes_on_with_the_size_that_it_was_left_with(train, toy, small, tmp_path):
    train(small(2), max_epochs=1)
    last = tmp_path / "epd/checkpoints/last.ckpt"
    resumed, other = small(2), toy.ToyModel()
    train(resumed, max_epochs=2, resume_from=last)
    assert max(resumed.sizes) == 2
    assert train(other, max_epochs=2, resume_from=last, run_dir=tmp_path / "b", micro_batch=4).micro_batch == 4


def test_a_window_that_does_not_fit_ends_it_with_what_takes_less(train, small):
    with pytest.raises(MemoryShortageError) as refused:
        train(small(0), max_epochs=1)
    assert "one window at a time (Tried to allocate 1.50 GiB)" in str(refused.value)
    assert "gradient_checkpointing=true" in str(refused.value)


def test_other_errors_are_not_taken_for_it(train, toy):
    class Broken(toy.ToyModel):
        def loss(self, batch, noise):
            raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="mat1"):
        train(Broken(), max_epochs=1)


@pytest.mark.parametrize("backward", [False, True])
def test_processes_that_share_a_batch_are_told_what_to_set(train, small, backward):
    with pytest.raises(MemoryShortageError, match=r"trainer.micro_batch=2.*CUDA out of memory"):
        train(small(2, backward=backward), max_epochs=1, trainer_options={"strategy": "ddp"})


@pytest.mark.e2e
@pytest.mark.slow
def test_two_processes_train_in_pieces_as_one_does(ranks, data, tmp_path):
    """In an accumulation and sharded as with whole batches; with a discriminator, whose weight is adapted to pieces, as
    in those that both make together."""
    runs = tmp_path / "runs"
    runs.mkdir()
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    subprocess.run([*torchrun, ranks.__file__, "in-pieces", data, runs], check=True, capture_output=True, timeout=300)
    for name, how in (("gan", {"micro_batch": 2}), ("ensemble", {"accumulate": 2}), ("flow_matching", {})):
        (tmp_path / name).mkdir()
        ranks.train(name, data, tmp_path / name, n_ranks=1, max_epochs=2, averages=False, **how)
        found, expected = (weights_of(directory) for directory in (runs / name, tmp_path / name))
        assert (found - expected).norm() < 1e-3 * expected.norm()
        for one, other in zip(records(runs / name), records(tmp_path / name), strict=True):
            assert one == pytest.approx(other, rel=1e-3)


def weights_of(run_dir):
    state = torch.load(run_dir / "epd/checkpoints/last.ckpt", weights_only=True)["state_dict"]
    return torch.cat([weights.flatten().float() for weights in state.values()])


def test_cuda_graphs_allow_no_pieces():
    trainer = L.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False)
    with pytest.raises(ConfigError, match=r"trainer\.micro_batch=2.*trainer.compile=default"):
        compile_for(trainer, nn.Linear(1, 1), "reduce-overhead", 2)
