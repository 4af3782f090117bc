"""The contract of encoders and decoders, over every file of configs/encoder and configs/decoder."""

import math
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from torch.utils.flop_counter import FlopCounterMode

from autocast.autoencoders.decoder import Decoder
from autocast.autoencoders.encoder import Encoder
from autocast.errors import ConfigError
from autocast.types import FieldSpec

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
ENCODERS = sorted(path.stem for path in (CONFIGS / "encoder").glob("*.yaml"))
DECODERS = sorted(path.stem for path in (CONFIGS / "decoder").glob("*.yaml"))
GRIDS = [
    ((8,), ("wall",)),
    ((8, 12), ("periodic", "wall")),
    ((4, 8, 12), ("open", "periodic", "periodic")),
    ((8, 8), ("periodic", "periodic")),
]


def spec_of(grid_shape=(8, 12), boundary=("periodic", "wall"), n_channels=2) -> FieldSpec:
    n_dims = len(grid_shape)
    names = tuple("uvwpqrst"[:n_channels])
    return FieldSpec(
        "toy", names, ("",) * n_channels, ("x", "y", "z")[:n_dims], grid_shape, (1.0,) * n_dims, boundary, 0.1
    )


def leaf(group: str, option: str):
    with initialize_config_dir(version_base="1.3", config_dir=str(CONFIGS)):
        return instantiate(compose(overrides=[f"+{group}@leaf={option}"]).leaf, _convert_="all")


def build(option: str, spec: FieldSpec) -> tuple[Encoder, Decoder]:
    torch.manual_seed(0)
    encoder = leaf("encoder", option)(spec)
    return encoder, encoder.mirror()


@pytest.fixture(params=ENCODERS)
def option(request):
    return request.param


@pytest.mark.parametrize(("grid_shape", "boundary"), GRIDS)
@pytest.mark.parametrize(("n_rows", "n_steps"), [(3, 5), (2, 1), (2, 2)])
def test_shapes_are_as_promised_and_the_mirror_undoes_them(option, grid_shape, boundary, n_rows, n_steps):
    spec = spec_of(grid_shape, boundary)
    encoder, decoder = build(option, spec)
    x = torch.randn(n_rows, n_steps, *grid_shape, 2)
    z = encoder.encode(x)
    merged = n_steps if encoder.merges_frames else 1
    assert z.shape == (n_rows, n_steps // merged, *encoder.grid_shape, encoder.n_channels * merged)
    assert encoder.periodic == spec.periodic
    assert decoder.decode(z).shape == x.shape


def test_gradients_reach_every_parameter(option):
    encoder, decoder = build(option, spec_of())
    x = torch.randn(3, 2, 8, 12, 2, requires_grad=True)
    (decoder.decode(encoder.encode(x)) - 1).square().mean().backward()
    assert x.grad.abs().sum() > 0
    for module in (encoder, decoder):
        assert not [n for n, p in module.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]


@torch.no_grad()
def test_every_parameter_changes_the_reconstruction(option):
    encoder, decoder = build(option, spec_of())
    x = torch.randn(1, 2, 8, 12, 2)
    before = decoder.decode(encoder.encode(x))
    for name, parameter in [*encoder.named_parameters(), *decoder.named_parameters()]:
        kept = parameter.clone()
        parameter.add_(torch.randn_like(parameter))
        assert not torch.equal(decoder.decode(encoder.encode(x)), before), name
        parameter.copy_(kept)


@torch.no_grad()
def test_periodic_axes_are_equivariant(option):
    encoder, decoder = build(option, spec_of((16, 24)))
    x = torch.randn(2, 3, 16, 24, 2)
    factor = 16 // encoder.grid_shape[0]
    z, shifted = encoder.encode(x), encoder.encode(x.roll(factor, 2))
    torch.testing.assert_close(shifted, z.roll(1, 2), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(decoder.decode(shifted), decoder.decode(z).roll(factor, 2), rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_rows_do_not_see_each_other(option):
    encoder, decoder = build(option, spec_of())
    x = torch.randn(3, 2, 8, 12, 2)
    alone, together = (decoder.decode(encoder.encode(rows)) for rows in (x[1:2], x))
    torch.testing.assert_close(alone, together[1:2], rtol=1e-4, atol=1e-5)


def test_the_decoder_costs_what_the_encoder_does(option):
    encoder, decoder = build(option, spec_of())
    x = torch.randn(1, 2, 8, 12, 2)
    with FlopCounterMode(display=False) as down:
        z = encoder.encode(x)
    with FlopCounterMode(display=False) as up:
        decoder.decode(z)
    assert up.get_total_flops() <= 1.3 * down.get_total_flops()
    assert down.get_total_flops() <= 1.3 * up.get_total_flops()


@torch.no_grad()
def test_the_state_dict_is_complete(option):
    one, two = build(option, spec_of()), build(option, spec_of())
    for parameter in (*two[0].parameters(), *two[1].parameters()):
        parameter.normal_()
    x = torch.randn(2, 1, 8, 12, 2)
    for mine, other in zip(one, two, strict=True):
        other.load_state_dict(mine.state_dict())
    assert torch.equal(*(decoder.decode(encoder.encode(x)) for encoder, decoder in (one, two)))


@pytest.mark.parametrize("decoder", DECODERS)
def test_every_decoder_decodes_some_encoder_and_says_which_it_cannot(decoder):
    spec, x = spec_of(), torch.randn(2, 3, 8, 12, 2)
    fitting, problems = 0, []
    for name in ENCODERS:
        encoder, _ = build(name, spec)
        try:
            built = leaf("decoder", decoder)(encoder)
        except ConfigError as problem:
            problems.append(str(problem))
            continue
        fitting += 1
        assert built.decode(encoder.encode(x)).shape == x.shape
    assert fitting
    assert all("encodes" in problem for problem in problems)


def test_the_size_of_the_latents_is_told_truly(option):
    encoder, _ = build(option, spec_of())
    n_numbers = math.prod(encoder.grid_shape) * encoder.n_channels
    assert encoder.encode(torch.randn(2, 3, 8, 12, 2)).numel() == 2 * 3 * n_numbers
