"""Bottlenecks of discrete codes."""

import math

import pytest
import torch

from autocast.autoencoders.quantisation import (
    SMOOTHING,
    AveragedVectorQuantisation,
    FiniteScalarQuantisation,
    VectorQuantisation,
    nearest,
)
from autocast.errors import ConfigError
from autocast.generative.noise import Noise


def noise(step: int, n: int = 4) -> Noise:
    return Noise([(0, step, row) for row in range(n)])


@pytest.mark.parametrize("grid", [(8,), (4, 6), (2, 3, 4)])
@pytest.mark.parametrize(
    "bottleneck",
    [
        VectorQuantisation(3, n_codes=7),
        AveragedVectorQuantisation(3, n_codes=7),
        FiniteScalarQuantisation(3, levels=(8, 5, 5)),
    ],
    ids=lambda b: type(b).__name__,
)
def test_codes_settle_and_gradients_pass_through(bottleneck, grid):
    z = torch.randn(2, 2, *grid, 3, requires_grad=True)
    posterior = bottleneck.posterior(z)
    assert posterior.mode.shape == z.shape
    assert posterior.indices.shape == z.shape[:-1]
    assert 0 <= int(posterior.indices.min()) <= int(posterior.indices.max()) < bottleneck.n_codes
    torch.testing.assert_close(bottleneck.settle(posterior.mode), posterior.mode)
    near = posterior.mode + 1e-3 * torch.randn_like(z)
    torch.testing.assert_close(bottleneck.settle(near), posterior.mode)
    posterior.mode.square().sum().backward()
    assert (z.grad != 0).all()
    usage = posterior.usage()
    assert 1 <= float(usage["perplexity"]) <= float(usage["used_codes"]) + 1e-4
    most = min(bottleneck.n_codes, posterior.indices.numel())
    assert float(usage["used_share"]) == pytest.approx(float(usage["used_codes"]) / most)


def test_the_nearest_code_by_brute_force():
    z, codes = torch.randn(5, 4, 3), torch.randn(11, 3)
    assert torch.equal(nearest(z, codes), torch.cdist(z, codes.expand(5, -1, -1)).argmin(-1))


def test_the_penalty_pulls_both_sides():
    bottleneck = VectorQuantisation(1, n_codes=2, commitment=0.25)
    bottleneck.codes.data = torch.tensor([[0.0], [10.0]])
    z = torch.tensor([1.0]).view(1, 1, 1, 1).requires_grad_()
    penalty = bottleneck.posterior(z).penalty().sum()
    assert penalty.item() == pytest.approx(1.25)
    penalty.backward()
    assert float(z.grad) == pytest.approx(0.25 * 2)
    assert bottleneck.codes.grad.tolist() == [[-2.0], [0.0]]


def test_the_average_of_a_code_is_as_by_hand():
    bottleneck = AveragedVectorQuantisation(1, n_codes=2, decay=0.9, revive_below=0.0)
    bottleneck.is_filled.fill_(True)
    bottleneck.sums.copy_(torch.tensor([[0.0], [10.0]]))
    bottleneck.learn(torch.tensor([1.0, 2.0, 9.0]).view(1, 1, 3, 1), noise(0, 1))
    counts = [0.9 + 0.1 * 2, 0.9 + 0.1 * 1]
    sums = [0.1 * 3, 9.0 + 0.1 * 9]
    torch.testing.assert_close(bottleneck.counts, torch.tensor(counts))
    expected = torch.tensor([[s / (n + SMOOTHING)] for s, n in zip(sums, counts, strict=True)])
    torch.testing.assert_close(bottleneck.codes, expected)


def test_the_first_batch_gives_the_codes_and_dead_ones_come_back():
    bottleneck = AveragedVectorQuantisation(2, n_codes=8, decay=0.5, revive_below=0.4)
    z = 5 + torch.randn(4, 1, 16, 2)
    bottleneck.learn(z, noise(0))
    assert bool(bottleneck.is_filled)
    assert (bottleneck.codes - 5).abs().max() < 5
    away = z + 100
    for step in range(1, 8):
        bottleneck.learn(away, noise(step))
    assert (bottleneck.codes > 50).all()
    assert float(bottleneck.posterior(away).usage()["used_codes"]) >= 6


