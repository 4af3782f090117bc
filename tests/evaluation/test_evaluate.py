import dataclasses
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from autocast.data.splits import open_file
from autocast.data.trajectories import Trajectories
from autocast.errors import ConfigError, DataError
from autocast.evaluation.evaluate import evaluate
from autocast.evaluation.record import read_record
from autocast.evaluation.result import RANK_COLUMNS, SCORE_COLUMNS, WINKLER_COLUMNS
from autocast.evaluation.settings import EvaluationSettings, lead_windows
from autocast.generative.noise import Noise
from autocast.metrics.catalogue import BANDS, ENTRIES, FAMILIES
from autocast.rollout import rollout
from autocast.types import FieldSpec

GRID, C, TI, TO = (8, 12), 2, 2, 3


class ToyTrajectories(Trajectories):
    """Waves that travel, with one scalar (their speed) and one constant field."""

    def __init__(self, n_trajectories, n_frames, seed):
        rng = np.random.default_rng(seed)
        self.n_trajectories = n_trajectories
        self.lengths = n_frames if isinstance(n_frames, list) else [n_frames] * n_trajectories
        self.speeds = rng.uniform(0.1, 0.4, n_trajectories)
        self.phases = rng.uniform(0, 6, (n_trajectories, C))
        self.spec = FieldSpec(
            dataset_name="waves",
            channel_names=("u", "v"),
            units=("m/s", "K"),
            dim_names=("x", "y"),
            grid_shape=GRID,
            extent=(1.0, 1.5),
            boundary=("periodic", "periodic"),
            time_step=0.1,
            scalar_names=("speed",),
            constant_field_names=("mask",),
        )

    def n_steps(self, i):
        return self.lengths[i]

    def read(self, i, start, stop, stride=1):
        self.check_range(i, start, stop, stride)
        t = np.arange(start, stop, stride)[:, None, None, None]
        x = np.arange(GRID[0])[:, None, None] * 2 * np.pi / GRID[0]
        y = np.arange(GRID[1])[None, :, None] * 2 * np.pi / GRID[1]
        waves = np.sin(x + self.phases[i] - self.speeds[i] * t) * np.cos(y + 0.1 * t) + [1.0, 280.0]
        return waves.astype(np.float32)

    def scalars(self, i):
        return self.speeds[i : i + 1].astype(np.float32)

    def constant_fields(self, i):
        return np.full((*GRID, 1), i, np.float32)

    def name(self, i):
        return f"waves.hdf5, trajectory {i}"


class ToyModel(nn.Module):
    """Persistence with noise that grows, seeded as an emulator's."""

    n_steps_input, n_steps_output = TI, TO

    def __init__(self, deterministic=False, stride=1):
        super().__init__()
        self.stride = stride
        self.deterministic = deterministic
        self.reconstructs = False
        self.scale = nn.Parameter(torch.tensor(0.05))
        self.calls = []

    def forecast(self, x, n_steps, *, n_members, seed, trajectory, scalars, constant_fields, truth=None, max_rows=None):
        self.calls += trajectory.tolist()
        assert scalars.shape == (len(x), 1)
        assert constant_fields.shape == (len(x), *GRID, 1)
        n_members = 1 if self.deterministic else n_members
        noise = Noise([(seed, int(i), member) for i in trajectory for member in range(n_members)])

        def step(x):
            if self.deterministic:
                return x[:, -1:].repeat(1, TO, 1, 1, 1)
            return x[:, -1:] + self.scale * noise.normal(TO, *GRID, C, like=x).cumsum(1)

        for window in rollout(step, x.repeat_interleave(n_members, 0), n_steps):
            yield window.unflatten(0, (len(x), n_members))

    def reconstruct(self, x):
        return x + 0.01


def make_data(n_test=5, n_frames=10, batch_size=2):
    splits = {"train": ToyTrajectories(6, 12, seed=0), "test": ToyTrajectories(n_test, n_frames, seed=1)}
    return SimpleNamespace(
        spec=splits["test"].spec,
        digest="abc",
        batch_size=batch_size,
        split=splits.__getitem__,
    )


