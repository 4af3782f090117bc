"""The adversarial term and its discriminator: closed forms, and gradients that stay on their own side."""

import copy
import functools
import pickle

import pytest
import torch
from torch import nn

from autocast.autoencoders.autoencoder import Autoencoder
from autocast.autoencoders.deep_compression import DeepCompressionEncoder
from autocast.autoencoders.gaussian import GaussianBottleneck
from autocast.autoencoders.identity import IdentityEncoder
from autocast.errors import ConfigError
from autocast.generative.noise import Noise
from autocast.losses.adversarial import GAMES, Adversarial
from autocast.losses.annealing import Delayed, Progress
from autocast.losses.objective import Objective
from autocast.losses.terms import KL, Coded, SquaredError
from autocast.nn.patchgan import PatchDiscriminator
from autocast.types import FieldSpec

SPEC = FieldSpec("toy", ("u", "v"), ("", ""), ("x", "y"), (16, 24), (1.0, 1.0), ("periodic", "wall"), 0.1)
PATCH = functools.partial(PatchDiscriminator, n_layers=1, base_channels=4)


def autoencoder():
    encoder = DeepCompressionEncoder(SPEC, widths=(4,), blocks=(0,), latent_channels=2)
    return Autoencoder(encoder, GaussianBottleneck(2), encoder.mirror())


def attached(model, **options):
    term = Adversarial(PATCH, **options)
    term.attach(model, SPEC)
    return term


def coded(model, seed=0):
    x = torch.randn(3, 1, *SPEC.grid_shape, 2, generator=torch.Generator().manual_seed(seed))
    return Coded.of(x, *model.reconstruct(x, Noise([(0,), (1,), (2,)])))


def objective(term, *, weight=1.0):
    terms = {"adversarial": term, "mse": SquaredError(), "kl": KL()}
    return Objective(terms, {"adversarial": weight, "mse": 1.0, "kl": 0.1})


@pytest.mark.parametrize(
    ("loss", "real", "fake", "discriminator", "generator"),
    [
        ("hinge", [2, 0.5], [-2, 0.5], 1.0, 0.75),
        ("lsgan", [0.9, 0.7], [0.2, 0.4], 0.075, 0.5),
        ("vanilla", [0.0, 0.0], [0.0, 0.0], 2 * 0.693147, 0.693147),
    ],
)
def test_closed_forms(loss, real, fake, discriminator, generator):
    real, fake = torch.tensor(real), torch.tensor(fake)
    assert float(GAMES[loss].discriminator(real, fake)) == pytest.approx(discriminator, rel=1e-6)
    assert float(GAMES[loss].generator(fake).mean()) == pytest.approx(generator, rel=1e-6)


def test_the_adaptive_factor_is_the_ratio_of_gradients():
    model = autoencoder()
    term = attached(model)
    weight = nn.Parameter(torch.tensor([1.0, 2.0]))
    term._last_weight = (weight,)
    others, own = (weight * torch.tensor([3.0, 0.0])).sum(), (weight * torch.tensor([0.3, 0.4])).sum()
    assert float(term.factor(others, own)) == pytest.approx(5.9988, abs=1e-4)
    assert float(term.factor(others * 1e6, own)) == 1e4
    assert attached(model, adaptive=False).factor(others, own) == 1
    assert term.factor(others.detach(), own) == 1


@pytest.mark.parametrize("loss", GAMES)
@pytest.mark.parametrize("adaptive", [True, False])
@pytest.mark.parametrize("r1", [0.0, 2.0])
def test_gradients_stay_on_their_own_side(loss, adaptive, r1):
    model = autoencoder()
    term = attached(model, loss=loss, adaptive=adaptive, r1=r1)
    sum_of_terms = objective(term)
    case = coded(model)
    sum_of_terms.measure(case, Progress(0))["loss"].backward()
    assert all(p.grad is None for p in term.discriminator.parameters())
    assert all(p.grad is not None for p in model.parameters())
    before = {name: p.grad.clone() for name, p in model.named_parameters()}

    term.learn(coded(model))
    assert all(torch.equal(p.grad, before[name]) for name, p in model.named_parameters())
    assert all(p.grad.any() for p in term.discriminator.parameters() if p.ndim > 1)
    assert not any(p.requires_grad for p in term.discriminator.parameters())


def test_what_a_discriminator_learns_from_pieces_adds_up():
    torch.manual_seed(0)
    model = autoencoder()
    whole, parts = (attached(model, r1=1.0) for _ in range(2))
    parts.discriminator.load_state_dict(whole.discriminator.state_dict())
    case = coded(model)
    told = whole.learn(case)
    for rows, share in ((slice(0, 2), 2 / 3), (slice(2, 3), 1 / 3)):
        parts.learn(Coded(case.x[rows], case.reconstruction[rows], case.posterior), share)
    for a, b in zip(whole.discriminator.parameters(), parts.discriminator.parameters(), strict=True):
        assert torch.allclose(a.grad, b.grad, rtol=1e-4, atol=1e-6)
    assert set(told) == {"discriminator/loss", "discriminator/real", "discriminator/fake"}


