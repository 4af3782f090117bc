"""Rollouts far beyond the data."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from autocast.errors import ConfigError
from autocast.evaluation.evaluate import evaluate
from autocast.evaluation.result import STRESS_COLUMNS
from autocast.evaluation.settings import EvaluationSettings
from autocast.evaluation.stress import StressStream
from autocast.evaluation.stress_figures import draw_stress
from autocast.evaluation.verdict import verdict
from autocast.metrics.spectral import Grid
from autocast.rollout import rollout
from tests.evaluation.test_evaluate import SETTINGS, ToyModel, make_data


class Grows(ToyModel):
    """Waves that grow by a factor every step; only those of trajectory 0 where `first_only`."""

    def __init__(self, factor: float, first_only: bool = False):
        super().__init__(deterministic=True)
        self.factor = factor
        self.first_only = first_only

    def forecast(self, x, n_steps, *, trajectory, truth=None, **known):
        self.n_windows = 0
        factor = torch.full((len(x), 1, 1, 1, 1), self.factor)
        if self.first_only:
            factor[torch.as_tensor(trajectory) != 0] = 1.0
        powers = factor ** torch.arange(1, self.n_steps_output + 1).view(1, -1, 1, 1, 1)
        level = torch.tensor([1.0, 280.0])

        def step(x):
            self.n_windows += 1
            return (x[:, -1:] - level) * powers + level

        return (window.unsqueeze(1) for window in rollout(step, x, n_steps))


def evaluated(model, tmp_path, n_steps=40, **changed):
    settings = EvaluationSettings(**{**SETTINGS.__dict__, "stress": n_steps, "n_members": 2, **changed})
    return evaluate(model, make_data(), settings, tmp_path)


def stressed(model, tmp_path, n_steps=40, **changed):
    return evaluated(model, tmp_path, n_steps, **changed).stress


def test_a_model_that_stays_is_stable(tmp_path):
    stress = stressed(Grows(1.0), tmp_path)
    assert not stress.n_lost
    table = pd.read_csv(tmp_path / "stress.csv")
    assert tuple(table.columns) == STRESS_COLUMNS
    assert table.lead_time.max() == stress.n_steps == 40
    assert (table.stable == 1).all()
    data, frames = make_data().split("test"), []
    for i in range(data.n_trajectories):
        frames.append(data.read(i, 0, 10))
    last = np.stack([f[1] for f in frames])
    of_u = table[table.channel == "u"]
    np.testing.assert_allclose(of_u["mean"], last[..., 0].mean(), rtol=1e-5)
    np.testing.assert_allclose(of_u["std"], last[..., 0].std((1, 2)).mean(), rtol=1e-5)
    np.testing.assert_allclose(of_u["maximum"], last[..., 0].max(), rtol=1e-5)
    truth = np.stack(frames)[:, 2:]
    np.testing.assert_allclose(of_u.data_std_high, truth[..., 0].std((2, 3)).max(), rtol=1e-5)


def test_a_model_that_grows_is_lost_and_no_longer_rolled_out(tmp_path):
    model = Grows(2.0)
    stress = stressed(model, tmp_path, n_steps=3000)
    assert stress.n_lost == 5
    assert set(stress.lost_at) <= set(range(2, 9))
    assert model.n_windows < 10  # of its last batch
    assert stress.table.lead_time.max() <= 12
    for lead, stable in zip(stress.table.lead_time, stress.table.stable, strict=True):
        assert stable == (stress.lost_at > lead).mean()


def test_what_is_lost_leaves_the_averages(tmp_path):
    stress = stressed(Grows(2.0, first_only=True), tmp_path)
    calm = stressed(Grows(1.0), tmp_path)
    assert stress.lost_at[0] > 0
    assert stress.n_lost == 1
    last, calm_last = stress.table[stress.table.lead_time == 40], calm.table[calm.table.lead_time == 40]
    assert (last.stable == 0.8).all()
    assert (last["std"] < 2 * calm_last["std"]).all()
    assert np.isfinite(stress.spectra.member).all()


def test_what_is_kept_does_not_depend_on_the_number_of_steps():
    spec = make_data().spec
    plan = SimpleNamespace(stress_trajectories=range(3), spec=spec, grid=Grid(spec.grid_shape, spec.extent))
    kept = [StressStream(plan, n_steps).take([0, 1, 2]) for n_steps in (10_000, 1_000_000)]
    assert [sum(array.nbytes for array in arrays.values()) for arrays in kept[:1]] == [
        sum(array.nbytes for array in arrays.values()) for arrays in kept[1:]
    ]


def test_bins_of_lead_times_hold_every_step_once(tmp_path):
    stress = stressed(Grows(1.001), tmp_path, n_steps=1_203)
    of_u = stress.table[stress.table.channel == "u"]
    assert of_u.lead_time.iloc[0] == 3
    assert of_u.lead_time.iloc[-1] == 1_203
    start = np.mean([make_data().split("test").read(i, 1, 2)[0, ..., 0].std() for i in range(5)])
    for row, steps in ((0, [1, 2, 3]), (-1, [1201, 1202, 1203])):
        np.testing.assert_allclose(of_u["std"].iloc[row], start * np.mean(1.001 ** np.array(steps)), rtol=1e-4)


def test_a_stress_test_that_was_stopped_goes_on(tmp_path):
    def run(directory, stop_at=None):
        def listen(event, values):
            if event == "scored" and stop_at and values["step"] >= stop_at:
                raise KeyboardInterrupt

        settings = EvaluationSettings(**{**SETTINGS.__dict__, "stress": 30, "max_rows": 3})
        model = ToyModel()
        evaluate(model, make_data(), settings, directory, listen, identity={"weights": "1"})
        return model

    whole = run(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "stopped", stop_at=8)
    rest = run(tmp_path / "stopped")
    assert len(rest.calls) < len(whole.calls) / 2
    for name in ("stress.csv", "metrics.csv"):
        assert (tmp_path / "stopped" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


@pytest.mark.parametrize(
    ("model", "mark", "words"),
    [
        (Grows(1.0), "good", "40 steps from 5 trajectories: none blows up, and mean and std"),
        (Grows(1.02), "warn", "none blows up, but u and v end outside"),
        (Grows(2.0), "bad", "40 steps from 5 trajectories: 5 blow up, the first at lead"),
    ],
)
def test_the_verdict_and_the_figures_tell_how_it_ends(model, mark, words, tmp_path):
    result = evaluated(model, tmp_path)
    (finding,) = (finding for finding in verdict(result) if finding.topic == "stress")
    assert finding.mark == mark
    assert words in finding.text
    drawings = draw_stress(result, tmp_path / "figures")
    assert {"stress_std", "stress_mean", "stress_spectra_u"} <= {drawing.name for drawing in drawings}
    assert all(drawing.svg.is_file() and drawing.section == "stability" for drawing in drawings)


def test_an_autoencoder_alone_cannot_be_stressed(tmp_path):
    model = ToyModel()
    model.reconstructs = True
    with pytest.raises(ConfigError, match=r"eval.stress=40: an autoencoder alone"):
        stressed(model, tmp_path)
