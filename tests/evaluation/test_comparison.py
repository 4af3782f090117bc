"""Runs side by side: who is called better, who is not, and what is not compared at all."""

from __future__ import annotations

import csv
import json
import re

import numpy as np
import pandas as pd
import pytest

from autocast.evaluation.comparable import Candidate, Wishes
from autocast.evaluation.comparison import (
    ALIKE,
    BETTER,
    NOT_FINITE,
    NOT_MEASURED,
    OTHER_DATA,
    REFERENCE,
    WITHIN_SEEDS,
    WORSE,
    compare,
)
from autocast.evaluation.comparison_curves import save_curves
from autocast.evaluation.comparison_files import document, latex, markdown, write_files
from autocast.evaluation.comparison_page import write_comparison_page
from autocast.evaluation.comparison_text import number, sentence
from autocast.evaluation.record import Record, write_record

N, LEADS = 30, 5
WINDOWS = {"all": (1, LEADS), "1": (1, 1)}
METRICS = {
    "vrmse": {"ideal": 0.0, "pooled": False},
    "correlation": {"ideal": 1.0, "pooled": False},
    "crps": {"ideal": 0.0, "pooled": False},
    "crps_fair": {"ideal": 0.0, "pooled": False},
    "spread": {"ideal": None, "pooled": True},
    "ssr": {"ideal": 1.0, "pooled": True},
}
HARD = np.random.default_rng(0).lognormal(-1.0, 0.5, N)
"""How hard each trajectory is, for every model."""


@pytest.fixture
def evaluated(tmp_path):
    """Writes an evaluation whose scores are a factor times the hardness of the trajectories, with noise of its own."""

    def write(name, factor=1.0, *, noise=0.1, seed=1, n_members=4, ssr=0.9, key=None, run_seed=None, **about):
        rng = np.random.default_rng(seed)
        directory = tmp_path / name / "eval"
        directory.mkdir(parents=True)
        scores = factor * HARD * rng.lognormal(0.0, noise, N)
        kinds = [("vrmse", "member", 1.3), ("correlation", "member", 1.0)]
        kinds += [("vrmse", "mean", 1.0), ("correlation", "mean", 1.0)] if n_members > 1 else []
        kinds += [("crps", "ensemble", 0.7), ("crps_fair", "ensemble", 0.6)]
        rows, curves = [], []
        for metric, kind, of in kinds:
            values = 1 - 0.1 * scores if metric == "correlation" else of * scores
            rows += [("model", metric, kind, w, i, "1", v) for w in WINDOWS for i, v in enumerate(values)]
            rows += [("persistence", metric, kind, w, i, "1", 9.0) for w in WINDOWS for i in range(N)]
            curves += [("model", metric, kind, t, "all", "1", of * factor * t) for t in range(1, LEADS + 1)]
        if n_members > 1:
            curves += [("model", "ssr", "ensemble", t, "all", "1", ssr) for t in range(1, LEADS + 1)]
            rows += [
                ("model", m, "ensemble", w, i, "1", 0.123) for m in ("ssr", "spread") for w in WINDOWS for i in range(N)
            ]
            error = np.stack([scores**2, 4 * scores**2], -1)
            variance = error * ssr**2 * n_members / (n_members + 1) * rng.lognormal(0.0, 0.05, error.shape)
            terms = [
                (w, i, c, variance[i, k], error[i, k]) for w in WINDOWS for i in range(N) for k, c in enumerate("uv")
            ]
            columns = ["window", "trajectory", "channel", "ensemble_variance", "mean_mse"]
            pd.DataFrame(terms, columns=columns).to_csv(directory / "trajectory_terms.csv", index=False)
        columns = ["model", "metric", "kind", "window", "trajectory", "unit", "value"]
        pd.DataFrame(rows, columns=columns).to_csv(directory / "trajectory_metrics.csv", index=False)
        columns = ["model", "metric", "kind", "lead_time", "channel", "unit", "value"]
        known = pd.DataFrame(curves, columns=columns)
        known.assign(low=0.9 * known.value, high=1.1 * known.value).to_csv(
            directory / "rollout_metrics.csv", index=False
        )
        (directory / "metrics.csv").touch()
        rollout = {
            "mode": "ambient",
            "seed": 0,
            "n_members": n_members,
            "n_steps": LEADS,
            "n_steps_input": 2,
            "stride": 1,
        }
        data = {"name": "toy", "split": "test", "digest": about.pop("digest", "d" * 16), "n_trajectories": N}
        record = Record(
            data=data,
            rollout={**rollout, "n_steps_input": 2, "stride": 1, **about},
            timing={"seconds_per_step_and_member": 0.01 * factor, "device": "cpu", "compiled": False},
            deterministic=n_members == 1,
            reconstructs=False,
            n_parameters=1234567,
            lengths=(LEADS,) * N,
            windows=WINDOWS,
            metrics=METRICS,
        )
        write_record(directory, record)
        return Candidate(name, directory, f"autocast eval --workdir {name}", key, run_seed, 120.0, 0.5)

    return write


