"""Every experiment composes at each of its sizes, and has the settings of what was published at the published one."""

import math
from functools import cache
from pathlib import Path

import pytest

from autocast.runs.adoption import WITHOUT
from autocast.runs.compose import compose
from autocast.runs.request import Request

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
EXPERIMENTS = sorted(file.stem for file in (CONFIGS / "experiment").glob("*.yaml"))
DATASETS = ("advection_diffusion", "gray_scott", "kuramoto_sivashinsky", "reaction_diffusion")
METHODS = ("autoencoder", "direct", "ensemble", "flow_matching", "latent_diffusion", "latent_flow_matching")
SIZES = ("debug", "half_hour", "paper")
GRIDS = {
    "advection_diffusion": (1, 64, 64),
    "gray_scott": (2, 64, 64),
    "kuramoto_sivashinsky": (1, 256),
    "reaction_diffusion": (2, 32, 32),
}
"""Channels, and points of the shipped simulators."""
CASES = [(dataset, method) for dataset in DATASETS for method in METHODS]


@cache
def recipe(dataset, method, size):
    """The config of an experiment at a size; the first size is the experiment's own."""
    words = [f"experiment={dataset}_{method}", f"datamodule.data_path={CONFIGS}"]
    words += [] if size == SIZES[0] else [f"preset={method}_{size}"]
    composition = compose(Request("ae" if method == "autoencoder" else "epd", overrides=tuple(words)))
    missing = [("--autoencoder", WITHOUT)] if method.startswith("latent") else []
    assert [(problem.subject, problem.message) for problem in composition.problems] == missing
    return composition.config


@pytest.mark.parametrize(("n", "case"), list(enumerate(CASES)))
def test_every_experiment_composes(n, case):
    """Each at one of its sizes, and each size of a method on some data set."""
    recipe(*case, SIZES[n // len(METHODS) % len(SIZES)])


def test_every_built_in_data_set_has_every_experiment():
    assert {f"{dataset}_{method}" for dataset, method in CASES} <= set(EXPERIMENTS)
    simulated = {file.stem for file in (CONFIGS / "simulator").glob("*.yaml")}
    assert set(DATASETS) == simulated & {file.stem for file in (CONFIGS / "datamodule").glob("*.yaml")}


@pytest.mark.parametrize("method", METHODS)
def test_every_method_has_every_size(method):
    presets = {file.stem for file in (CONFIGS / "preset").glob("*.yaml")}
    assert {f"{method}_{size}" for size in SIZES} <= presets


def test_published_settings():
    crps, flow = (recipe("gray_scott", method, "paper") for method in ("ensemble", "flow_matching"))
    assert (crps.model.processor.n_members_train, crps.model.processor.alpha) == (8, 0.95)
    assert (crps.datamodule.batch_size, crps.optimizer.learning_rate) == (32, 2e-4)
    assert (flow.datamodule.batch_size, flow.optimizer.learning_rate) == (256, 1e-4)
    assert flow.model.processor.sampler._target_.endswith(".Euler")
    assert flow.model.processor.sampler.n_steps == 50
    assert (crps.size, crps.model.processor.backbone.size, flow.model.processor.backbone.size) == ("l",) * 3


@pytest.mark.parametrize("dataset", DATASETS)
@pytest.mark.parametrize("size", SIZES)
def test_latents_are_fewer_numbers_than_fields(dataset, size):
    n_channels, *grid_shape = GRIDS[dataset]
    encoder = recipe(dataset, "autoencoder", size).model.encoder
    n_halvings = len(encoder.widths)
    n_fields = n_channels * math.prod(grid_shape)
    n_latents = encoder.latent_channels * math.prod(n // 2**n_halvings for n in grid_shape)
    assert n_latents <= n_fields / 2
