"""Contract of every simulator in configs/simulator, at toy sizes, and what is particular to each."""

import importlib
import itertools
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from autocast.errors import ConfigError, DataError
from autocast.simulators.advection_diffusion import AdvectionDiffusion
from autocast.simulators.continuation import coarsened, continued
from autocast.simulators.gray_scott import GrayScott, third_steady_state
from autocast.simulators.reaction_diffusion import ReactionDiffusion
from autocast.simulators.resampling import coarsen, refine
from autocast.types import FieldSpec

CONFIGS = sorted((Path(__file__).parents[2] / "configs" / "simulator").glob("*.yaml"))
PAIRS = [[0.014, 0.054], [0.098, 0.057], [0.029, 0.057]]


def from_config(file, **changes):
    config = yaml.safe_load(file.read_text())
    module, _, name = config.pop("_target_").rpartition(".")
    return getattr(importlib.import_module(module), name)(**{**config, **changes})


def toy(file, **changes):
    """Eight points on the last axis but one, if there is one, and twelve on the last."""
    grid_shape = [8, 12][-len(yaml.safe_load(file.read_text())["grid_shape"]) :]
    return from_config(file, **{"grid_shape": grid_shape, "n_frames": 3, "n_substeps": 20, "burn_in": 0.0, **changes})


def gray_scott(**changes):
    settings = {"grid_shape": [16, 24], "extent": [0.5, 0.75], "n_frames": 3, "time_step": 10.0, "n_substeps": 10}
    return GrayScott(**{**settings, "feed_kill": PAIRS, "n_gaussians": [1, 4], "n_fourier": 8, **changes})


@pytest.fixture(params=CONFIGS, ids=lambda file: file.stem)
def file(request):
    return request.param


def test_fields_are_finite_float32_channels_last_with_scalars(file):
    simulator = toy(file)
    result = simulator.simulate([3, 4, 5, 6, 7])
    facts = simulator.describe()
    assert result.fields.shape == (5, 3, *simulator.grid_shape, len(facts["channel_names"]))
    assert result.fields.dtype == torch.float32
    assert result.scalars.shape == (5, len(facts["scalar_names"]))
    assert result.check().fields.isfinite().all()
    assert (result.fields[:, 1:] - result.fields[:, :-1]).abs().flatten(2).amax(dim=2).min() > 1e-6


def test_description_makes_a_field_spec_and_is_plain(file):
    facts = from_config(file).describe()
    n_frames = facts.pop("n_frames")
    spec = FieldSpec(dataset_name=file.stem, **facts)
    assert spec.n_spatial_dims == len(spec.extent) == len(spec.boundary) == len(spec.dim_names)
    assert all(spec.periodic)
    assert len(spec.units) == spec.n_channels
    assert n_frames > 1
    json.dumps(facts)


def test_a_trajectory_is_the_same_alone_and_in_any_batch(file):
    simulator = toy(file, precision="float64")
    together = simulator.simulate([11, 2, 7, 2])
    for row, seed in enumerate([11, 2, 7, 2]):
        alone = simulator.simulate([seed])
        torch.testing.assert_close(together.fields[row], alone.fields[0], rtol=1e-5, atol=1e-6)
        assert torch.equal(together.scalars[row], alone.scalars[0])


def test_seeds_matter(file):
    fields = toy(file).simulate([0, 1]).fields
    assert (fields[0, 0] - fields[1, 0]).abs().max() > 1e-3


def test_precisions_agree(file):
    simulator = toy(file)
    single, double = (simulator.simulate([0, 5], dtype=dtype).fields for dtype in (torch.float32, torch.float64))
    torch.testing.assert_close(single, double, rtol=1e-2, atol=2e-3)


def test_progress_counts_every_frame(file):
    told = []
    toy(file).simulate([0, 1, 2, 3], progress=told.append)
    assert sum(told) == 4 * 3


def test_solution_moves_with_its_initial_fields(file):
    simulator = toy(file, precision="float64")
    initial, scalars = simulator.draw(np.random.default_rng(1), 1)
    start, scalars = torch.from_numpy(initial)[None], torch.from_numpy(scalars)[None]
    shift = (3, 5)[-len(simulator.grid_shape) :]
    axes = tuple(range(1, 1 + len(shift)))
    expected, moved = (
        torch.stack(list(simulator._frames(fields, scalars, None))) for fields in (start, start.roll(shift, dims=axes))
    )
    torch.testing.assert_close(moved, expected.roll(shift, dims=[1 + axis for axis in axes]), rtol=1e-6, atol=1e-8)


def test_order_of_convergence_is_four(file):
    """Somewhere between steps that are too large for the theory and errors as small as rounding."""
    durations = [factor * from_config(file).time_step for factor in (0.25, 8)]
    found = itertools.chain.from_iterable(orders(file, duration) for duration in durations)
    assert any(abs(order - 4) < 0.2 for order in found)


def orders(file, duration):
    simulators = [
        toy(file, n_frames=2, time_step=duration, n_substeps=n, precision="float64") for n in (4, 8, 16, 32, 256)
    ]
    *runs, reference = (torch.stack(list(frames(simulator))) for simulator in simulators)
    errors = [(run - reference).norm().item() for run in runs]
    return [math.log2(coarse / fine) for coarse, fine in itertools.pairwise(errors)]