def table_of(candidates, metric="vrmse", against=None, **wishes):
    found, problems = compare(candidates, Wishes(metrics=(metric,), **wishes), against)
    assert problems == []
    (table,) = found.tables
    return table


def verdicts(table):
    return {row.entry.name: row.verdict for row in table.rows}


def problems_of(*candidates, **wishes):
    found, problems = compare(candidates, Wishes(**wishes))
    assert found is None
    return dict(problems)


def test_a_better_model_is_called_better(evaluated):
    table = table_of([evaluated("a"), evaluated("b", 1.2, seed=2)])
    assert verdicts(table) == {"a": REFERENCE, "b": WORSE}
    worse = table.rows[1].difference
    assert 0 < worse.low < worse.value < worse.high
    assert sentence(table) == ("VRMSE: a is better than b.", True)


def test_identical_models_with_noise_have_no_winner(evaluated):
    table = table_of([evaluated("a"), evaluated("b", seed=2), evaluated("c", seed=3)])
    assert sorted(verdicts(table).values()) == [ALIKE, ALIKE, REFERENCE]
    text, decided = sentence(table)
    assert not decided
    assert "no winner" in text
    assert "cannot be told apart" in text
    assert "better" not in text


def test_differences_are_paired(evaluated):
    """A difference far smaller than what the trajectories differ by is seen, since both forecast the same ones."""
    table = table_of([evaluated("a", noise=0.01), evaluated("b", 1.05, noise=0.01, seed=2)])
    first, second = table.rows
    assert first.score.high > second.score.low
    assert second.verdict == WORSE


def test_differences_to_a_chosen_run(evaluated):
    runs = [evaluated("a"), evaluated("b", 0.7, seed=2), evaluated("c", 1.5, seed=3), evaluated("d", seed=4)]
    table = table_of(runs, against="a")
    assert verdicts(table) == {"a": REFERENCE, "b": BETTER, "c": WORSE, "d": ALIKE}
    assert sentence(table)[0] == "VRMSE: b is better than a; c is worse; d cannot be told apart from a."


def test_of_correlation_the_higher_is_better(evaluated):
    table = table_of([evaluated("a"), evaluated("b", 2.0, seed=2)], "correlation")
    assert verdicts(table) == {"a": REFERENCE, "b": WORSE}
    assert table.rows[0].score.value > table.rows[1].score.value


def test_a_ratio_is_pooled_and_better_near_one(evaluated):
    table = table_of(
        [evaluated("over", ssr=1.3), evaluated("fit", ssr=0.95, seed=2), evaluated("under", ssr=0.5)], "ssr"
    )
    assert verdicts(table) == {"over": WORSE, "fit": REFERENCE, "under": WORSE}
    assert table.pooled
    for row, ssr in zip(table.rows, (1.3, 0.95, 0.5), strict=True):
        assert row.score.value == pytest.approx(ssr, rel=0.05)  # not the mean of the trajectories' ratios, .123


def test_a_spread_alone_is_neither_good_nor_bad(evaluated):
    table = table_of([evaluated("a"), evaluated("b", 3.0)], "spread")
    assert set(verdicts(table).values()) == {"no order"}
    assert not sentence(table)[1]


def test_a_run_that_blew_up_wins_nothing(evaluated):
    table = table_of([evaluated("a", np.nan), evaluated("b", np.inf), evaluated("c")])
    assert verdicts(table) == {"a": NOT_FINITE, "b": NOT_FINITE, "c": REFERENCE}
    assert sentence(table)[0] == "VRMSE: a and b are not finite."


def test_seeds_of_one_config_are_one(evaluated):
    runs = [evaluated(f"a{s}", 1 + 0.02 * s, seed=s, key="k", run_seed=s) for s in (1, 2, 3)] + [evaluated("b", 2.0)]
    table = table_of(runs)
    assert [row.entry.name for row in table.rows] == ["a1 ×3", "b"]
    first = table.rows[0]
    assert first.entry.n_seeds == 3
    assert first.score.value == pytest.approx(np.mean(first.by_seed))
    assert first.seed_std == pytest.approx(np.std(first.by_seed, ddof=1))
    assert len(table_of(runs, aggregate=False).rows) == 4
    twice = [evaluated("c", key="k2", run_seed=1), evaluated("d", key="k2", run_seed=1)]
    assert len(table_of(twice).rows) == 2