SETTINGS = EvaluationSettings(n_members=3, max_rows=100, batch_indices=(1,), windows=("1", "2:4"))
CSV_FILES = (
    *("metrics.csv", "rollout_metrics.csv", "trajectory_metrics.csv", "trajectory_terms.csv"),
    *("coverage.csv", "rank_histogram.csv"),
)


def test_tables_hold_every_score_once(tmp_path):
    result = evaluate(ToyModel(), make_data(), SETTINGS, tmp_path)
    assert result.n_trajectories == 5
    assert result.n_steps == 8
    scores = pd.read_csv(tmp_path / "rollout_metrics.csv")
    assert tuple(scores.columns) == SCORE_COLUMNS
    assert not scores.duplicated(["model", "metric", "kind", "lead_time", "channel"]).any()
    assert list(dict.fromkeys(scores.model)) == ["model", "persistence", "climatology", "linear", "reconstruction"]
    assert set(scores.channel) == {"all", "u", "v"}
    assert set(scores.lead_time) == set(range(1, 9))
    assert set(scores[(scores.model == "model") & (scores.metric == "rmse")].kind) == {"member", "mean"}
    assert set(scores[scores.model == "persistence"].kind) == {"member", "ensemble"}
    windows = pd.read_csv(tmp_path / "metrics.csv")
    assert set(windows.window) == {"all", "1", "2:4"}
    assert (windows.n_trajectories == 5).all()
    for table in (scores, windows):  # sine waves have no power in some bands, where there is nothing to compare
        assert set(table[~np.isfinite(table.value)].metric) <= {f"psrmse_{band}" for band in ("mid", "high", "tail")}


def test_units_are_physical_and_named(tmp_path):
    evaluate(ToyModel(), make_data(), SETTINGS, tmp_path)
    scores = pd.read_csv(tmp_path / "rollout_metrics.csv").set_index(["metric", "channel"]).sort_index()
    unit = {key: set(scores.loc[key].unit) for key in [("rmse", "u"), ("mse", "u"), ("mse", "v"), ("vrmse", "v")]}
    assert unit == {("rmse", "u"): {"m/s"}, ("mse", "u"): {"(m/s)²"}, ("mse", "v"): {"K²"}, ("vrmse", "v"): {"1"}}
    assert set(scores.loc[("rmse", "all")].unit) == {"mixed"}
    reconstruction = scores[scores.model == "reconstruction"].loc[("mae", "v")]
    np.testing.assert_allclose(reconstruction.value, 0.01, rtol=1e-2)


@pytest.mark.parametrize("save_rollouts", [False, True])
def test_one_rollout_of_each_trajectory_feeds_everything(tmp_path, save_rollouts):
    model = ToyModel()
    settings = dataclasses.replace(SETTINGS, save_rollouts=save_rollouts)
    result = evaluate(model, make_data(), settings, tmp_path)
    assert model.calls == [0, 1, 2, 3, 4]
    assert [example.trajectory for example in result.examples] == [2, 3]
    truth = make_data().split("test").read(2, 0, 10)
    np.testing.assert_array_equal(result.examples[0].truth, truth[TI:])
    np.testing.assert_array_equal(result.examples[0].initial, truth[:TI])
    np.testing.assert_allclose(result.examples[0].members.mean(0), result.examples[0].mean, rtol=1e-5)
    by_trajectory = pd.read_csv(tmp_path / "trajectory_metrics.csv")
    vrmse = by_trajectory.query("model == 'model' and metric == 'vrmse' and kind == 'mean' and trajectory == 2")
    assert set(vrmse.window) == {"all", "1", "2:4"}
    assert vrmse[vrmse.window == "all"].value.item() == pytest.approx(result.examples[0].score, rel=1e-6)


def test_the_terms_of_a_pooled_score_give_it(tmp_path):
    evaluate(ToyModel(), make_data(n_frames=[10, 10, 10, 10, 5]), SETTINGS, tmp_path)
    terms = pd.read_csv(tmp_path / "trajectory_terms.csv")
    assert set(terms.columns) >= {"window", "trajectory", "channel", "ensemble_variance", "mean_mse", "rank_cdf_0"}
    means = terms[terms.window == "1"].groupby("channel").mean(numeric_only=True)
    table = pd.read_csv(tmp_path / "metrics.csv").query("model == 'model' and window == '1' and metric == 'ssr'")
    found = np.sqrt(4 / 3 * means.ensemble_variance / means.mean_mse)
    for channel in ("u", "v"):
        assert table[table.channel == channel].value.item() == pytest.approx(found[channel], rel=1e-6)