def frames(simulator):
    """Frames of seed 0 in the solver's own precision."""
    initial, scalars = simulator.draw(np.random.default_rng(0), 0)
    return simulator._frames(torch.from_numpy(initial)[None], torch.from_numpy(scalars)[None], None)


def test_what_is_not_finite_is_rejected_by_name():
    simulator = ReactionDiffusion(
        grid_shape=[8, 12], n_frames=4, n_substeps=1, time_step=1.0, amplitude=30.0, burn_in=0.0
    )
    result = simulator.simulate([42, 43])
    assert [rejection.seed for rejection in result.rejected] == [42, 43]
    assert [rejection.index for rejection in result.rejected] == [0, 1]
    with pytest.raises(DataError, match=r"seed 43 is not finite at frame \d of 4 .*solver step \d.*n_substeps > 1"):
        result.check()


def test_one_bad_trajectory_leaves_the_others_alone():
    simulator = ReactionDiffusion(grid_shape=[8, 12], n_frames=4, burn_in=0.0)
    good = simulator.simulate([1]).fields[0]
    poisoned = simulator.simulate([1, 2]).fields
    poisoned[1, 2] = torch.nan
    assert [(r.index, r.frame) for r in simulator._rejections([1, 2], poisoned)] == [(1, 2)]
    torch.testing.assert_close(poisoned[0], good)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"grid_shape": [2, 8]}, "grid_shape"),
        ({"extent": [1.0]}, "extent"),
        ({"n_frames": 0}, "n_frames"),
        ({"n_substeps": 0}, "n_substeps"),
        ({"precision": "half"}, "precision"),
    ],
)
def test_impossible_settings_are_named(changes, named):
    with pytest.raises(ConfigError, match=named):
        ReactionDiffusion(**changes)


def test_gray_scott_cycles_through_pairs_and_kinds():
    simulator = gray_scott()
    cases = [simulator.case(seed) for seed in range(12)]
    assert len(set(cases)) == 6
    assert all(cases.count(case) == 2 for case in cases)
    scalars = simulator.simulate(range(3)).scalars
    torch.testing.assert_close(scalars, torch.tensor(PAIRS))


def test_gray_scott_by_the_well_is_its_published_design():
    simulator = from_config(next(file for file in CONFIGS if file.stem == "gray_scott_the_well"))
    cases = [simulator.case(seed) for seed in range(1200)]
    assert len(set(cases)) == 12
    assert {cases.count(case) for case in set(cases)} == {100}
    assert simulator.grid_shape == (128, 128)
    assert simulator.dt == 1.0
    assert (simulator.n_frames - 1) * simulator.time_step == 10_000


def test_gray_scott_gaussians_fill_the_unit_interval():
    for seed in (0, 1):
        fields, _ = gray_scott(initial_fields=["gaussians"], grid_shape=[48, 64]).draw(
            np.random.default_rng(seed), seed
        )
        assert fields.min() >= 0
        assert fields.max() <= 1
        assert fields[..., 0].max() > 0.95
        assert fields[..., 1].max() > 0.95


def test_gray_scott_third_steady_state_is_steady():
    feed, kill = 0.098, 0.057
    a, b = third_steady_state(feed, kill)
    assert -a * b**2 + feed * (1 - a) == pytest.approx(0, abs=1e-12)
    assert a * b**2 - (feed + kill) * b == pytest.approx(0, abs=1e-12)
    assert third_steady_state(0.014, 0.054) is None


def test_gray_scott_mean_of_uniform_fields_follows_the_ordinary_equation():
    simulator = gray_scott(n_frames=2, feed_kill=[[0.03, 0.06]])
    uniform = torch.tensor([0.6, 0.3], dtype=torch.float64).expand(1, 16, 24, 2)
    *_, last = simulator._frames(uniform, torch.tensor([[0.03, 0.06]], dtype=torch.float64), None)
    a, b, h = 0.6, 0.3, 1e-3
    for _ in range(10_000):
        a, b = a + h * (-a * b**2 + 0.03 * (1 - a)), b + h * (a * b**2 - 0.09 * b)
    torch.testing.assert_close(last[0, 3, 4], torch.tensor([a, b], dtype=torch.float64), rtol=1e-3, atol=1e-4)


def test_taylor_green_vortices_decay_exactly():
    simulator = AdvectionDiffusion(
        grid_shape=[12, 8], extent=[2 * math.pi] * 2, n_frames=4, time_step=0.5, n_substeps=5
    )
    x, y = (2 * math.pi * torch.arange(n, dtype=torch.float64) / n for n in (12, 8))
    vortices = (torch.cos(x)[:, None] * torch.cos(y))[None, ..., None]
    scalars = torch.tensor([[0.1, 1.5]], dtype=torch.float64)
    for t, frame in enumerate(simulator._frames(vortices, scalars, None)):
        torch.testing.assert_close(frame, math.exp(-2 * 0.1 * 0.5 * t) * vortices, rtol=0, atol=1e-13)


