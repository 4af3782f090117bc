"""The data's simulator as a baseline: it goes on from the last input frame, on a coarser grid and with its cost."""

import dataclasses
import functools
import json
from types import SimpleNamespace

import numpy as np
import pytest
from torch import nn

from autocast.data.headers import describe
from autocast.data.simulate import simulate_dataset
from autocast.data.splits import open_split
from autocast.errors import ConfigError
from autocast.evaluation.evaluate import evaluate
from autocast.evaluation.report_tables import baseline_table
from autocast.evaluation.settings import EvaluationSettings
from autocast.evaluation.sharing import Sharing
from autocast.evaluation.verdict import verdict
from autocast.preflight import preflight
from autocast.runs.place import Place
from autocast.runs.request import Request
from autocast.simulations import coarse_simulators
from autocast.simulators.advection_diffusion import AdvectionDiffusion
from autocast.simulators.continuation import coarsened

HALF, QUARTER = "simulator_half", "simulator_quarter"
SIMULATOR = AdvectionDiffusion(grid_shape=(16, 24), n_frames=17, cutoff=3, nu=(0.05, 0.2))
SIMULATORS = {HALF: coarsened(SIMULATOR, 2), QUARTER: coarsened(SIMULATOR, 4)}
SETTINGS = EvaluationSettings(
    metrics=("vrmse",), baselines=("persistence", HALF, QUARTER), n_members=2, max_rows=100, video=False
)


class Persistence(nn.Module):
    """Every second frame, two of them in and three out."""

    n_steps_input, n_steps_output, stride = 2, 3, 2
    deterministic, reconstructs = True, False

    def forecast(self, x, n_steps, **known):
        yield x[:, None, -1:].repeat(1, 1, n_steps, 1, 1, 1)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "vorticity"
    simulate_dataset(SIMULATOR, path, splits={"train": 1, "test": 5}, seed=0)
    return path


def make_data(path):
    spec = open_split(path, "test").spec
    return SimpleNamespace(spec=spec, digest="abc", batch_size=2, split=functools.partial(open_split, path))


def opening(path):
    return Persistence(), make_data(path)


def score(path, directory, settings=SETTINGS, simulators=SIMULATORS, **options):
    return evaluate(Persistence(), make_data(path), settings, directory, simulators=simulators, **options)


def test_at_full_resolution_it_repeats_the_data(path, tmp_path):
    """Its start, scalars and stride are therefore those of the trajectory."""
    result = score(path, tmp_path, simulators={HALF: SIMULATOR, QUARTER: SIMULATORS[QUARTER]})
    assert result.n_steps == 7
    assert result.series("vrmse", model=HALF).max() < 1e-5
    assert result.series("vrmse").min() > 1e-2


def test_the_finer_of_two_grids_is_closer_and_both_have_their_cost(path, tmp_path):
    result = score(path, tmp_path)
    half, quarter = (result.series("vrmse", model=name) for name in (HALF, QUARTER))
    assert (half < 0.5 * quarter).all()
    timing = json.loads((tmp_path / "evaluation.json").read_text())["timing"]
    assert timing["baselines"].keys() == {HALF, QUARTER}
    assert all(cost["seconds"] > cost["seconds_per_step"] > 0 for cost in timing["baselines"].values())
    table = baseline_table(result)
    assert "ms a step" in table
    assert "simulator, quarter resolution" in table


def test_goes_on_from_parts_in_other_batches(path, tmp_path):
    alone = score(path, tmp_path / "alone")

    class Stopped(Exception):
        pass

    def stop(event, values):
        if event == "scored" and values["step"] > 1:
            raise Stopped

    with pytest.raises(Stopped):
        score(path, tmp_path / "parts", on_event=stop, identity={"weights": "w"})
    settings = dataclasses.replace(SETTINGS, batch_size=1)
    resumed = score(path, tmp_path / "parts", settings, identity={"weights": "w"})
    np.testing.assert_allclose(resumed.scores["value"], alone.scores["value"], rtol=1e-5)
    assert resumed.provenance["timing"]["baselines"].keys() == {HALF, QUARTER}