def test_one_forecast_has_no_terms_of_an_ensemble(tmp_path):
    evaluate(ToyModel(deterministic=True), make_data(), SETTINGS, tmp_path)
    assert not (tmp_path / "trajectory_terms.csv").exists()


def test_the_record_says_what_was_scored(tmp_path):
    evaluate(ToyModel(), make_data(n_frames=[10, 6, 6, 10, 10]), SETTINGS, tmp_path)
    record = read_record(tmp_path)
    assert record is not None
    assert record.data["digest"] == make_data().digest
    assert (record.n_members, record.n_parameters, record.lengths) == (3, 1, (8, 4, 4, 8, 8))
    assert record.windows == {"all": (1, 8), "1": (1, 1), "2:4": (2, 4)}
    assert record.metrics["ssr"] == {"ideal": 1.0, "pooled": True}
    assert record.metrics["vrmse"] == {"ideal": 0.0, "pooled": False}
    assert record.metrics["spread"]["ideal"] is None
    assert [path.name for path in tmp_path.glob(".*")] == []


def test_kept_rollouts_are_those_that_were_scored(tmp_path):
    result = evaluate(ToyModel(), make_data(), dataclasses.replace(SETTINGS, save_rollouts=True), tmp_path)
    kept = open_file(tmp_path / "rollouts.hdf5")
    assert kept.n_trajectories == 5 * 3
    assert kept.spec.scalar_names == ("speed", "forecast_trajectory", "forecast_member")
    np.testing.assert_allclose(kept.scalars(2 * 3 + 1)[1:], [2, 1])
    example = result.examples[0]
    np.testing.assert_array_equal(kept.read(2 * 3 + 1, TI, 10), example.members[1])
    np.testing.assert_array_equal(kept.read(2 * 3 + 1, 0, TI), example.initial)
    np.testing.assert_array_equal(kept.constant_fields(2 * 3), np.full((*GRID, 1), 2))


def test_the_same_evaluation_gives_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        evaluate(ToyModel(), make_data(), SETTINGS, tmp_path / name)
    for file in CSV_FILES:
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


@pytest.mark.parametrize("changes", [{"batch_size": 1}, {"batch_size": 4}, {"max_rows": 7}, {"max_rows": None}])
def test_batches_change_neither_draws_nor_scores(tmp_path, changes):
    evaluate(ToyModel(), make_data(), SETTINGS, tmp_path / "a")
    evaluate(ToyModel(), make_data(), dataclasses.replace(SETTINGS, **changes), tmp_path / "b")
    for file in CSV_FILES:
        a, b = (pd.read_csv(tmp_path / name / file) for name in "ab")
        pd.testing.assert_frame_equal(a, b, rtol=1e-5, atol=1e-7)


def test_a_deterministic_model_has_one_member(tmp_path):
    result = evaluate(ToyModel(deterministic=True), make_data(), SETTINGS, tmp_path)
    assert result.n_members == 1
    assert result.coverage is None
    assert result.examples[0].members.shape[0] == 1
    assert result.examples[0].spread is None
    model = result.scores[result.scores.model == "model"]
    assert not {"spread", "ssr", "skill", "coverage_error"} & set(model.metric)
    for metric in ("vrmse", "mae"):
        np.testing.assert_array_equal(result.series(metric), result.series(metric, model="persistence"))
    np.testing.assert_allclose(result.series("crps_fair", "ensemble"), result.series("mae"), rtol=1e-6)


def test_equal_sizes_do_not_confuse_the_axes(tmp_path):
    """As many members as channels: the scores are those of a larger ensemble's first two."""
    result = evaluate(ToyModel(), make_data(), dataclasses.replace(SETTINGS, n_members=C), tmp_path)
    members = torch.from_numpy(np.stack([example.members for example in result.examples]))
    assert members.shape[1] == C
    example = result.examples[0]
    rmse = np.sqrt(((example.members - example.truth) ** 2).mean((2, 3))).mean((0, 1))
    settings = dataclasses.replace(SETTINGS, n_members=C, metrics=("rmse",))
    by_trajectory = evaluate(ToyModel(), make_data(), settings, tmp_path / "x")
    table = pd.read_csv(tmp_path / "x" / "trajectory_metrics.csv")
    value = table.query("model == 'model' and kind == 'member' and window == 'all' and trajectory == 2").value.item()
    assert value == pytest.approx(rmse.mean(), rel=1e-5)
    assert by_trajectory.n_members == C