def test_advection_alone_conserves_mean_enstrophy_and_energy():
    simulator = AdvectionDiffusion(grid_shape=[24, 32], n_frames=3, time_step=0.5, n_substeps=20, cutoff=3)
    initial, _ = simulator.draw(np.random.default_rng(0), 0)
    scalars = torch.tensor([[1e-12, 1.0]], dtype=torch.float64)
    first, *_, last = simulator._frames(torch.from_numpy(initial)[None], scalars, None)
    assert (last - first).norm() > 0.3 * first.norm()
    for quantity in (torch.mean, enstrophy, energy):
        torch.testing.assert_close(quantity(last), quantity(first), rtol=1e-5, atol=1e-12)


def enstrophy(vorticity):
    return vorticity.square().mean()


def energy(vorticity):
    k_x, k_y = torch.fft.fftfreq(24, d=1 / 24), torch.fft.fftfreq(32, d=1 / 32)
    squares = k_x[:, None] ** 2 + k_y**2
    return (torch.fft.fft2(vorticity[0, ..., 0]).abs().square() / squares.clamp(min=1)).sum()


def test_advection_diffusion_draws_scalars_within_their_bounds():
    scalars = (
        AdvectionDiffusion(grid_shape=[8, 12], n_frames=1, nu=[0.1, 0.2], mu=[3.0, 4.0]).simulate(range(20)).scalars
    )
    assert (scalars[:, 0] >= 0.1).all()
    assert (scalars[:, 0] <= 0.2).all()
    assert (scalars[:, 1] >= 3).all()
    assert (scalars[:, 1] <= 4).all()
    with pytest.raises(ConfigError, match="nu"):
        AdvectionDiffusion(nu=[0.2, 0.1])
    with pytest.raises(ConfigError, match="two axes"):
        AdvectionDiffusion(grid_shape=[8], extent=[1.0])


def test_reaction_diffusion_of_a_uniform_field_circles_with_beta():
    simulator = ReactionDiffusion(grid_shape=[8, 12], n_frames=2, time_step=0.5, n_substeps=50, burn_in=0.0)
    uniform = torch.tensor([1.0, 0.0], dtype=torch.float64).expand(1, 8, 12, 2)
    *_, last = simulator._frames(uniform, torch.empty(1, 0, dtype=torch.float64), None)
    expected = torch.tensor([math.cos(1.5), -math.sin(1.5)], dtype=torch.float64)
    torch.testing.assert_close(last[0, 2, 5], expected, rtol=1e-6, atol=1e-6)


def test_a_linear_map_of_each_point_is_clearly_wrong_for_the_default_reaction_diffusion():
    fields = from_config(
        next(file for file in CONFIGS if file.stem == "reaction_diffusion"), n_frames=8, burn_in=10.0
    ).simulate(range(8))
    x, y = (fields.check().fields[:, rows].reshape(-1, 2).double() for rows in (slice(0, -4), slice(4, None)))
    x = torch.cat([x, torch.ones(len(x), 1)], dim=1)
    forecast = x @ torch.linalg.solve(x.T @ x, x.T @ y)
    assert ((forecast - y).square().mean() / y.var()).sqrt() > 0.4


def test_goes_on_from_a_recorded_frame_as_it_went_on_then(file):
    """At full resolution, to what single precision keeps of a frame; chaos has no time to enlarge that."""
    simulator = toy(file, n_frames=7, precision="float64")
    whole = simulator.simulate([3, 4])
    assert simulator.continues_from_frames
    frames = continued(simulator, whole.fields[:, 2], whole.scalars, stride=2)
    for expected, frame in zip((whole.fields[:, 4], whole.fields[:, 6]), frames, strict=False):
        scale = expected.abs().max().item()
        torch.testing.assert_close(frame.float(), expected, rtol=0, atol=2e-6 * scale)


def test_a_coarser_grid_keeps_everything_else(file):
    simulator = toy(file, grid_shape=[16, 24][-len(from_config(file).grid_shape) :])
    coarse = coarsened(simulator, 4)
    assert coarse.grid_shape == tuple(n // 4 for n in simulator.grid_shape)
    assert {**vars(coarse), "grid_shape": simulator.grid_shape} == vars(simulator)
    with pytest.raises(ConfigError, match="8 times coarser: every axis needs a multiple of 8, at least 32"):
        coarsened(simulator, 8)


def test_half_the_resolution_is_close_where_fields_are_smooth():
    fine = AdvectionDiffusion(grid_shape=(32, 48), n_frames=4, cutoff=2, nu=(0.05, 0.05))
    whole = fine.simulate([1])
    coarse = coarsened(fine, 2)
    start = coarsen(whole.fields[:, 0].double(), coarse.grid_shape, (True, True))
    frames = torch.stack([f for f, _ in zip(continued(coarse, start, whole.scalars), range(3), strict=False)], dim=1)
    forecast = refine(frames, fine.grid_shape, (True, True)).float()
    assert (forecast - whole.fields[:, 1:]).norm() < 1e-2 * whole.fields[:, 1:].norm()
