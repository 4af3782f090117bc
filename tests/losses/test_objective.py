"""The terms of an autoencoder's objective, and their sum."""

import math

import pytest
import torch

from autocast.autoencoders.bottlenecks import IdentityBottleneck, Plain
from autocast.autoencoders.gaussian import DiagonalGaussian, GaussianBottleneck
from autocast.autoencoders.quantisation import (
    AveragedVectorQuantisation,
    FiniteScalarQuantisation,
    VectorQuantisation,
)
from autocast.errors import ConfigError
from autocast.losses.annealing import Linear, Progress
from autocast.losses.objective import Objective
from autocast.losses.terms import (
    KL,
    AbsoluteError,
    Coded,
    Commitment,
    CrossEntropy,
    GradientError,
    RelativeError,
    SpectralError,
    SquaredError,
)
from autocast.metrics.deterministic import vrmse

X, R = torch.tensor([[1, 0, 0.5, 0.25]]), torch.tensor([[0.9, 0.2, 0.5, 0.5]])
MEAN = torch.tensor([[0.0, 0.0], [1.0, -2.0]])
LOGVAR = torch.tensor([[0.0, 0.0], [math.log(4), -1.0]])


def coded(x, r, posterior=None):
    """Of rows `(N, D)`: frames of one axis and one channel."""
    return Coded(x.unsqueeze(-1), r.unsqueeze(-1), posterior or Plain(x[:, None, :, None], 0.0))


def gaussian(mean, logvar):
    return DiagonalGaussian(mean[:, None, :, None], logvar[:, None, :, None])


def loss(term, case, reduction="elbo", weight=1.0):
    return float(Objective({"it": term}, {"it": weight}, reduction=reduction).measure(case)["loss"])


@pytest.mark.parametrize(
    ("term", "value"),
    [(SquaredError(), 0.1125), (AbsoluteError(), 0.55), (CrossEntropy(), 1.7147984280919266)],
)
def test_reconstruction_terms_sum_over_a_frame(term, value):
    assert loss(term, coded(X, R)) == pytest.approx(value, rel=1e-6)
    assert loss(term, coded(X.repeat(3, 1), R.repeat(3, 1))) == pytest.approx(value, rel=1e-6)
    assert loss(term, coded(X, R), "mean") == pytest.approx(value / 4, rel=1e-6)


def test_probabilities_are_cut_and_logits_are_not():
    one, nothing = torch.ones(1, 1), torch.zeros(1, 1)
    assert loss(CrossEntropy(), coded(nothing, one)) == pytest.approx(15.942385, rel=1e-6)  # in single precision
    logits = torch.logit(R.clamp(1e-7, 1 - 1e-7))
    assert loss(CrossEntropy(from_logits=True), coded(X, logits)) == pytest.approx(1.7147984280919266, rel=1e-5)
    assert loss(CrossEntropy(gamma=2.0), coded(nothing, 0.5 * one)) == pytest.approx(0.25 * math.log(2), rel=1e-6)


@pytest.mark.parametrize(
    ("free_bits", "value"),
    [(0, 1.745396270012888), (0.1, 1.845396270012888), (0.5, 2.245396270012888), (1.0, 2.745396270012888)],
)
def test_free_bits_of_every_number(free_bits, value):
    case = coded(X.repeat(2, 1), R.repeat(2, 1), gaussian(MEAN, LOGVAR))
    for reduction in ("elbo", "mean"):
        assert loss(KL(free_bits=free_bits), case, reduction) == pytest.approx(value, rel=1e-6)


def test_free_bits_stop_the_gradient_where_they_are_free():
    mean = torch.tensor([[0.1, 2.0]], requires_grad=True)
    logvar = torch.zeros(1, 2, requires_grad=True)
    total = Objective({"kl": KL(free_bits=0.5)}, {"kl": 1.0}).measure(coded(X, R, gaussian(mean, logvar)))["loss"]
    assert total.item() == pytest.approx(2.5)
    total.backward()
    assert mean.grad.tolist() == [[0.0, 2.0]]
    assert logvar.grad.tolist() == [[0.0, 0.0]]


def test_free_bits_of_batch_means_and_capacity():
    case = coded(X.repeat(2, 1), R.repeat(2, 1), gaussian(MEAN, LOGVAR))
    each = -0.5 * (1 + LOGVAR - MEAN.square() - LOGVAR.exp())
    value = each.mean(0).clamp(min=1.0).sum()
    assert loss(KL(free_bits=1.0, free_bits_mode="batch_mean"), case) == pytest.approx(float(value), rel=1e-6)
    value = (each.sum(1) - 2).abs().mean()
    assert loss(KL(capacity=2.0), case) == pytest.approx(float(value), rel=1e-6)


def test_relative_error_is_the_score():
    x, r = torch.randn(3, 6, 8, 2), torch.randn(3, 6, 8, 2)
    score = vrmse(x[:, None], r[:, None, None], 2)
    assert loss(RelativeError(), Coded(x, r, Plain(x, 0.0))) == pytest.approx(float(score.mean()), rel=1e-5)


