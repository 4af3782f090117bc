import itertools
import math

import pytest
import torch

from autocast.simulators.etdrk4 import Etdrk4, coefficients
from autocast.simulators.spectral import SpectralGrid, corners, two_thirds


def no_reaction(v):
    return torch.zeros_like(v)


def solve(stepper, fields, n_steps):
    state = stepper.start(fields)
    for _ in range(n_steps):
        state = stepper.step(state)
    return stepper.fields(state)


def coordinates(grid):
    axes = [
        length * torch.arange(n, dtype=torch.float64) / n
        for n, length in zip(grid.grid_shape, grid.extent, strict=True)
    ]
    return torch.meshgrid(*axes, indexing="ij")


@pytest.mark.parametrize("grid_shape", [(13,), (8, 12), (9, 8, 12)])
@pytest.mark.parametrize("dealiasing", [two_thirds, corners])
def test_transforms_of_resolved_fields_round_trip(grid_shape, dealiasing):
    grid = SpectralGrid(grid_shape, [2.0] * len(grid_shape), dealiasing=dealiasing)
    v = grid.transform(torch.randn(3, 2, *grid_shape, dtype=torch.float64)) * grid.mask
    x = grid.inverse(v)
    assert x.shape == (3, 2, *grid_shape)
    torch.testing.assert_close(grid.inverse(grid.transform(x) * grid.mask), x)


def test_two_thirds_rule_leaves_no_alias_of_a_square():
    grid = SpectralGrid((12,), (1.0,))
    fine = SpectralGrid((48,), (1.0,))
    v = grid.transform(torch.randn(12, dtype=torch.float64))
    padded = torch.nn.functional.pad(v, (0, fine.n_last - grid.n_last))
    exact = fine.transform(fine.inverse(padded).square())[: grid.n_last]
    torch.testing.assert_close(grid.transform(grid.inverse(v).square()), exact)


def test_corners_keep_what_is_high_along_one_axis_only():
    mask = SpectralGrid((9, 12), (1.0, 1.0), dealiasing=corners).mask
    assert mask[4, 0] == 1
    assert mask[0, 6] == 1
    assert mask[4, 6] == 0


def test_lay_out_keeps_values_and_takes_the_order_of_transforms():
    grid = SpectralGrid((8, 12), (1.0, 1.0))
    values = torch.randn(2, *grid.mask.shape, dtype=torch.float64)
    laid = grid.lay_out(values)
    assert torch.equal(laid, values)
    assert laid.stride() == grid.transform(torch.zeros(2, 8, 12)).stride()


def test_coefficients_are_those_of_the_formulas_away_from_zero_and_their_limits_at_zero():
    found = coefficients(torch.tensor([-40.0, 0.0], dtype=torch.float64), dt=0.5)
    z, h = -20.0, 0.5
    exp = math.exp(z)
    assert found.q[0].item() == pytest.approx(h * (math.exp(z / 2) - 1) / z, rel=1e-12)
    assert found.f_1[0].item() == pytest.approx(h * (-4 - z + exp * (4 - 3 * z + z**2)) / z**3, rel=1e-12)
    assert found.f_2[0].item() == pytest.approx(h * (2 + z + exp * (z - 2)) / z**3, rel=1e-12)
    assert found.f_3[0].item() == pytest.approx(h * (-4 - 3 * z - z**2 + exp * (4 - z)) / z**3, rel=1e-12)
    limits = [found.q[1], found.f_1[1], found.f_2[1], found.f_3[1]]
    torch.testing.assert_close(torch.stack(limits), h * torch.tensor([1 / 2, 1 / 6, 1 / 6, 1 / 6], dtype=torch.float64))


def test_heat_kernel_is_exact():
    grid = SpectralGrid((8, 12), (2.0, 3.0))
    x, y = coordinates(grid)
    mode = torch.cos(2 * math.pi * (x / 2 + 2 * y / 3))
    stepper = Etdrk4(grid, 0.1 * grid.laplacian[None], no_reaction, dt=0.25, dtype=torch.float64)
    decay = math.exp(-0.1 * (math.pi**2 + (4 * math.pi / 3) ** 2) * 5 * 0.25)
    torch.testing.assert_close(solve(stepper, mode[None, None], 5)[0, 0], decay * mode, rtol=0, atol=1e-14)


def test_linear_advection_is_exact_with_a_complex_symbol():
    grid = SpectralGrid((8, 12), (2.0, 3.0))
    velocity = (0.7, -0.4)
    linear = sum(-1j * c * k for c, k in zip(velocity, grid.wavenumbers, strict=True))[None]

    def wave(t):
        x, y = coordinates(grid)
        return torch.sin(2 * math.pi * ((x - 0.7 * t) / 2 + (y + 0.4 * t) / 3))[None, None]

    stepper = Etdrk4(grid, linear, no_reaction, dt=0.5, dtype=torch.float64)
    torch.testing.assert_close(solve(stepper, wave(0.0), 7), wave(3.5), rtol=0, atol=1e-13)


def burgers(n_steps, dtype=torch.float64):
    """u_t + u u_x = nu u_xx from a sine to time 0.5."""
    grid = SpectralGrid((32,), (2 * math.pi,))
    derivative = -0.5j * grid.wavenumbers[0]

    def advection(v):
        return grid.transform(grid.inverse(v).square()) * derivative.to(v)

    stepper = Etdrk4(grid, 0.1 * grid.laplacian[None], advection, dt=0.5 / n_steps, dtype=dtype)
    return solve(stepper, coordinates(grid)[0].sin()[None, None].to(dtype), n_steps)


def test_order_of_convergence_is_four():
    reference = burgers(320)
    errors = [(burgers(n) - reference).norm().item() for n in (10, 20, 40)]
    orders = [math.log2(a / b) for a, b in itertools.pairwise(errors)]
    assert all(3.8 < order < 4.3 for order in orders), orders


def test_float32_agrees_with_float64():
    torch.testing.assert_close(burgers(20, torch.float32).double(), burgers(20), rtol=0, atol=1e-5)


def test_a_growing_linear_part_does_not_amplify_rounding():
    """Modes m and -m of a real field are both stored where the last mode is 0, and no transform sees them differ."""
    grid = SpectralGrid((12, 8), (12.0, 12.0))

    def cube(v):
        return grid.transform(-(grid.inverse(v) ** 3))

    stepper = Etdrk4(grid, (1 + grid.laplacian)[None], cube, dt=0.1, dtype=torch.float32)
    state = stepper.start(torch.zeros(2, 1, 12, 8))
    state[:, :, 1, 0] += 1e-6
    for _ in range(200):
        state = stepper.step(state)
    v = torch.view_as_complex(state)
    torch.testing.assert_close(v[..., 1, 0], v[..., -1, 0].conj(), rtol=0, atol=1e-6)
    assert 0.5 < stepper.fields(state).abs().max() < 2


def test_equilibrium_is_a_fixed_point_of_the_deviation():
    grid = SpectralGrid((8, 12), (1.0, 1.0))
    stepper = Etdrk4(
        grid, -torch.ones(2, *grid.mask.shape), no_reaction, dt=0.5, dtype=torch.float64, equilibrium=(1.0, 3.0)
    )
    constant = torch.tensor([1.0, 3.0], dtype=torch.float64).reshape(1, 2, 1, 1).expand(3, 2, 8, 12)
    torch.testing.assert_close(solve(stepper, constant, 3), constant)
    torch.testing.assert_close(solve(stepper, constant + 1, 2), constant + math.exp(-1.0))
