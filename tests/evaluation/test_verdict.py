import dataclasses

import numpy as np
import pandas as pd
import pytest

from autocast.evaluation.result import COVERAGE_COLUMNS, SCORE_COLUMNS, EvaluationResult
from autocast.evaluation.verdict import verdict
from autocast.evaluation.verdict_accuracy import better_until, reconstruction_floor, vrmse_ratios
from autocast.types import FieldSpec

SPEC = FieldSpec("toy", ("u",), ("",), ("x",), (16,), (1.0,), ("periodic",), 0.1)
LEADS = np.arange(1, 11)


def make_result(vrmse, *, n_members=8, ssr=0.9, floor=0.02, **baselines):
    curves = {("model", "vrmse", "mean"): vrmse, ("model", "vrmse", "member"): vrmse * 1.2}
    curves[("model", "ssr", "ensemble")] = np.full(10, ssr)
    curves[("reconstruction", "vrmse", "member")] = np.full(10, floor)
    curves.update({(name, "vrmse", "member"): values for name, values in baselines.items()})
    rows = [
        (*key, lead, "all", "1", v) for key, values in curves.items() for lead, v in zip(LEADS, values, strict=True)
    ]
    order = ["model", "metric", "kind", "lead_time", "channel", "unit", "value"]
    scores = pd.DataFrame(rows, columns=order).reindex(columns=list(SCORE_COLUMNS))
    timing = {"seconds_per_step_and_member": 0.0131, "device": "cpu", "compiled": False}
    return EvaluationResult(SPEC, scores, n_members, 8, 10, provenance={"timing": timing})


def by_topic(result):
    return {finding.topic: finding for finding in verdict(result)}


def test_a_good_emulator_gets_good_marks_and_its_figures():
    result = make_result(0.01 * LEADS, persistence=0.2 * LEADS, climatology=np.ones(10), linear=0.05 * LEADS)
    found = by_topic(result)
    assert {finding.mark for finding in found.values()} == {"good"}
    assert found["baselines"].text == (
        "Better than persistence, climatology and the linear map at every lead (1 to 10)."
    )
    assert ".050 of persistence's" in found["accuracy"].text
    assert ".200 of the linear map's" in found["accuracy"].text
    assert "mean of 8 members: .010 at lead 1 and .080 at lead 8" in found["accuracy"].text
    assert "ssr .900 at lead 1" in found["spread"].text
    assert "2 %" in found["floor"].text
    assert "13 ms" in found["cost"].text


def test_a_fading_emulator_is_told_until_when():
    result = make_result(0.1 * LEADS, persistence=np.full(10, 0.55), linear=np.full(10, 5.0))
    found = by_topic(result)["baselines"]
    assert found.mark == "warn"
    assert found.text == "Better than persistence until lead 5, than the linear map at every lead (of 10)."


def test_a_useless_emulator_is_called_that():
    found = by_topic(make_result(np.ones(10), persistence=np.full(10, 0.5)))
    assert found["baselines"].mark == "bad"
    assert found["baselines"].text == "Not better than persistence at lead 1."
    assert found["accuracy"].mark == "bad"


@pytest.mark.parametrize(
    ("ssr", "mark", "words"),
    [(1.1, "good", "fits"), (0.6, "warn", "too sure"), (0.2, "bad", "too sure"), (3.0, "bad", "larger")],
)
def test_spread_is_judged_both_ways(ssr, mark, words):
    found = by_topic(make_result(0.1 * LEADS, ssr=ssr))["spread"]
    assert found.mark == mark
    assert words in found.text


def test_a_blow_up_comes_first_and_is_never_good():
    vrmse = 0.01 * LEADS
    vrmse[6:] = np.nan
    findings = verdict(make_result(vrmse, persistence=np.ones(10)))
    assert findings[0].topic == "stability"
    assert "from lead 7 on" in findings[0].text
    assert {f.topic: f.mark for f in findings}["baselines"] == "warn"
    assert {f.topic: f.mark for f in findings}["accuracy"] == "bad"