def test_less_than_seeds_differ_is_not_better(evaluated):
    seeds = [evaluated(f"a{s}", factor, noise=0.01, key="k", run_seed=s) for s, factor in enumerate((0.8, 1.0, 1.2))]
    assert verdicts(table_of([*seeds, evaluated("b", 1.05, noise=0.01)]))["b"] == WITHIN_SEEDS
    assert verdicts(table_of([*seeds, evaluated("c", 1.5, noise=0.01)]))["c"] == WORSE


def test_one_config_alone_is_no_comparison(evaluated):
    seeds = [evaluated(f"a{s}", key="k", run_seed=s) for s in range(2)]
    assert "--no-aggregate" in problems_of(*seeds)["RUN"]


def test_a_mean_is_not_compared_with_a_single_forecast(evaluated):
    runs = [evaluated("ensemble"), evaluated("single", n_members=1)]
    (told,) = problems_of(*runs, metrics=("vrmse", "correlation")).items()
    assert told[0] == "--metric vrmse, correlation"
    assert "the single forecast of single beside the mean of 4 of ensemble" in told[1]
    assert "--kind member" in told[1]
    assert "--allow-different-members" in told[1]
    members = table_of(runs, kind="member")
    assert [row.kind for row in members.rows] == ["member", "member"]
    allowed = table_of(runs, allow_different_members=True)
    assert [row.kind for row in allowed.rows] == ["mean", "member"]
    assert table_of(runs, "crps_fair").rows[0].kind == "ensemble"
    assert "crps_fair" in problems_of(*runs, metrics=("crps",))["--metric crps"]
    assert verdicts(table_of(runs, "ssr")) == {"ensemble": REFERENCE, "single": NOT_MEASURED}


def test_means_of_more_members_are_better_by_construction(evaluated):
    told = problems_of(evaluated("few"), evaluated("many", n_members=16), metrics=("vrmse",))
    assert "the mean of 4 of few beside the mean of 16 of many" in told["--metric vrmse"]


def test_other_data_are_refused_and_never_paired(evaluated):
    runs = [evaluated("a"), evaluated("b", 2.0, digest="e" * 16)]
    assert "--allow-different-data" in problems_of(*runs)["b"]
    assert verdicts(table_of(runs, allow_different_data=True)) == {"a": REFERENCE, "b": OTHER_DATA}


@pytest.mark.parametrize("about", [{"n_steps_input": 3}, {"stride": 2}, {"mode": "latent"}])
def test_other_rollouts_are_refused(evaluated, about):
    runs = [evaluated("a"), evaluated("b", 2.0, **about)]
    assert "--allow-different-rollouts" in problems_of(*runs)["b"]
    assert verdicts(table_of(runs, allow_different_rollouts=True))["b"] == WORSE


def test_what_is_missing_is_told_at_once_with_what_to_type(evaluated, tmp_path):
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "metrics.csv").touch()
    new = Candidate("new", tmp_path / "nothing", "autocast eval --workdir new")
    old = Candidate("old", tmp_path / "old", "autocast eval --workdir old")
    told = problems_of(evaluated("a"), new, old, evaluated("b", digest="x" * 16), window="7", metrics=("vrms",))
    assert told["new"] == "was not evaluated. Type: autocast eval --workdir new"
    assert told["old"].endswith("Type: autocast eval --workdir old --overwrite")
    assert "Did you mean vrmse?" in told["--metric vrms"]
    assert "b" in told
    assert "eval.windows=[7]" in told["a"]


def test_a_score_that_was_not_asked_for_can_be_measured(evaluated):
    told = problems_of(evaluated("a"), evaluated("b"), metrics=("mse",))
    assert told["--metric mse"].startswith("no run was scored by it. a has vrmse")


@pytest.fixture
def comparison(evaluated):
    runs = [
        evaluated("rd/a_1", key="k", run_seed=1),
        evaluated("rd/a_2", key="k", run_seed=2),
        evaluated("rd/b", 1.5, seed=5),
    ]
    found, problems = compare(runs, Wishes())
    assert problems == []
    return found


