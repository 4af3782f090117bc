"""An evaluation that calibrates: fitted to the validation split, shown beside the model, which stays as it is."""

import dataclasses
import functools
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from autocast.errors import ConfigError, DataError
from autocast.evaluation.calibration_figures import draw_calibration
from autocast.evaluation.evaluate import evaluate
from autocast.evaluation.result import CALIBRATION_COLUMNS, INTERVAL_COLUMNS
from autocast.evaluation.sharing import Sharing
from autocast.evaluation.verdict import verdict
from tests.evaluation.test_evaluate import CSV_FILES, SETTINGS, ToyModel, ToyTrajectories, make_data

WEIGHTS = {"weights": "w"}
FILES = (*CSV_FILES, "calibration.csv", "intervals.csv")
METHODS = ("spread", "conformal")


class Killed(Exception):
    pass


def data(valid=None, **sizes):
    plain = make_data(**sizes)
    valid = valid or ToyTrajectories(7, 10, seed=2)
    split = {"train": plain.split("train"), "valid": valid, "test": plain.split("test")}.__getitem__
    return SimpleNamespace(spec=plain.spec, digest=plain.digest, batch_size=plain.batch_size, split=split)


def calibrated(method, **other):
    metrics = ("rmse", "ssr", "coverage", "rank_histogram")
    settings = dataclasses.replace(SETTINGS, n_members=6, metrics=metrics, baselines=("persistence",))
    return dataclasses.replace(settings, calibrate=method, **other)


def opening():
    return ToyModel(), data()


def without_calibrated(file):
    return [line for line in file.read_text().splitlines() if not line.startswith("calibrated,")]


@pytest.mark.parametrize("method", METHODS)
def test_the_models_own_scores_are_the_same_to_the_last_byte(tmp_path, method):
    evaluate(ToyModel(), data(), calibrated(None), tmp_path / "plain")
    evaluate(ToyModel(), data(), calibrated(method), tmp_path / method)
    for name in CSV_FILES:
        assert without_calibrated(tmp_path / method / name) == (tmp_path / "plain" / name).read_text().splitlines()
    assert not (tmp_path / "plain" / "calibration.csv").exists()


def test_spread_fits_the_error_where_it_was_fitted_and_the_mean_stays(tmp_path):
    same = ToyTrajectories(5, 10, seed=1)
    result = evaluate(ToyModel(), data(valid=same), calibrated("spread"), tmp_path)
    for channel in ("u", "v"):
        np.testing.assert_allclose(result.series("ssr", "ensemble", "calibrated", channel), 1, rtol=1e-5)
        raw = result.series("ssr", "ensemble", "model", channel)
        fitted = pd.read_csv(tmp_path / "calibration.csv")
        factors = fitted[fitted.channel == channel].set_index("lead_time").value
        np.testing.assert_allclose(factors * raw, 1, rtol=1e-6)
        means = [result.series("rmse", "mean", model, channel) for model in ("model", "calibrated")]
        pd.testing.assert_series_equal(*means)
    windows = pd.read_csv(tmp_path / "metrics.csv")
    assert {"model", "calibrated"} < set(windows.model)


def test_tables_say_what_was_fitted_and_what_it_changed(tmp_path):
    evaluate(ToyModel(), data(), calibrated("conformal"), tmp_path)
    fitted, intervals = (pd.read_csv(tmp_path / name) for name in ("calibration.csv", "intervals.csv"))
    assert tuple(fitted.columns) == CALIBRATION_COLUMNS
    assert tuple(intervals.columns) == INTERVAL_COLUMNS
    assert (fitted.n_trajectories == 7).all()
    assert set(intervals.model) == {"model", "calibrated"}
    assert set(intervals.unit) == {"mixed", "m/s", "K"}
    keys = ["model", "lead_time", "channel", "level"]
    assert not intervals.duplicated(keys).any()
    rows = intervals.set_index(keys).sort_index()
    assert len(rows) == 2 * 8 * 3 * 3
    assert ((rows.low <= rows.coverage) & (rows.coverage <= rows.high)).all()
    assert (rows.interval_score >= rows.width).all()
    before, after = rows.loc["model"], rows.loc["calibrated"]
    levels = after.index.get_level_values("level")
    assert abs(after.coverage - levels).mean() < 0.3 * abs(before.coverage - levels).mean()
    ranks = pd.read_csv(tmp_path / "coverage.csv")
    windowed = ranks[(ranks.window == "1") & (ranks.channel == "u")].set_index("level").coverage
    np.testing.assert_allclose(before.loc[1, "u"].coverage, windowed, atol=1e-6)  # the model's rank intervals


def test_a_deterministic_model_gets_intervals_of_the_levels_that_the_trajectories_can_give(tmp_path):
    notes = []
    result = evaluate(
        ToyModel(deterministic=True),
        data(),
        calibrated("conformal"),
        tmp_path,
        lambda event, values: notes.append(values["text"]) if event == "note" else None,
    )
    assert result.calibration.intervals.level.unique().tolist() == [0.5, 0.8]
    assert set(result.calibration.intervals.model) == {"calibrated"}
    assert set(result.calibration.fitted.unit) == {"m/s", "K"}
    left_out = [note for note in notes if "no interval" in note]
    assert [note.split("level ")[1] for note in left_out] == ["0.95, which needs 19", "0.9, which needs 9"]


