"""What is particular to the Kuramoto-Sivashinsky equation; the contract of every simulator is in test_simulators."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from autocast.errors import ConfigError
from autocast.simulators.kuramoto_sivashinsky import KuramotoSivashinsky

CONFIGS = Path(__file__).parents[2] / "configs" / "simulator"


def published():
    config = yaml.safe_load((CONFIGS / "kuramoto_sivashinsky_lpsda.yaml").read_text())
    config.pop("_target_")
    return config


def frames(simulator, fields, scalars=()):
    """Frames `(T, B, x)` in the solver's own precision from fields `(B, x)` or `(x,)`."""
    fields = torch.as_tensor(fields, dtype=torch.float64)
    fields = fields.reshape(-1, simulator.grid_shape[0], 1)
    scalars = torch.tensor([scalars], dtype=torch.float64).reshape(1, -1).expand(len(fields), -1)
    return torch.stack(list(simulator._frames(fields, scalars, None)))[..., 0]


def waves(simulator, mode):
    return np.cos(2 * np.pi * mode * np.arange(simulator.grid_shape[0]) / simulator.grid_shape[0])


@pytest.fixture(scope="module")
def developed():
    """A state on the attractor, `(128,)`."""
    simulator = KuramotoSivashinsky(grid_shape=[128], n_frames=1, burn_in=80.0, n_substeps=4)
    return simulator.simulate([5]).fields[0, 0, :, 0].double()


@pytest.mark.parametrize("mode", [1, 3, 7, 12])
def test_small_waves_grow_or_decay_with_the_exact_rate(mode):
    simulator = KuramotoSivashinsky(grid_shape=[64], n_frames=2, time_step=2.0, n_substeps=3, burn_in=0.0)
    first, last = frames(simulator, 1e-9 * waves(simulator, mode))
    k = 2 * math.pi * mode / 64
    torch.testing.assert_close(last, math.exp(2.0 * (k**2 - k**4)) * first, rtol=0, atol=1e-16)


def test_scalars_stretch_space_and_time():
    simulator = KuramotoSivashinsky(
        grid_shape=[64], n_frames=2, time_step=2.0, burn_in=0.0, extent_variation=0.3, time_step_variation=0.3
    )
    first, last = frames(simulator, 1e-9 * waves(simulator, 5), scalars=(80.0, 1.5))
    k = 2 * math.pi * 5 / 80
    torch.testing.assert_close(last, math.exp(1.5 * (k**2 - k**4)) * first, rtol=0, atol=1e-16)


def test_order_of_convergence_is_four(developed):
    """For steps that are small for the damped waves too; above .02 the order is nearer to three."""
    coarse, fine, reference = (
        frames(KuramotoSivashinsky(grid_shape=[128], n_frames=2, time_step=1.0, n_substeps=n, burn_in=0.0), developed)[
            1
        ]
        for n in (128, 256, 1024)
    )
    order = math.log2((coarse - reference).norm() / (fine - reference).norm())
    assert order == pytest.approx(4, abs=0.2)


def test_the_mean_is_conserved(developed):
    simulator = KuramotoSivashinsky(grid_shape=[128], n_frames=3, time_step=10.0, n_substeps=50, burn_in=0.0)
    means = frames(simulator, developed + 0.3).mean(dim=-1)
    torch.testing.assert_close(means, means[:1].expand_as(means), rtol=0, atol=1e-12)
    assert means[0, 0].item() == pytest.approx(0.3, abs=1e-6)


@pytest.mark.parametrize("n_points", [7, 64])
def test_solutions_move_with_their_initial_fields(developed, n_points):
    simulator = KuramotoSivashinsky(grid_shape=[128], n_frames=2, time_step=2.0, burn_in=0.0)
    still, moved = (frames(simulator, fields)[1] for fields in (developed, developed.roll(n_points)))
    torch.testing.assert_close(moved, still.roll(n_points, dims=-1), rtol=0, atol=1e-9)


def test_a_moving_frame_is_a_constant_added(developed):
    """Galilean invariance: u + c is u seen from a frame that moves with -c; here by 8 points in the time."""
    simulator = KuramotoSivashinsky(grid_shape=[128], n_frames=2, time_step=2.0, n_substeps=160, burn_in=0.0)
    still = frames(simulator, developed)[1]
    moved = frames(simulator, developed + 8 * 0.5 / 2.0)[1]
    torch.testing.assert_close(moved, still.roll(8, dims=-1) + 2.0, rtol=0, atol=1e-5)