def test_trajectories_of_different_lengths_are_scored_to_their_ends(tmp_path):
    data = make_data(n_frames=[10, 6, 6, 10, 10])
    result = evaluate(ToyModel(), data, dataclasses.replace(SETTINGS, save_rollouts=True), tmp_path)
    assert result.n_steps == 8
    assert np.isfinite(result.series("vrmse")).all()
    windows = pd.read_csv(tmp_path / "metrics.csv")
    assert set(windows.n_trajectories) == {5}
    assert np.isnan(open_file(tmp_path / "rollouts.hdf5").read(3, 6, 10)).all()


def test_stride_and_length_are_respected(tmp_path):
    settings = dataclasses.replace(SETTINGS, n_steps=2)
    result = evaluate(ToyModel(stride=2), make_data(), settings, tmp_path)
    frames = make_data().split("test").read(2, 0, 10)[::2]
    np.testing.assert_array_equal(result.examples[0].truth, frames[TI : TI + 2])
    np.testing.assert_array_equal(result.examples[0].initial, frames[:TI])


def test_asked_for_metrics_are_the_ones_written(tmp_path):
    result = evaluate(ToyModel(), make_data(), dataclasses.replace(SETTINGS, metrics=("mse", "rmse")), tmp_path)
    assert set(pd.read_csv(tmp_path / "metrics.csv").metric) == {"mse", "rmse"}
    assert {"vrmse", "ssr"} <= set(result.scores.metric)  # the verdict needs them


def test_events_tell_of_progress_and_of_what_is_not_as_asked(tmp_path):
    events = []
    settings = dataclasses.replace(SETTINGS, n_steps=99, batch_indices=(0, 7), max_videos=1)
    evaluate(ToyModel(), make_data(), settings, tmp_path, lambda name, values: events.append((name, values)))
    progress = [values["done"] / values["total"] for name, values in events if name == "progress"]
    assert progress == sorted(progress)
    assert progress[-1] == 1
    notes = " ".join(values["text"] for name, values in events if name == "note")
    for key in ("eval.n_steps=99", "eval.max_videos", "eval.batch_indices"):
        assert key in notes


def test_timing_stays_out_of_the_tables(tmp_path):
    result = evaluate(ToyModel(), make_data(), SETTINGS, tmp_path)
    assert result.provenance["timing"]["seconds_per_step_and_member"] > 0
    assert not any("seconds" in (tmp_path / file).read_text() for file in CSV_FILES)


def test_too_short_trajectories_are_refused_by_name(tmp_path):
    with pytest.raises(DataError, match=r"waves.hdf5, trajectory 1: has 2 frames"):
        evaluate(ToyModel(), make_data(n_frames=[10, 2, 10, 10, 10]), SETTINGS, tmp_path)


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"metrics": ["rmes"]}, "Did you mean rmse"),
        ({"windows": ["8:2"]}, "no window"),
        ({"windows": ["a"]}, "no window"),
        ({"baselines": ["persistance"]}, "no such baseline"),
        ({"n_members": 0}, "eval.n_members=0"),
        ({"batch_indices": [-1]}, "count from 0"),
    ],
)
def test_settings_that_make_no_sense_are_refused(section, message):
    with pytest.raises(ConfigError, match=message):
        EvaluationSettings.from_config(section)


def test_empty_settings_are_the_defaults():
    assert EvaluationSettings.from_config({"metrics": None, "n_steps": None}) == EvaluationSettings()


def test_a_window_of_one_lead_time_may_be_a_number():
    assert EvaluationSettings.from_config({"windows": [1, "2:4"]}).windows == ("1", "2:4")


def test_windows_end_where_the_rollout_ends():
    assert lead_windows(("1", "2:8", "9:16"), 5) == {"all": (1, 5), "1": (1, 1), "2:5": (2, 5)}


