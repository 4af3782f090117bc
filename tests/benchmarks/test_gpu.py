"""The benchmarks for GPUs run on a CPU, at a size that tells nothing else."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


def result(name, *words, out):
    command = [sys.executable, BENCHMARKS / f"{name}.py", *words, "--toy", "--out", out]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    found = json.loads(out.read_text())
    assert found["toy"]
    assert found["holds"] is None  # what a GPU can do is not known yet
    assert found["run"]["torch"]
    return found


@pytest.mark.e2e
def test_training(tmp_path):
    found = result("gpu_training", out=tmp_path / "result.json")
    assert set(found["variants"]) == {"fp32", "tf32", "bf16-mixed"}
    assert all(row["samples_per_second"] > 0 for row in found["variants"].values())
    assert found["gflop_per_sample"] > 0


@pytest.mark.slow
def test_sampler(tmp_path):
    (row,) = result("gpu_sampler", out=tmp_path / "result.json")["batches"]
    assert row["largest_difference"] < 1e-4
    assert row["times_faster"] > 0


@pytest.mark.slow
def test_gray_scott(tmp_path):
    found = result("gpu_gray_scott", "all", tmp_path / "work", out=tmp_path / "result.json")
    assert found["vrmse"] > 0
    assert found["simulate"]["n_trajectories"] == {"train": 12, "valid": 12, "test": 12}