def test_a_reflection_changes_the_sign(developed):
    simulator = KuramotoSivashinsky(grid_shape=[128], n_frames=2, time_step=2.0, burn_in=0.0)
    still, mirrored = (frames(simulator, fields)[1] for fields in (developed, -developed.flip(0)))
    torch.testing.assert_close(mirrored, -still.flip(-1), rtol=0, atol=1e-9)


def test_an_extent_that_differs_is_that_of_a_simulator_of_that_extent():
    varying = KuramotoSivashinsky(grid_shape=[64], n_frames=2, burn_in=5.0, extent_variation=0.2)
    field, (length,) = varying.draw(np.random.default_rng(3), 3)
    fixed = KuramotoSivashinsky(grid_shape=[64], n_frames=2, burn_in=5.0, extent=[length])
    expected = frames(fixed, field)
    torch.testing.assert_close(frames(varying, field, scalars=(length,)), expected, rtol=1e-9, atol=1e-12)


def test_only_what_varies_is_a_scalar():
    assert KuramotoSivashinsky().describe()["scalar_names"] == ()
    assert KuramotoSivashinsky(extent_variation=0.1).describe()["scalar_names"] == ("domain_length",)
    assert KuramotoSivashinsky(time_step_variation=0.1).describe()["scalar_names"] == ("time_step",)


def test_published_settings():
    config = published()
    simulator = KuramotoSivashinsky(**config)
    assert simulator.describe()["scalar_names"] == ("domain_length", "time_step")
    assert simulator.grid_shape == (256,)
    assert simulator.burn_in + (simulator.n_frames - 1) * simulator.time_step == pytest.approx(100.0)
    drawn = [simulator.draw(np.random.default_rng(seed), seed) for seed in range(200)]
    lengths, steps = np.stack([scalars for _, scalars in drawn]).T
    assert 57.6 <= lengths.min() < 58.5
    assert 69.5 < lengths.max() <= 70.4
    assert 90 / 499 <= steps.min() < 91.5 / 499
    assert 108.5 / 499 < steps.max() <= 110 / 499
    power = np.abs(np.fft.rfft(np.stack([field[:, 0] for field, _ in drawn]), axis=-1)) / 128
    assert power[:, [0, *range(3, 129)]].max() < 1e-12
    # ten sines of mean square amplitude 1/12, half of them with either wave number
    np.testing.assert_allclose(np.square(power[:, 1:3]).mean(axis=0), 5 / 12, rtol=0.25)


@pytest.mark.parametrize(
    "changes",
    [
        {"grid_shape": [8, 8], "extent": [64.0, 64.0]},
        {"extent_variation": 1.0},
        {"time_step_variation": -0.1},
        {"n_waves": 0},
        {"wave_numbers": []},
        {"wave_numbers": [0, 1]},
    ],
)
def test_impossible_settings_are_named(changes):
    with pytest.raises(ConfigError, match=next(iter(changes))):
        KuramotoSivashinsky(**changes)


def test_statistics_of_the_attractor():
    """Production of energy balances dissipation, mean u_x^2 = mean u_xx^2, and u is about 1.3."""
    simulator = KuramotoSivashinsky(grid_shape=[128], n_frames=9, time_step=5.0, n_substeps=20, burn_in=100.0)
    u = simulator.simulate(range(32)).check().fields[..., 0].double()
    k = 2 * math.pi * torch.fft.rfftfreq(128, d=0.5, dtype=torch.float64)
    power = torch.fft.rfft(u).abs().square().mean(dim=(0, 1))
    assert u.square().mean().sqrt().item() == pytest.approx(1.31, abs=0.06)
    assert (power * k**2).sum().item() == pytest.approx((power * k**4).sum().item(), rel=0.03)


def test_solutions_part_exponentially():
    """The largest Lyapunov exponent at length 64 is positive, and of the order of a tenth.

    References:
        | Lyapunov exponents of the Kuramoto-Sivashinsky PDE (Edson et al., 2019)
        | https://doi.org/10.1017/S1446181119000105
    """
    simulator = KuramotoSivashinsky(grid_shape=[128], n_frames=2, time_step=60.0, n_substeps=240, burn_in=0.0)
    start = (
        KuramotoSivashinsky(grid_shape=[128], n_frames=1, n_substeps=2, burn_in=100.0)
        .simulate(range(8))
        .fields[:, 0, :, 0]
    )
    near = start.double() + 1e-9 * torch.randn(1, 128, generator=torch.manual_seed(0), dtype=torch.float64)
    early, late = (
        (frames(simulator, near) - frames(simulator, start)).norm(dim=-1)[i].log().mean().item() for i in (0, 1)
    )
    assert 0.05 < (late - early) / 60 < 0.11