@pytest.mark.slow
def test_several_processes_share_it(path, tmp_path):
    alone = score(path, tmp_path / "alone")
    sharing = Sharing(functools.partial(opening, path), ("cpu",))
    together = score(path, tmp_path / "together", identity={"weights": "w"}, sharing=sharing)
    np.testing.assert_allclose(together.scores["value"], alone.scores["value"], rtol=1e-5)
    assert together.provenance["timing"]["baselines"].keys() == {HALF, QUARTER}


@pytest.mark.parametrize(
    ("seconds", "vrmse", "mark", "said"),
    [
        (0.31, 0.05, "good", "at half resolution: VRMSE .050 at lead 7 (the model .100), 3.1 times the model's time."),
        (0.01, 0.2, "good", "0.1 times the model's time."),
        (0.01, 0.05, "bad", "0.1 times the model's time."),
        (40.0, np.nan, "good", "not finite at lead 7 (the model .100), 400 times the model's time."),
    ],
)
def test_the_verdict_says_what_it_buys(path, tmp_path, seconds, vrmse, mark, said):
    result = score(path, tmp_path, dataclasses.replace(SETTINGS, baselines=(HALF,)))
    result.scores.loc[result.scores.model == HALF, "value"] = vrmse
    result.scores.loc[result.scores.model == "model", "value"] = 0.1
    timing = result.provenance["timing"]
    timing |= {"seconds_per_step_and_member": 0.1, "baselines": {HALF: {"seconds_per_step": seconds}}}
    finding = next(finding for finding in verdict(result) if finding.topic == "simulator")
    assert finding.mark == mark
    assert finding.text.startswith("The simulator at half resolution: ")
    assert finding.text.endswith(said)


def test_it_is_found_by_the_manifest(path):
    found = coarse_simulators(("linear", QUARTER), describe(path).manifest)
    assert {**vars(found[QUARTER]), "n_frames": 17} == vars(SIMULATORS[QUARTER])
    assert coarse_simulators(("linear",), None) == {}


class OfTwoFrames(AdvectionDiffusion):
    continues_from_frames = False


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (None, "its data set was not simulated here"),
        ({"settings": {"grid_shape": [16, 18]}}, "16 x 18 points has none that is 4 times coarser"),
        ({"simulator": f"{__name__}.OfTwoFrames"}, "OfTwoFrames of its data set does not go on from a frame"),
    ],
)
def test_what_cannot_be_is_refused_with_the_reason(path, change, said, monkeypatch):
    monkeypatch.setenv("AUTOCAST_TARGETS", __name__)
    manifest = describe(path).manifest
    if change is None:
        manifest = None
    else:
        settings = {**manifest["plan"]["settings"], **change.get("settings", {})}
        manifest = {"plan": {**manifest["plan"], **change, "settings": settings}}
    with pytest.raises(ConfigError, match=rf"eval.baselines=\['simulator_quarter'\]: .*{said}"):
        coarse_simulators((QUARTER,), manifest)


@pytest.mark.parametrize("dry_run", [True, False])
def test_it_is_refused_before_anything_is_written(path, tmp_path, dry_run):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "data").symlink_to(path / "data")
    steps = {"n_steps_input": 1, "n_steps_output": 1, "stride": 1}
    config = {"datamodule": {"data_path": str(tmp_path / "other"), **steps}, "eval": {"baselines": [HALF]}}
    problems, _ = preflight(config, Request("eval", dry_run=dry_run), Place("epd", "eval", None))
    assert [problem.subject for problem in problems] == [f"eval.baselines=['{HALF}']"]
    assert "no manifest says how" in problems[0].message


def test_latents_have_no_simulator():
    with pytest.raises(ConfigError, match=r"eval.baselines=\['simulator_half'\]: a simulator computes fields"):
        EvaluationSettings(rollout="latent", baselines=(HALF,))


def test_it_is_not_there_unasked():
    assert not set(EvaluationSettings().baselines) & {HALF, QUARTER}
