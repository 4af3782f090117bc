"""What panels say: nothing that is not so."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from autocast import panels
from autocast.evaluation.settings import EvaluationSettings
from autocast.panels.training import objective_rows, recipe_line
from autocast.runs.beta import KL, SQUARED_ERROR
from autocast.runs.console import Screen
from autocast.runs.directory import RunDirectory
from autocast.runs.identity import write_json
from autocast.runs.reporting import ReportRequest

CONFIG = {
    "trainer": {"max_epochs": 1, "max_steps": -1, "precision": "32-true", "strategy": "auto"},
    "optimizer": {"algorithm": {"_target_": "torch.optim.AdamW"}, "learning_rate": 1e-3},
    "callbacks": {},
    "datamodule": {"batch_size": 4, "n_windows": 1, "data_path": "data sets/waves"},
    "seed": 1,
}


def job(kind: str = "epd") -> Any:
    return SimpleNamespace(config=CONFIG, kind=kind, directory=RunDirectory(Path("outputs/rd/00")))


def datamodule() -> Any:
    spec = SimpleNamespace(dataset_name="waves", grid_shape=(8, 12), n_channels=2, is_picture=False)
    split = SimpleNamespace(n_trajectories=3, n_steps=lambda i: 5)
    header = SimpleNamespace(splits={"train": 1, "test": 1})
    steps = {"n_steps_input": 1, "n_steps_output": 2}
    return SimpleNamespace(spec=spec, header=header, split=lambda name: split, place=lambda: "ram", **steps)


def evaluated(**facts: Any) -> str:
    result: Any = SimpleNamespace(
        windows=None,
        **{
            "reconstructs": False,
            "deterministic": False,
            "latents": None,
            "calibration": None,
            "stress": None,
            **facts,
        },
    )
    return panels.evaluated(job(), result, [], Path("outputs/rd/00/eval/report.html")).next_command


@pytest.mark.parametrize(("reconstructs", "said"), [(False, "persistence, climatology"), (True, "the truth")])
def test_a_reconstruction_is_compared_with_the_truth_alone(reconstructs: bool, said: str):
    model = SimpleNamespace(deterministic=True, reconstructs=reconstructs)
    settings = EvaluationSettings(baselines=("persistence", "climatology"))
    assert dict(panels.evaluation(model, datamodule(), settings, "cpu"))["against"] == said


@pytest.mark.parametrize(
    ("trainer", "said"),
    [
        ({}, "1 epoch"),
        ({"max_epochs": 2}, "2 epochs"),
        ({"max_epochs": -1, "max_steps": 1}, "1 step"),
        ({"max_epochs": -1, "max_steps": 30}, "30 steps"),
        ({"max_epochs": -1, "budget": "12h"}, "budget 12h"),
        ({"max_epochs": 2, "max_steps": 30}, "2 epochs · 30 steps"),
    ],
)
def test_the_length_of_a_training(trainer: dict, said: str):
    config = {**CONFIG, "trainer": {**CONFIG["trainer"], **trainer}}
    assert recipe_line(config).split(" · batch")[0] == said


@pytest.mark.parametrize(("reduction", "said"), [("elbo", "0.4 in the end"), ("mean", "76.8 in the end")])
def test_beta_is_told_in_the_units_of_an_elbo(reduction: str, said: str):
    terms = {"mse": {"_target_": SQUARED_ERROR}, "kl": {"_target_": KL}}
    objective = {"reduction": reduction, "terms": terms, "weights": {"mse": 0.5, "kl": {"weight": 0.2}}}
    spec = SimpleNamespace(to_dict=lambda: {"grid_shape": (8, 12), "channel_names": ("u", "v")})
    model = SimpleNamespace(spec=spec, objective=SimpleNamespace(summary="all weights"))
    rows = dict(objective_rows({"model": {"objective": objective}}, model))
    assert rows["objective"] == "all weights"
    assert rows["beta"].startswith(said)
    assert "beta" not in dict(objective_rows({"model": {"objective": {**objective, "terms": {}}}}, model))


def test_an_unrolled_training_says_so():
    config = {**CONFIG, "datamodule": {**CONFIG["datamodule"], "n_windows": 3}}
    assert "batch 4 · unrolled over 3 windows · adamw" in recipe_line(config)
    assert "unrolled" not in recipe_line(CONFIG)


def test_the_pieces_of_batches_are_told():
    config = {**CONFIG, "trainer": {**CONFIG["trainer"], "micro_batch": 2}}
    assert "batch 4 in pieces of 2 · adamw" in recipe_line(config)


def test_only_a_training_that_is_not_sharded_has_averages():
    averaged = {**CONFIG, "callbacks": {"ema": {"decay": 0.99}}}
    assert "ema 0.99" in recipe_line(averaged)
    strategy = {"_target_": "autocast.training.sharding.ShardedStrategy"}
    assert "ema" not in recipe_line({**averaged, "trainer": {**CONFIG["trainer"], "strategy": strategy}})


@pytest.mark.parametrize(("done", "way"), [(True, "eval.name=films"), (False, "autocast resume ")])
def test_films_that_are_missing_are_named_with_a_way_to_them(done, way, tmp_path, capsys):
    run = RunDirectory(tmp_path)
    for file in (run.run_file("epd", "eval"), *([run.done_file("epd", "eval")] if done else [])):
        write_json(file, {})
    page = tmp_path / "report.html"
    page.touch()
    drawn: Any = SimpleNamespace(missing=["videos/a.mp4"], findings=[], page=page)
    panels.reported(ReportRequest(run, "eval", page, tmp_path / "figures", 1), drawn, Screen())
    told = " ".join(" ".join(capsys.readouterr()).split())
    assert "videos/a.mp4" in told
    assert way in told


def test_the_next_command_asks_only_an_ensemble_for_members():
    plain = "autocast forecast outputs/rd/00 --from 'data sets/waves' --out forecast.hdf5"
    assert evaluated(deterministic=True) == plain
    assert evaluated() == plain.replace(" --out", " --n-members 8 --out")
    assert evaluated(reconstructs=True) == "open outputs/rd/00/eval/report.html"
