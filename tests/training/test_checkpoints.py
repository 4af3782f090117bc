import os
import shutil

import pytest
import torch

from autocast.errors import CheckpointError
from autocast.training.averaging import WarmupEMA
from autocast.training.checkpoints import AtomicCheckpointIO, CheckpointSettings, link, newest_valid


def names(tmp_path):
    return sorted(path.name for path in (tmp_path / "epd" / "checkpoints").iterdir())


def test_last_previous_best_and_every_nth_are_kept(train, tmp_path):
    summary = train(max_epochs=4, checkpoint=CheckpointSettings(every_n_epochs=3))
    best = f"best-{summary.best_epoch:04}.ckpt"
    assert names(tmp_path) == [best, "epoch-0003.ckpt", "last.ckpt", "previous.ckpt"]


def test_the_main_file_is_the_best_checkpoint(train, toy, tmp_path):
    summary = train(max_epochs=3)
    main = toy.load(tmp_path / "encoder_processor_decoder.ckpt")
    assert main["callbacks"]["BestObjective"] == {"objective": summary.best_objective, "epoch": summary.best_epoch}


def test_the_main_file_is_there_from_the_first_checkpoint_on(train, tmp_path):
    found = []
    train(
        max_epochs=2,
        on_event=lambda event, fields: found.append((event, (tmp_path / "encoder_processor_decoder.ckpt").is_file())),
    )
    assert next(there for event, there in found if event == "checkpoint")


def test_checkpoints_are_whole_and_plain(train, toy, tmp_path):
    train()
    checkpoint = toy.load(tmp_path / "epd" / "checkpoints" / "last.ckpt")
    assert {"state_dict", "optimizer_states", "lr_schedulers", "loops", "callbacks"} <= set(checkpoint)
    assert (checkpoint["epoch"], checkpoint["global_step"]) == (2, 12)
    about = checkpoint["autocast"]
    assert (about["kind"], about["config"], about["spec"]) == ("epd", {"seed": 42}, {"name": "toy"})
    assert about["versions"]["torch"] == str(torch.__version__)


def test_state_dict_holds_the_averaged_weights(train, toy, tmp_path):
    ema = WarmupEMA(decay=0.9)
    model = toy.ToyModel()
    train(model, callbacks={"ema": ema})
    checkpoint = toy.load(tmp_path / "epd" / "checkpoints" / "last.ckpt")
    average, current = checkpoint["state_dict"], checkpoint["current_model_state"]
    assert set(average) == {f"model.{name}" for name in model.state_dict()}
    assert not torch.equal(average["model.map.weight"], current["model.map.weight"])
    assert torch.equal(average["model.map.weight"], model.map.weight)
    assert torch.equal(average["model.frozen.weight"], current["model.frozen.weight"])


def test_the_newest_valid_is_the_previous_one_if_the_last_is_cut_short(train, tmp_path):
    train()
    directory = tmp_path / "epd" / "checkpoints"
    assert newest_valid(directory) == directory / "last.ckpt"
    content = (directory / "last.ckpt").read_bytes()
    (directory / "last.ckpt").unlink()  # the name; the other links keep the file
    (directory / "last.ckpt").write_bytes(content[: len(content) // 2])
    assert newest_valid(directory) == directory / "previous.ckpt"


def test_a_flipped_byte_is_found(train, tmp_path):
    train()
    directory = tmp_path / "epd" / "checkpoints"
    content = bytearray((directory / "last.ckpt").read_bytes())
    position = content.find(
        torch.load(directory / "last.ckpt", weights_only=True)["state_dict"]["model.map.weight"].numpy().tobytes()
    )
    content[position] ^= 255
    (directory / "last.ckpt").unlink()
    (directory / "last.ckpt").write_bytes(content)
    assert newest_valid(directory) == directory / "previous.ckpt"


def test_no_valid_checkpoint_says_what_is_wrong_with_each(tmp_path):
    (tmp_path / "last.ckpt").write_bytes(b"PK half")
    with pytest.raises(CheckpointError, match=r"last.ckpt is cut short or damaged .*previous.ckpt is not there"):
        newest_valid(tmp_path)


def test_a_write_that_fails_leaves_the_old_file(tmp_path):
    file = tmp_path / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint({"a": 1}, file)
    with pytest.raises((AttributeError, TypeError, RuntimeError)):
        AtomicCheckpointIO().save_checkpoint({"a": lambda: 0}, file)
    assert torch.load(file, weights_only=True) == {"a": 1}


def test_link_replaces_and_copies_where_links_are_not_allowed(tmp_path, monkeypatch):
    source, target = tmp_path / "a", tmp_path / "b"
    source.write_text("new")
    target.write_text("old")
    link(source, target)
    link(source, target)
    assert target.read_text() == "new"
    assert target.samefile(source)
    target.unlink()
    monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(OSError("no hard links")))
    link(source, target)
    assert target.read_text() == "new"
    assert not target.samefile(source)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def test_a_damaged_last_never_becomes_the_previous_one(train, tmp_path):
    train()
    directory = tmp_path / "epd" / "checkpoints"
    shutil.copy(directory / "previous.ckpt", tmp_path / "good.ckpt")
    (directory / "last.ckpt").unlink()
    (directory / "last.ckpt").write_bytes(b"PK")
    train(max_epochs=3, resume_from=newest_valid(directory))
    assert (directory / "previous.ckpt").read_bytes() == (tmp_path / "good.ckpt").read_bytes()
    assert newest_valid(directory) == directory / "last.ckpt"


def test_long_epochs_are_saved_within(train, toy, tmp_path):
    saved = []
    settings = CheckpointSettings(every_n_minutes=1e-9)
    options = {"accumulate_grad_batches": 2}
    train(max_epochs=1, checkpoint=settings, trainer_options=options, on_event=lambda *event: saved.append(event))
    steps = [(fields["epoch"], fields["step"]) for name, fields in saved if name == "checkpoint"]
    assert steps == [(0, 1), (1, 2)]