def test_files_say_what_the_table_says(comparison, tmp_path):
    files = write_files(comparison, tmp_path / "out")
    assert {file.name for file in (tmp_path / "out").iterdir()} == {file.name for file in files}
    rows = list(csv.DictReader((tmp_path / "out" / "comparison.csv").open()))
    assert [(row["metric"], row["run"]) for row in rows[:2]] == [("vrmse", "rd/a_1 ×2"), ("vrmse", "rd/b")]
    assert (rows[0]["n_seeds"], rows[1]["verdict"], rows[1]["gpu_hours"]) == ("2", "worse", "0.5")
    content = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert content == json.loads(json.dumps(document(comparison)))
    assert [score["metric"] for score in content["scores"]] == ["vrmse", "crps_fair", "ssr"]
    assert content["runs"][0]["runs"] == ["rd/a_1", "rd/a_2"]
    assert len(content["scores"][0]["rows"][0]["by_seed"]) == 2


def test_markdown_has_tables(comparison):
    text = markdown(comparison)
    assert "| run | score | 95 % interval | to the best | 95 % interval | verdict |" in text
    assert "VRMSE: rd/a_1 ×2 is better than rd/b." in text
    for block in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        assert len({line.count("|") for line in block.splitlines()}) == 1
    assert "± is the standard deviation between seeds." in text


def test_latex_is_booktabs_with_everything_escaped(comparison):
    text = latex(comparison)
    assert text.count(r"\toprule") == text.count(r"\midrule") == text.count(r"\bottomrule") == 4
    assert r"rd/a\_1 $\times$2 &" in text
    body = "\n".join(line for line in text.splitlines() if not line.startswith("%"))
    assert not re.search(r"(?<!\\)[%_#]|±|×|–", body)
    for line in body.splitlines():
        if line.endswith(r"\\"):
            assert line.count(" & ") in (5, 6)


def test_curves_of_single_runs_have_intervals(comparison):
    for table in comparison.tables:
        alone = {row.entry.name for row in table.rows if row.entry.n_seeds == 1} & set(table.curves)
        assert set(table.bounds) == alone
        for name in alone:
            bounds = table.bounds[name]
            assert ((bounds.low < table.curves[name]) & (table.curves[name] < bounds.high)).all()
    assert any(table.bounds for table in comparison.tables)
    assert any(row.entry.n_seeds > 1 for table in comparison.tables for row in table.rows)


def test_the_page_asks_for_nothing_and_draws_every_score(comparison, tmp_path, browser):
    drawings = save_curves(comparison, tmp_path)
    assert [(drawing.png.name, drawing.svg.name) for drawing in drawings] == [("curves.png", "curves.svg")]
    page = write_comparison_page(comparison, drawings, "autocast compare a b", tmp_path / "comparison.html")
    text = page.read_text()
    assert "default-src 'none'" in text
    assert "toy: 3 runs compared" in text
    assert '<td data-value="1234567.0">1,234,567</td>' in text
    assert not re.search(r"""(?:src|href)=["'](?!data:|#)|@import|url\((?!#)""", text)
    seen, events = browser.visit(
        page, "[document.querySelectorAll('table').length, document.querySelectorAll('svg').length]"
    )
    assert seen[0] == 5
    assert seen[1] >= 1
    assert [
        e for e in events if e["method"] in ("Network.loadingFailed", "Runtime.exceptionThrown", "Log.entryAdded")
    ] == []


@pytest.mark.slow
def test_the_page_is_for_everyone(comparison, tmp_path, examine):
    drawings = save_curves(comparison, tmp_path)
    examine(write_comparison_page(comparison, drawings, "autocast compare a b", tmp_path / "comparison.html"))


def test_many_scores_are_drawn_in_several_figures(evaluated, tmp_path):
    wishes = Wishes(metrics=("vrmse", "crps_fair", "crps", "correlation"))
    found, _ = compare([evaluated("a"), evaluated("b", seed=2)], wishes)
    names = [drawing.png.name for drawing in save_curves(found, tmp_path / "out")]
    assert names == ["curves.png", "curves_2.png"]


def test_two_equal_models_are_seldom_called_different(evaluated):
    """Through all of the comparison; the intervals themselves are tested with the bootstrap."""
    called = [
        verdicts(table_of([evaluated(f"a{i}", noise=0.3, seed=2 * i), evaluated(f"b{i}", noise=0.3, seed=2 * i + 1)]))
        for i in range(40)
    ]
    assert sum(WORSE in found.values() for found in called) <= 5


@pytest.mark.parametrize(
    ("value", "text"), [(0.0345, ".0345"), (-1.238, "-1.24"), (123.4, "123"), (1.2e-7, "1.20e-07"), (np.nan, "nan")]
)
def test_numbers_have_three_digits(value, text):
    assert number(value) == text
