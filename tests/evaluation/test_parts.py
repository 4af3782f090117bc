"""An evaluation that was stopped goes on behind its last batch, and comes to the same to the last byte."""

import dataclasses

import h5py
import numpy as np
import pytest

from autocast.evaluation.evaluate import evaluate, forget_parts
from tests.evaluation.test_evaluate import CSV_FILES, SETTINGS, ToyModel, make_data

WEIGHTS = {"weights": "w"}
KEPT = dataclasses.replace(SETTINGS, save_rollouts=True)


class Killed(Exception):
    pass


def stop_after(n_steps):
    """Stops as soon as so many steps of all forecasters are done."""

    def listen(event, values):
        if event == "progress" and values["done"] >= n_steps:
            raise Killed

    return listen


def interrupted(tmp_path, n_steps, settings=KEPT, model=None, **options):
    with pytest.raises(Killed):
        evaluate(
            model or ToyModel(),
            make_data(),
            settings,
            tmp_path,
            stop_after(n_steps),
            identity=WEIGHTS,
            **options,
        )


def rollouts(directory):
    with h5py.File(directory / "rollouts.hdf5") as h:
        return {name: h["t0_fields"][name][()] for name in h["t0_fields"]} | {"m": h["scalars/forecast_member"][()]}


# two of five trajectories in a batch, eight steps each, five forecasters: batches end at 80, 160 and 200 steps
@pytest.mark.parametrize(("n_steps", "redone"), [(60, [0, 1, 2, 3, 4]), (120, [2, 3, 4]), (200, [4])])
def test_goes_on_behind_the_last_batch(tmp_path, n_steps, redone):
    evaluate(ToyModel(), make_data(), KEPT, tmp_path / "whole")
    interrupted(tmp_path / "cut", n_steps)
    model, notes = ToyModel(), []
    result = evaluate(
        model,
        make_data(),
        KEPT,
        tmp_path / "cut",
        lambda event, values: notes.append(values.get("text")) if event == "note" else None,
        identity=WEIGHTS,
    )
    assert sorted(set(model.calls)) == redone
    assert notes == ([f"goes on after {5 - len(redone)} of 5 trajectories"] if len(redone) < 5 else [])
    for name in CSV_FILES:
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name
    whole, cut = rollouts(tmp_path / "whole"), rollouts(tmp_path / "cut")
    assert all(np.array_equal(whole[name], cut[name], equal_nan=True) for name in whole)
    assert result.provenance["timing"]["seconds_per_step_and_member"] > 0


def test_examples_are_told_of_once_they_are_whole_and_again_from_parts(tmp_path):
    settings, told = dataclasses.replace(SETTINGS, batch_indices=(0, 1)), []

    def keep(example, spec):
        assert np.isfinite(example.members).all()
        told.append((example.trajectory, spec.time_step))

    interrupted(tmp_path, 100, settings, on_example=keep)  # in the second batch, when the model is done with it
    assert told == [(i, 0.1) for i in range(4)]
    interrupted(tmp_path, 130, settings, on_example=keep)
    assert told[4:] == told[:4]


def test_pictures_are_of_the_trajectories_of_both_calls(tmp_path):
    settings = dataclasses.replace(KEPT, batch_indices=(0, 1))
    whole = evaluate(ToyModel(), make_data(), settings, tmp_path / "whole")
    interrupted(tmp_path / "cut", 120, settings)
    cut = evaluate(ToyModel(), make_data(), settings, tmp_path / "cut", identity=WEIGHTS)
    assert [each.trajectory for each in cut.examples] == [0, 1, 2, 3]
    for a, b in zip(whole.examples, cut.examples, strict=True):
        assert (a.scalars, a.score) == (b.scalars, b.score)
        for name in ("truth", "members", "mean", "spread"):
            assert np.array_equal(getattr(a, name), getattr(b, name))
    assert np.array_equal(whole.spectra.member, cut.spectra.member)


@pytest.mark.parametrize("change", [{"seed": 1}, {"n_members": 4}, {"metrics": ("mse",)}, {"batch_indices": (0,)}])
def test_other_settings_start_anew(tmp_path, change):
    interrupted(tmp_path, 120)
    model = ToyModel()
    evaluate(model, make_data(), dataclasses.replace(KEPT, **change), tmp_path, identity=WEIGHTS)
    assert set(model.calls) == {0, 1, 2, 3, 4}


def test_other_weights_start_anew(tmp_path):
    interrupted(tmp_path, 120)
    model = ToyModel()
    evaluate(model, make_data(), KEPT, tmp_path, identity={"weights": "others"})
    assert set(model.calls) == {0, 1, 2, 3, 4}


def test_rollouts_that_are_gone_are_made_again(tmp_path):
    evaluate(ToyModel(), make_data(), KEPT, tmp_path, identity=WEIGHTS)
    before = rollouts(tmp_path)
    (tmp_path / "rollouts.hdf5").unlink()
    evaluate(ToyModel(), make_data(), KEPT, tmp_path, identity=WEIGHTS)
    assert all(np.array_equal(before[name], after) for name, after in rollouts(tmp_path).items())


def test_another_batch_size_goes_on(tmp_path):
    """As after running out of memory."""
    interrupted(tmp_path, 120)
    model = ToyModel()
    evaluate(model, make_data(), dataclasses.replace(KEPT, batch_size=1), tmp_path, identity=WEIGHTS)
    assert set(model.calls) == {2, 3, 4}


def test_nothing_is_left_when_all_is_done(tmp_path):
    evaluate(ToyModel(), make_data(), KEPT, tmp_path, identity=WEIGHTS)
    assert (tmp_path / ".parts").is_dir()
    forget_parts(tmp_path)
    assert {file.name for file in tmp_path.iterdir()} == {*CSV_FILES, "evaluation.json", "rollouts.hdf5"}


def test_a_complete_evaluation_is_not_rolled_out_again(tmp_path):
    """When what failed came after it, as drawing does."""
    evaluate(ToyModel(), make_data(), KEPT, tmp_path, identity=WEIGHTS)
    model, before = ToyModel(), rollouts(tmp_path)
    evaluate(model, make_data(), KEPT, tmp_path, identity=WEIGHTS)
    assert model.calls == []
    assert all(np.array_equal(before[name], after) for name, after in rollouts(tmp_path).items())