def test_one_deterministic_forecast_is_compared_by_its_only_member():
    result = make_result(np.full(10, np.nan), n_members=1, persistence=np.ones(10))
    scores = result.scores[(result.scores.kind != "mean") & (result.scores.metric != "ssr")].copy()
    scores.loc[(scores.model == "model"), "value"] = 0.5
    result = dataclasses.replace(result, scores=scores, deterministic=True)
    np.testing.assert_allclose(vrmse_ratios(result)["persistence"], 0.5)
    assert "does not say how sure" in by_topic(result)["spread"].text


def test_an_autoencoder_is_judged_by_what_it_loses():
    found = {
        finding.topic: finding
        for finding in verdict(dataclasses.replace(make_result(np.full(10, 0.02)), reconstructs=True))
    }
    assert found["reconstruction"].mark == "good"
    assert "loses 2.4 % (VRMSE .024)" in found["reconstruction"].text
    assert "spread" not in found


def test_a_floor_of_nothing_is_no_floor():
    assert reconstruction_floor(make_result(0.1 * LEADS, floor=1e-8)) is None
    assert reconstruction_floor(make_result(0.1 * LEADS, floor=0.03)) == pytest.approx(0.03)


def test_better_until_the_first_lead_that_is_not():
    assert better_until(pd.Series([0.5, 1.2, 0.5], index=[1, 2, 3])) == 1
    assert better_until(pd.Series([0.5, 0.6], index=[1, 2])) == 2
    assert better_until(pd.Series([1.0], index=[1])) == 0


def with_valid_times(first_invalid, kind="mean", **how):
    """The first lead time at which each of several trajectories of 10 steps is not valid any more."""
    trajectories = pd.DataFrame({"trajectory": range(len(first_invalid)), "value": np.array(first_invalid, float)})
    facts = {"model": "model", "metric": "valid_time_correlation", "kind": kind, "window": "all"}
    mean = {"value": np.mean(first_invalid), "low": 3.0, "high": 9.0, "channel": "all"}
    return dataclasses.replace(
        make_result(0.1 * LEADS, **how),
        trajectories=trajectories.assign(**facts),
        windows=pd.DataFrame([{**facts, **mean}]),
        lengths=(10,) * len(first_invalid),
    )


def test_it_says_until_when_forecasts_can_be_trusted():
    found = by_topic(with_valid_times([5, 11, 2, 6]))["valid_time"]
    assert found.mark == "warn"
    assert found.text == (
        "The mean of 8 members can be trusted (correlation with the truth at least 0.8) for 5 of 10 steps (t = 0.5, "
        "95 % interval 2 to 8); to the end in 25 % of the trajectories."
    )
    complete = by_topic(with_valid_times([11, 11], "member", n_members=1))["valid_time"]
    assert complete.mark == "good"
    assert "The forecast can be trusted" in complete.text
    assert "to the end of every trajectory (10 steps, t = 1)" in complete.text
    assert by_topic(with_valid_times([1, 1]))["valid_time"].mark == "bad"


@pytest.mark.parametrize(
    ("shares", "mark", "text"),
    [
        (np.zeros(10), "good", "No member blew up in 10 steps."),
        (np.repeat([0.0, 0.03], 5), "warn", "3 % of the members had blown up by lead 6."),
        (np.repeat([0.0, 0.5], 5), "bad", "50 % of the members had blown up by lead 6."),
    ],
)
def test_members_that_blew_up_are_counted(shares, mark, text):
    result = make_result(0.1 * LEADS)
    rows = pd.DataFrame({"lead_time": LEADS, "value": shares}).assign(
        model="model", metric="blow_up", kind="member", channel="u", unit="1"
    )
    found = by_topic(dataclasses.replace(result, scores=pd.concat([result.scores, rows])))["blow_up"]
    assert (found.mark, found.text) == (mark, text)


@pytest.mark.parametrize(("off", "mark", "words"), [(0.01, "good", "within 1 % points"), (-0.1, "warn", "less often"),
                                                    (0.2, "bad", "more often")])  # fmt: skip
def test_intervals_are_judged_by_how_often_they_hold_the_truth(off, mark, words):
    rows = [(level, level + off, "all", "all", level, 1.0) for level in (0.25, 0.5, 0.75)]
    coverage = pd.DataFrame(rows, columns=list(COVERAGE_COLUMNS))
    found = by_topic(dataclasses.replace(make_result(0.1 * LEADS), coverage=coverage))["reliability"]
    assert found.mark == mark
    assert words in found.text
