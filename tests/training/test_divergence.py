import pytest

from autocast.training.divergence import DivergenceError


def test_the_message_names_epoch_step_and_term(train, toy, tmp_path):
    with pytest.raises(DivergenceError, match=r"train/loss/smooth is not finite at epoch 2, optimiser step 6"):
        train(toy.ToyModel(bad_step=6), max_epochs=4)
    checkpoint = toy.load(tmp_path / "epd" / "checkpoints" / "last.ckpt")
    assert checkpoint["global_step"] == 4
    assert all(x.isfinite().all() for x in checkpoint["state_dict"].values())