def test_a_toy_of_64_modes_is_covered():
    torch.manual_seed(0)
    grid = torch.linspace(-3.5, 3.5, 8)
    modes = torch.cartesian_prod(grid, grid)
    bottleneck = AveragedVectorQuantisation(2, n_codes=64)
    for step in range(300):
        z = modes[torch.randint(64, (4, 1, 64))] + 0.05 * torch.randn(4, 1, 64, 2)
        bottleneck.learn(z, noise(step))
    z = modes.repeat(16, 1).view(4, 1, -1, 2)
    assert float(bottleneck.posterior(z).usage()["perplexity"]) > 32


def test_learning_repeats():
    z, found = torch.randn(4, 1, 16, 2), []
    for _ in range(2):
        torch.manual_seed(0)
        bottleneck = AveragedVectorQuantisation(2, n_codes=8)
        for step in range(3):
            bottleneck.learn(z + step, noise(step))
        found.append(bottleneck.codes)
    assert torch.equal(*found)


@pytest.mark.parametrize("levels", [(8, 5, 5, 5), (2,), (3, 2), (7, 6)])
def test_all_levels_are_reached_and_no_other(levels):
    bottleneck = FiniteScalarQuantisation(len(levels), levels=levels)
    bottleneck.down.weight.data, bottleneck.down.bias.data = torch.eye(len(levels)), torch.zeros(len(levels))
    z = 6 * torch.randn(4, 1, 4000, len(levels))
    indices = bottleneck.posterior(z).indices
    assert indices.min() == 0
    assert indices.max() == math.prod(levels) - 1
    assert bottleneck.n_codes == math.prod(levels)
    if math.prod(levels) < 100:
        assert len(indices.unique()) == math.prod(levels)


@pytest.mark.parametrize(
    "make",
    [
        lambda: VectorQuantisation(3, n_codes=1),
        lambda: AveragedVectorQuantisation(3, decay=1.0),
        lambda: FiniteScalarQuantisation(3, levels=(8, 1)),
        lambda: FiniteScalarQuantisation(3),
    ],
)
def test_what_cannot_be_is_refused(make):
    with pytest.raises(ConfigError, match="bottleneck"):
        make()


def test_codes_close_to_each_other_are_told_apart_in_half_precision():
    z, codes = torch.tensor([[5.02]]), torch.tensor([[5.00], [5.02]])
    with torch.autocast("cpu", torch.bfloat16):
        assert nearest(z, codes).tolist() == [1]


@pytest.mark.parametrize(
    "bottleneck",
    [
        VectorQuantisation(3, n_codes=7),
        AveragedVectorQuantisation(3, n_codes=7),
        FiniteScalarQuantisation(3, levels=(8, 2)),
    ],
    ids=lambda b: type(b).__name__,
)
def test_half_precision_has_the_same_codes(bottleneck):
    z = torch.randn(2, 1, 16, 3).bfloat16().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        rounded = bottleneck.posterior(z)
        rounded.mode.float().square().sum().backward()
    exact = bottleneck.posterior(z.detach().float())
    assert (rounded.indices == exact.indices).float().mean() > 0.9
    assert torch.isfinite(z.grad).all()
    assert (z.grad != 0).any()


def test_codes_of_averaged_weights_are_where_the_latest_latents_are():
    """As a moving average of weights, buffers included, makes them: a code that came back is not half-way."""
    bottleneck = AveragedVectorQuantisation(1, n_codes=2)
    bottleneck.counts.copy_(torch.tensor([0.01, 1.0]))
    bottleneck.sums.copy_(torch.tensor([[0.0], [1.0]]))
    average = {name: value.clone() for name, value in bottleneck.state_dict().items()}
    bottleneck._restart(torch.tensor([True, False]), torch.tensor([[8.0], [8.0]]))
    for name in ("counts", "sums"):
        average[name].lerp_(bottleneck.state_dict()[name], 0.5)
    bottleneck.load_state_dict(average)
    torch.testing.assert_close(bottleneck.codes, torch.tensor([[8.0], [1.0]]), rtol=0.02, atol=0)
