"""Two processes of torchrun train as one does, stop together, and go on."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

pytestmark = pytest.mark.e2e

PROGRAM = Path(__file__).with_name("ranks.py")
MODELS = ("direct", "ensemble", "flow_matching", "gan")


@pytest.fixture(scope="module")
def runs(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The runs of two processes."""
    directory = tmp_path_factory.mktemp("runs")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    done = subprocess.run(
        [*torchrun, PROGRAM, data, directory], capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stderr[-4000:]
    (directory / "said").write_text(done.stdout)
    return directory


def records(run_dir: Path) -> list[dict[str, float]]:
    lines = (run_dir / "epd/metrics.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if k != "seconds"} for line in lines]


def assert_close(found: list[dict[str, float]], expected: list[dict[str, float]]) -> None:
    assert [record.keys() for record in found] == [record.keys() for record in expected]
    for a, b in zip(found, expected, strict=True):
        for name, value in b.items():
            assert a[name] == pytest.approx(value, rel=1e-4), name


def load(run_dir: Path, file: str = "epd/checkpoints/last.ckpt"):
    return torch.load(run_dir / file, weights_only=True)


@pytest.mark.parametrize("name", MODELS)
def test_the_curves_are_those_of_one_process(ranks, data, runs, tmp_path, name):
    ranks.train(name, data, tmp_path, n_ranks=1)
    assert_close(records(runs / name), records(tmp_path))
    a, b = load(runs / name), load(tmp_path)
    for key in ("state_dict", "current_model_state"):
        weights, expected = (torch.cat([w.flatten().float() for w in state[key].values()]) for state in (a, b))
        assert (weights - expected).norm() < 1e-3 * expected.norm()


@pytest.mark.parametrize(("name", "said"), [("stopped", "SIGUSR2 1 9"), ("accumulated-stopped", "SIGTERM 1 5")])
def test_a_signal_to_one_rank_stops_both_at_the_same_step(runs, name, said):
    """Reason, whole epochs and steps."""
    assert [(runs / name / f"stopped-{rank}").read_text() for rank in range(2)] == [said] * 2


@pytest.mark.parametrize(("name", "whole"), [("stopped", "ensemble"), ("accumulated-stopped", "accumulated")])
def test_resumed_ranks_end_as_undisturbed_ones(runs, name, whole):
    a, b = load(runs / name), load(runs / whole)
    for key in ("state_dict", "current_model_state"):
        for weight in b[key]:
            assert torch.equal(a[key][weight], b[key][weight]), weight
    assert_close(records(runs / name), records(runs / whole))


def test_one_process_goes_on_where_two_stopped(ranks, data, runs, tmp_path):
    ranks.train("ensemble", data, tmp_path, n_ranks=1, resume_from=runs / "stopped/stopped.ckpt")
    assert_close(records(tmp_path)[-2:], records(runs / "ensemble")[-2:])


def test_a_loss_that_only_one_rank_saw_diverge_ends_both_with_its_message(runs):
    first, second = ((runs / "diverged" / f"diverged-{rank}").read_text() for rank in range(2))
    assert first == second
    assert "optimiser step 4" in first


def test_only_the_first_rank_speaks_and_writes(runs):
    said = (runs / "said").read_text()
    assert said.count("epoch 3/3") == len(MODELS) + 3
    assert "resumed from" in said
    assert len(list(runs.rglob("drawn-by-0"))) == len(MODELS)
    assert not list(runs.rglob("drawn-by-1"))
    assert len(list(runs.glob("direct/wandb/offline-run-*"))) == 1
    for name in MODELS:
        assert json.loads((runs / name / "events-1.json").read_text()) == []
        assert [kind for kind, _ in json.loads((runs / name / "events-0.json").read_text())] == [
            "epoch",
            "checkpoint",
        ] * 3
    assert not list(runs.rglob("*.partial"))