def test_r1_is_half_the_squared_slope():
    model = autoencoder()
    plain, penalised = attached(model), attached(model, r1=3.0)
    penalised.discriminator.load_state_dict(plain.discriminator.state_dict())
    case = coded(model)
    x = case.x.clone().requires_grad_(True)
    (slope,) = torch.autograd.grad(plain._judge(x).sum(), x)
    added = penalised.learn(case)["discriminator/loss"] - plain.learn(case)["discriminator/loss"]
    assert float(added) == pytest.approx(1.5 * float(slope.flatten(1).square().sum(1).mean()), rel=1e-4)


def test_a_discriminator_learns_to_tell():
    model = autoencoder()
    term = attached(model, learning_rate=1e-2)
    optimizer = torch.optim.Adam(term.discriminator.parameters(), lr=1e-2)
    for step in range(30):
        told = term.learn(coded(model, step))
        optimizer.step()
        optimizer.zero_grad()
    assert told["discriminator/real"] > 0.5 > -0.5 > told["discriminator/fake"]


def test_it_comes_in_late_last_and_not_in_validation():
    term = attached(model := autoencoder())
    total = objective(term, weight=Delayed(0.5, 10))
    assert list(total.terms) == ["mse", "kl", "adversarial"]
    told = [total.measure(coded(model), when) for when in (Progress(9), Progress(10), None)]
    early, late, validation = ({name: value.detach() for name, value in terms.items()} for terms in told)
    assert "adversarial" not in early
    assert not {"adversarial", "weight/adversarial"} & set(validation)
    effective = 0.5 * float(term.factor(told[0]["loss"], term.measure(coded(model)).mean()))
    assert float(late["weight/adversarial"]) == pytest.approx(effective, rel=1e-4)
    assert float(late["loss"]) == pytest.approx(float(early["loss"]) + effective * float(late["adversarial"]), rel=1e-4)
    assert total.summary.endswith("0.5 after 10 steps adversarial (hinge, patches of 16)")


def test_a_model_that_is_not_trained_has_no_factor():
    term = attached(model := autoencoder())
    with torch.no_grad():
        assert float(objective(term).measure(coded(model), Progress(0))["weight/adversarial"]) == 1


def test_it_stays_on_its_own_device():
    term = attached(model := autoencoder(), device="cpu")
    term.place()
    term.to("meta", torch.bfloat16)
    assert {(p.device.type, p.dtype) for p in term.discriminator.parameters()} == {("cpu", torch.bfloat16)}
    assert term.float().measure(coded(model)).shape[0] == 3


def test_a_device_that_is_not_there_matters_only_where_it_is_trained():
    term = attached(autoencoder(), device="cuda:93")
    with pytest.raises(ConfigError, match="cuda:93"):
        term.place()
    with pytest.raises(ConfigError, match="no device"):
        Adversarial(PATCH, device="gpu")


def test_the_adaptive_factor_looks_at_all_other_terms():
    """Also at those that are left out of validation, as it is itself."""

    class Drifting(SquaredError):
        keeps_meaning = False

    term = attached(autoencoder())
    terms = {"mse": SquaredError(), "adversarial": term, "drifting": Drifting()}
    assert list(Objective(terms, dict.fromkeys(terms, 1.0)).terms) == ["mse", "drifting", "adversarial"]


def test_copies_have_a_discriminator_and_a_last_weight_of_their_own():
    model = nn.ModuleDict({"autoencoder": autoencoder()})
    model["objective"] = objective(attached(model["autoencoder"]))
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        term = other["objective"].terms["adversarial"]
        assert term._last_weight[0] is other["autoencoder"].decoder.last_weight
        assert not {*term.discriminator.parameters()} & {*model.parameters()}


@pytest.mark.parametrize(
    ("options", "message"),
    [({"loss": "wgan"}, "hinge, lsgan, vanilla"), ({"r1": -1}, "r1"), ({"learning_rate": 0.0}, "learning_rate")],
)
def test_wrong_settings_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        Adversarial(PATCH, **options)


def test_a_decoder_without_layers_has_no_adaptive_weight():
    encoder = IdentityEncoder(SPEC)
    model = Autoencoder(encoder, GaussianBottleneck(2), encoder.mirror())
    with pytest.raises(ConfigError, match="adaptive=false"):
        attached(model)
    attached(model, adaptive=False)
