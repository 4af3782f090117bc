"""The commands on a GPU: the data and forecasts of elsewhere, wherever frames lie and whatever the precision."""

import json
import re
import subprocess
import sys

import pandas as pd
import pytest
import torch

from autocast.runs.build import build
from autocast.runs.compose import compose
from autocast.runs.request import Request

pytestmark = pytest.mark.gpu

SMALL = ("splits.train=12", "splits.valid=2", "splits.test=2", "simulator.n_frames=12")
TINY = ("size=xs", "gate=never", "datamodule.batch_size=8", "trainer.max_epochs=2")


def autocast(*words):
    command = [sys.executable, "-m", "autocast", *map(str, words)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout + run.stderr


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "advection_diffusion"
    autocast("data", "simulate", "--dataset", path, "simulator=advection_diffusion", *SMALL)
    return path


@pytest.mark.parametrize("name", ["advection_diffusion", "gray_scott", "kuramoto_sivashinsky", "reaction_diffusion"])
def test_trajectories_are_those_of_a_cpu(name):
    composition = compose(Request("simulate", (f"simulator={name}", "simulator.n_frames=6")))
    simulator = build(composition.config.simulator)
    on_gpu, on_cpu = (simulator.simulate([0, 1], device=device).fields for device in ("cuda", "cpu"))
    torch.testing.assert_close(on_gpu, on_cpu, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("placement", "precision"),
    [("disk", "32-true"), ("ram", "bf16-mixed"), ("device", "bf16-mixed")],
)
def test_trains_and_goes_on(data, tmp_path, placement, precision):
    said = autocast(
        *("epd", "--workdir", tmp_path / "run", f"datamodule.data_path={data}", "model.processor=direct", *TINY),
        *(f"datamodule.placement={placement}", "datamodule.n_workers=2", f"trainer.precision={precision}"),
    )
    assert re.search(r"GPU \d+ %", said)
    autocast("resume", tmp_path / "run", "trainer.max_epochs=3")
    rows = [json.loads(line) for line in (tmp_path / "run/epd/metrics.jsonl").read_text().splitlines()]
    objective = [row["val/objective"] for row in rows if "val/objective" in row]
    assert len(objective) == 3
    assert objective[-1] < objective[0]


def test_compiled_forecasts_score_as_eager_ones(data, tmp_path):
    run = tmp_path / "run"
    autocast("epd", "--workdir", run, f"datamodule.data_path={data}", "model.processor=flow_matching", *TINY)
    scores = []
    for compiled in ("true", "false"):
        words = (f"eval.compile={compiled}", "eval.n_members=4", f"eval.name=compiled_{compiled}", "eval.video=false")
        autocast("eval", "--workdir", run, *words)
        (directory,) = run.glob(f"*compiled_{compiled}")
        scores.append(pd.read_csv(directory / "metrics.csv"))
    pd.testing.assert_frame_equal(*scores, rtol=1e-2)