@pytest.mark.parametrize("shape", [(9,), (6, 8), (4, 5, 6)])
def test_spectra_and_gradients_see_blur_and_no_constant(shape):
    torch.manual_seed(0)
    x = torch.randn(2, *shape, 2)
    smooth = (x + x.roll(1, 1) + x.roll(-1, 1)) / 3
    posterior = Plain(x, 0.0)
    assert loss(GradientError(), Coded(x, x + 5, posterior)) == pytest.approx(0, abs=1e-6)
    for term in (SpectralError(), GradientError()):
        assert loss(term, Coded(x, x, posterior)) == 0
        assert loss(term, Coded(x, smooth, posterior), "mean") > 0.01
    assert loss(SpectralError(), Coded(x, x.roll(2, 1), posterior)) == pytest.approx(0, abs=1e-4)


def test_a_term_of_weight_zero_is_not_computed():
    class Fails(SquaredError):
        def measure(self, coded):
            raise AssertionError

    objective = Objective({"mse": SquaredError(), "l1": Fails()}, {"mse": 2.0, "l1": Linear(1.0, 10)}, reduction="elbo")
    told = objective.measure(coded(X, R), Progress(0))
    assert set(told) == {"loss", "mse", "weight/mse", "weight/l1"}
    assert float(told["loss"]) == pytest.approx(0.225, rel=1e-6)
    assert float(told["weight/l1"]) == 0
    with pytest.raises(AssertionError):
        objective.measure(coded(X, R), Progress(5))


def test_a_validation_weighs_as_in_the_end():
    objective = Objective(
        {"mse": SquaredError(), "l1": AbsoluteError()}, {"mse": 1.0, "l1": Linear(2.0, 1000)}, reduction="elbo"
    )
    told = objective.measure(coded(X, R))
    assert set(told) == {"loss", "mse", "l1"}
    assert float(told["loss"]) == pytest.approx(0.1125 + 2 * 0.55, rel=1e-6)
    assert float(objective.measure(coded(X, R), Progress(500))["loss"]) == pytest.approx(0.1125 + 0.55, rel=1e-6)
    assert objective.summary == "elbo: 1 mse + 0 to 2 (linear, 1,000 steps) l1"


@pytest.mark.parametrize(
    ("terms", "weights", "reduction", "words"),
    [
        ({"mse": SquaredError()}, {}, "mean", "mse has no weight"),
        ({"mse": SquaredError()}, {"mse": 1.0, "kl": 1.0}, "mean", "a weight of kl, but no such term"),
        ({"mse": SquaredError()}, {"mse": 0.0}, "mean", "all are 0"),
        ({"mse": SquaredError()}, {"mse": -1.0}, "mean", "not negative"),
        ({"mse": SquaredError()}, {"mse": 1.0}, "sum", "there are elbo, mean"),
    ],
)
def test_objectives_that_cannot_be(terms, weights, reduction, words):
    with pytest.raises(ConfigError, match=words):
        Objective(terms, weights, reduction=reduction)


def test_a_term_that_is_none_is_left_out():
    objective = Objective({"mse": SquaredError(), "kl": None}, {"mse": 1.0, "kl": None})
    assert list(objective.terms) == ["mse"]


IDENTITY = (
    r"model\.objective: the term kl measures what IdentityBottleneck does not have\. Choose bottleneck=gaussian, or "
    r"leave it out: model\.objective\.terms\.kl=null model\.objective\.weights\.kl=null\."
)


@pytest.mark.parametrize(
    ("bottleneck", "terms", "words"),
    [
        (GaussianBottleneck(4), {"mse": SquaredError()}, "trained with the term kl"),
        (VectorQuantisation(4), {"mse": SquaredError()}, "trained with the term commitment"),
        (IdentityBottleneck(4), {"mse": SquaredError(), "kl": KL()}, IDENTITY),
        (AveragedVectorQuantisation(4), {"kl": KL()}, "kl measures what"),
        (FiniteScalarQuantisation(4), {"commitment": Commitment()}, "commitment measures what.*Choose bottleneck=vq"),
        (GaussianBottleneck(4), {"mse": SquaredError(), "kl": KL()}, ""),
        (FiniteScalarQuantisation(4), {"mse": SquaredError()}, ""),
    ],
)
def test_objective_and_bottleneck_fit(bottleneck, terms, words):
    objective = Objective(terms, dict.fromkeys(terms, 1.0))
    if not words:
        objective.check_bottleneck(bottleneck)
        return
    with pytest.raises(ConfigError, match=words):
        objective.check_bottleneck(bottleneck)


def test_codes_are_learnt_from_the_first_step_on():
    objective = Objective({"commitment": Commitment()}, {"commitment": Linear(1.0, 100)})
    with pytest.raises(ConfigError, match="from the first step on"):
        objective.check_bottleneck(VectorQuantisation(4))
