"""Several processes evaluate what one does, to the last byte; when one of them fails, what is done is kept."""

import dataclasses
import functools
import multiprocessing
import os
import signal

import numpy as np
import pytest

from autocast.evaluation.evaluate import evaluate
from autocast.evaluation.sharing import ShareError, Sharing
from tests.evaluation.test_evaluate import CSV_FILES, SETTINGS, ToyModel, make_data


class Failing(ToyModel):
    """Of one trajectory."""

    def forecast(self, x, n_steps, *, trajectory, **known):
        if 2 in trajectory:
            raise FloatingPointError("of trajectory 2")
        yield from super().forecast(x, n_steps, trajectory=trajectory, **known)


class Killed(ToyModel):
    def forecast(self, x, n_steps, **known):
        os.kill(os.getpid(), signal.SIGKILL)
        yield from super().forecast(x, n_steps, **known)


def opening(kind=ToyModel):
    return kind(), make_data()


def shared(directory, settings=SETTINGS, kind=ToyModel, n=2, on_event=lambda *_: None, **options):
    sharing = Sharing(functools.partial(opening, kind), ("cpu",) * (n - 1))
    options |= {"identity": {"weights": "w"}, "sharing": sharing}
    return evaluate(ToyModel(), make_data(), settings, directory, on_event, **options)


def test_several_processes_evaluate_as_one(tmp_path):
    settings = dataclasses.replace(SETTINGS, batch_indices=(0, 1))
    alone = evaluate(ToyModel(), make_data(), settings, tmp_path / "alone")
    said, whole = [], []
    several = shared(
        tmp_path / "several",
        settings,
        on_event=lambda event, values: said.append((event, values)),
        on_example=lambda example, spec: whole.append(example.trajectory),
    )
    assert sorted(whole) == [0, 1, 2, 3]
    for name in CSV_FILES:
        assert (tmp_path / "several" / name).read_bytes() == (tmp_path / "alone" / name).read_bytes(), name
    for a, b in zip(alone.examples, several.examples, strict=True):
        assert a.trajectory == b.trajectory
        assert np.array_equal(a.members, b.members)
    progress = [values for event, values in said if event == "progress"]
    assert progress[-1]["done"] == progress[-1]["total"] == 5 * 8 * 5
    assert [values["step"] for event, values in said if event == "scored"][-1] == 5


def test_a_failure_elsewhere_is_told_and_loses_nothing(tmp_path):
    with pytest.raises(ShareError, match=r"cpu has failed: FloatingPointError: of trajectory 2[\s\S]*kept"):
        shared(tmp_path, kind=Failing)
    model = ToyModel()
    evaluate(model, make_data(), SETTINGS, tmp_path, identity={"weights": "w"})
    assert set(model.calls) == {2, 3}


def test_a_killed_process_is_noticed(tmp_path):
    with pytest.raises(ShareError, match="it ended with -9"):
        shared(tmp_path, kind=Killed)


def test_no_process_is_left_when_the_first_one_stops(tmp_path):
    class Stopped(Exception):
        pass

    def stop(event, values):
        if event == "progress" and values["done"] > 0:
            raise Stopped

    with pytest.raises(Stopped):
        shared(tmp_path, on_event=stop)
    assert multiprocessing.active_children() == []


def test_rollouts_are_kept_by_one_process_which_is_told(tmp_path):
    notes = []
    settings = dataclasses.replace(SETTINGS, save_rollouts=True, devices=2)
    shared(tmp_path, settings, on_event=lambda event, values: notes.append(values) if event == "note" else None)
    assert [note["text"].split(":")[0] for note in notes] == ["eval.devices=2"]
    assert (tmp_path / "rollouts.hdf5").is_file()