ALL_SCORES = dataclasses.replace(SETTINGS, n_members=6, metrics=tuple(ENTRIES))


def test_every_score_that_there_is_can_be_asked_for(tmp_path):
    evaluate(ToyModel(), make_data(), ALL_SCORES, tmp_path)
    windows = pd.read_csv(tmp_path / "metrics.csv")
    model = windows[windows.model == "model"]
    without = {f"{family}_{band}" for family in ("psrmse", "coherence") for band in ("high", "tail")}  # a small grid
    assert set(ENTRIES) - set(model.metric) <= without
    finite = np.isfinite(model.value)
    assert set(model[~finite].metric) <= {f"{family}_{band}" for family in ("psrmse", "coherence") for band in BANDS}


def test_what_counts_steps_has_a_row_for_the_whole_rollout_and_for_each_trajectory(tmp_path):
    result = evaluate(ToyModel(), make_data(), ALL_SCORES, tmp_path)
    names = list(FAMILIES["valid_time"])
    windows = pd.read_csv(tmp_path / "metrics.csv").query("metric in @names and model == 'model'")
    assert set(windows.metric) == set(names)
    assert set(windows.window) == {"all"}
    assert set(windows.unit) == {"steps"}
    assert not set(names) & set(result.scores.metric)
    by_trajectory = pd.read_csv(tmp_path / "trajectory_metrics.csv").query("metric in @names and model == 'model'")
    assert len(by_trajectory) == 2 * 5
    assert by_trajectory.value.between(1, 9).all()
    means = windows[windows.channel == "all"].set_index("metric").value
    for name, values in by_trajectory.groupby("metric").value:
        assert values.mean() == pytest.approx(means[name], rel=1e-6)


def test_the_truth_through_no_autoencoder_drifts_as_the_truth(tmp_path):
    evaluate(ToyModel(), make_data(), ALL_SCORES, tmp_path)
    scores = pd.read_csv(tmp_path / "rollout_metrics.csv").query("channel == 'u'")
    truth = np.stack([make_data().split("test").read(i, 0, 10)[TI:] for i in range(5)]).astype(float)
    energy = (truth**2).mean((2, 3))
    expected = np.abs(energy / energy[:, :1] - 1).mean(0)  # of what is only a little distorted
    drift = scores.query("model == 'reconstruction' and metric == 'energy_drift'").value
    np.testing.assert_allclose(drift, expected[:, 0], atol=0.05)
    assert (scores.query("model == 'model' and metric == 'blow_up'").value == 0).all()


def test_calibration_has_a_table_of_ranks_and_of_intervals(tmp_path):
    result = evaluate(ToyModel(), make_data(), ALL_SCORES, tmp_path)
    ranks = pd.read_csv(tmp_path / "rank_histogram.csv")
    assert tuple(ranks.columns) == RANK_COLUMNS
    sums = ranks.groupby(["window", "channel"])[["share", "expected"]].sum()
    np.testing.assert_allclose(sums, 1, rtol=1e-6)
    assert (ranks.first_rank == ranks.last_rank).all()
    assert set(ranks.last_rank) == set(range(7))
    coverage = pd.read_csv(tmp_path / "coverage.csv")
    for table, value in ((ranks, "share"), (coverage, "coverage")):
        assert ((table.low <= table[value]) & (table[value] <= table.high)).all()
        assert (table.low < table.high).any()
    winkler = pd.read_csv(tmp_path / "winkler.csv")
    assert tuple(winkler.columns) == WINKLER_COLUMNS
    assert result.ranks is not None
    nearest = winkler.query("window == 'all' and channel == 'u'").set_index("level").value
    level = min(nearest.index, key=lambda p: abs(p - 0.8))
    score = result.windows.query("model == 'model' and metric == 'winkler' and window == 'all' and channel == 'u'")
    assert nearest[level] == pytest.approx(score.value.item(), rel=1e-6)


def test_one_member_has_no_ranks(tmp_path):
    result = evaluate(ToyModel(deterministic=True), make_data(), ALL_SCORES, tmp_path)
    assert result.ranks is None
    assert result.winkler is None
    assert not (tmp_path / "rank_histogram.csv").exists()
