"""Forecasts that are compiled as one: nothing of the solve is left out, and the numbers are those of eager ones."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SAMPLERS = ("euler", "heun", "ddim", "adams_bashforth2", "adams_bashforth3")
NAMES = (*SAMPLERS, "diffusion", "direct", "ensemble", "residual")


def compared(backend, names):
    script = Path(__file__).with_name("solves.py")
    run = subprocess.run([sys.executable, script, backend, *names], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def traced():
    return compared("eager", NAMES)


@pytest.mark.e2e
@pytest.mark.parametrize("name", NAMES)
def test_a_solve_is_traced_whole(traced, name):
    assert traced[name]["n_graphs"] == 1
    assert traced[name]["error"] < 1e-5
    assert traced[name]["noise_alike"]


@pytest.mark.e2e
def test_batches_of_all_other_sizes_share_a_graph(traced):
    assert traced["batches"]["n_graphs"] == 2
    assert traced["batches"]["error"] < 1e-5


@pytest.mark.e2e
def test_a_network_that_is_called_in_every_step_is_compiled_once(traced):
    assert traced["networks"] == [5, 1]


@pytest.mark.slow
@pytest.mark.parametrize("name", SAMPLERS)
def test_generated_code_solves_as_well(name):
    assert compared("inductor", [name])[name]["error"] < 1e-5