@pytest.mark.parametrize("method", METHODS)
def test_results_do_not_depend_on_the_batches(tmp_path, method):
    for size in (1, 2, 5):
        evaluate(ToyModel(), data(), calibrated(method, batch_size=size), tmp_path / str(size))
    for name in FILES:  # but for the rounding of a forecast that is computed in other batches
        one, *others = (pd.read_csv(tmp_path / str(size) / name) for size in (1, 2, 5))
        for other in others:
            pd.testing.assert_frame_equal(one, other, rtol=1e-4, atol=1e-5)


# seven validation trajectories of 8 steps by the model alone, then five by two forecasters
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("stop", "redone"), [((0, 40), {4, 5, 6}), ((1, 48), {2, 3, 4})], ids=["fitting", "scoring"])
def test_goes_on_where_it_was_stopped(tmp_path, method, stop, redone):
    splits_begun, done = 0, 0

    def listen(event, values):
        nonlocal splits_begun, done
        if event == "progress":
            splits_begun += values["done"] <= done
            done = values["done"]
            if (splits_begun - 1, values["done"]) >= stop:
                raise Killed

    evaluate(ToyModel(), data(), calibrated(method), tmp_path / "whole")
    with pytest.raises(Killed):
        evaluate(ToyModel(), data(), calibrated(method), tmp_path / "cut", listen, identity=WEIGHTS)
    model, steps = ToyModel(), []
    evaluate(
        model,
        data(),
        calibrated(method),
        tmp_path / "cut",
        lambda event, values: steps.append(values["step"]) if event == "scored" else None,
        identity=WEIGHTS,
    )
    seen = set(model.calls[: len(redone)]) if stop[0] == 0 else set(model.calls)
    assert seen == redone
    assert steps == sorted(steps)
    assert steps[-1] == 12
    for name in FILES:
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name


def test_several_processes_calibrate_as_one(tmp_path):
    settings = calibrated("conformal")
    evaluate(ToyModel(), data(), settings, tmp_path / "alone")
    sharing = Sharing(functools.partial(opening), ("cpu",))
    evaluate(ToyModel(), data(), settings, tmp_path / "several", identity=WEIGHTS, sharing=sharing)
    for name in FILES:
        assert (tmp_path / "several" / name).read_bytes() == (tmp_path / "alone" / name).read_bytes(), name


def test_what_cannot_be_calibrated_is_told_before_anything_runs(tmp_path):
    with pytest.raises(ConfigError, match=r"eval\.calibrate=widen: no such method. There are: spread, conformal"):
        calibrated("widen")
    with pytest.raises(ConfigError, match=r"eval\.n_members=1: one member has no spread"):
        dataclasses.replace(calibrated("spread"), n_members=1)
    deterministic = ToyModel(deterministic=True)
    with pytest.raises(ConfigError, match=r"deterministic and has no spread\. Set eval.calibrate=conformal"):
        evaluate(deterministic, data(), calibrated("spread"), tmp_path / "out")
    autoencoder = ToyModel()
    autoencoder.reconstructs = True
    with pytest.raises(ConfigError, match="an autoencoder alone makes no forecast"):
        evaluate(autoencoder, data(), calibrated("conformal"), tmp_path / "out")
    model = ToyModel()
    with pytest.raises(DataError, match="the validation split has 1 trajectories, at least 2"):
        evaluate(model, data(valid=ToyTrajectories(1, 10, seed=2)), calibrated("spread"), tmp_path / "out")
    with pytest.raises(DataError, match=r"8 steps, but fewer than 2 .* more than 5. Set eval.n_steps=5"):
        evaluate(model, data(valid=ToyTrajectories(3, [10, 7, 6], seed=2)), calibrated("spread"), tmp_path / "out")
    assert model.calls == deterministic.calls == []


@pytest.mark.parametrize(
    ("method", "deterministic", "said"),
    [
        ("spread", False, "Spread-calibrated on 7 validation trajectories: ssr "),
        ("conformal", False, "Intervals of level .714, calibrated on 7 validation trajectories, hold "),
        ("conformal", True, "Intervals of level .800, calibrated on 7 validation trajectories, hold "),
    ],
)
def test_the_report_shows_before_and_after(tmp_path, method, deterministic, said):
    result = evaluate(ToyModel(deterministic), data(), calibrated(method), tmp_path)
    (finding,) = [finding for finding in verdict(result) if finding.topic == "calibration"]
    assert finding.text.startswith(said)
    assert ("(was " in finding.text) != deterministic
    drawn = {drawing.png.stem for drawing in draw_calibration(result, result.calibration, tmp_path)}
    ensemble = {"rank_histogram", "spread_skill_calibrated"} if method == "spread" else set()
    assert drawn == {"coverage", "coverage_by_lead"} | ensemble
