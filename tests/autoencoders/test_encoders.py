"""The contract of encoders and decoders, over every file of configs/encoder and configs/decoder."""

import functools
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
CASES = [  # the grid in steps of the encoder's factor, its boundary, rows, frames, channels
    ((2,), ("wall",), 3, 5, 2),
    ((2, 3), ("periodic", "wall"), 3, 5, 1),
    ((1, 2, 3), ("open", "periodic", "periodic"), 2, 1, 3),
    ((2, 2), ("periodic", "periodic"), 2, 2, 2),
]
NARROWER = 8
"""By how much the tests of behaviour divide the widths: only costs are counted at full size."""


def spec_of(grid_shape, boundary=("periodic", "wall"), n_channels=2) -> FieldSpec:
    n_dims = len(grid_shape)
    names = tuple("uvwpqrst"[:n_channels])
    return FieldSpec(
        "toy", names, ("",) * n_channels, ("x", "y", "z")[:n_dims], grid_shape, (1.0,) * n_dims, boundary, 0.1
    )


@functools.cache
def leaf(group: str, option: str):
    with initialize_config_dir(version_base="1.3", config_dir=str(CONFIGS)):
        return instantiate(compose(overrides=[f"+{group}@leaf={option}"]).leaf, _convert_="all")


def factor_of(option: str) -> int:
    """How much coarser the grid becomes; 4 where nothing is made coarser, so that grids are not tiny."""
    settings = leaf("encoder", option).keywords
    return 2 ** (len(settings["ch_mult"]) - 1 if "ch_mult" in settings else len(settings.get("widths", [1, 1])))


def grid_of(option: str, *steps: int) -> tuple[int, ...]:
    return tuple(factor_of(option) * n for n in steps)


def build_encoder(option: str, spec: FieldSpec) -> Encoder:
    make = leaf("encoder", option)
    narrow = {
        "widths": lambda widths: [n // NARROWER for n in widths],
        "base_ch": lambda _: 4,
        "latent_channels": lambda n: n // NARROWER if option == "vector" else n,
    }
    settings = make.keywords
    return make(spec, **{key: narrow[key](settings[key]) for key in narrow.keys() & settings.keys()})


def build(option: str, spec: FieldSpec) -> tuple[Encoder, Decoder]:
    torch.manual_seed(0)
    encoder = build_encoder(option, spec)
    return encoder, encoder.mirror()


def flops(function) -> int:
    with FlopCounterMode(display=False) as counter:
        function()
    return counter.get_total_flops()


@pytest.fixture(params=ENCODERS)
def option(request):
    return request.param


@torch.no_grad()
@pytest.mark.parametrize(("steps", "boundary", "n_rows", "n_frames", "n_channels"), CASES)
def test_shapes_are_as_promised_and_the_mirror_undoes_them(option, steps, boundary, n_rows, n_frames, n_channels):
    spec = spec_of(grid_of(option, *steps), boundary, n_channels)
    encoder, decoder = build(option, spec)
    x = torch.randn(n_rows, n_frames, *spec.grid_shape, n_channels)
    z = encoder.encode(x)
    merged = n_frames if encoder.merges_frames else 1
    assert z.shape == (n_rows, n_frames // merged, *encoder.grid_shape, encoder.n_channels * merged)
    assert encoder.periodic == spec.periodic
    assert encoder.latent_bound is None or z.abs().max() <= encoder.latent_bound
    assert decoder.decode(z).shape == x.shape


def test_gradients_reach_every_parameter(option):
    encoder, decoder = build(option, spec_of(grid_of(option, 2, 3), n_channels=3))
    x = torch.randn(3, 2, *encoder.spec.grid_shape, 3, requires_grad=True)
    (decoder.decode(encoder.encode(x)) - 1).square().mean().backward()
    assert x.grad.abs().sum() > 0
    for module in (encoder, decoder):
        assert not [n for n, p in module.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]


@torch.no_grad()
def test_every_parameter_changes_the_reconstruction(option):
    encoder, decoder = build(option, spec_of(grid_of(option, 2, 3)))
    x = torch.randn(1, 2, *encoder.spec.grid_shape, 2)
    before = decoder.decode(encoder.encode(x))
    for name, parameter in [*encoder.named_parameters(), *decoder.named_parameters()]:
        kept = parameter.clone()
        parameter.add_(torch.randn_like(parameter))
        assert not torch.equal(decoder.decode(encoder.encode(x)), before), name
        parameter.copy_(kept)


@torch.no_grad()
@pytest.mark.parametrize("steps", [(3,), (4, 3), (2, 3, 1)])
@pytest.mark.parametrize("option", [name for name in ENCODERS if name != "vector"])  # a vector has no place
def test_periodic_axes_are_equivariant(option, steps):
    spec = spec_of(grid_of(option, *steps), ("periodic", "wall", "periodic")[: len(steps)])
    encoder, decoder = (part.double() for part in build(option, spec))  # deep ones round by more than is allowed here
    x = torch.randn(1, 2, *encoder.spec.grid_shape, 2, dtype=torch.float64)
    factor = encoder.spec.grid_shape[0] // encoder.grid_shape[0]
    z, shifted = encoder.encode(x), encoder.encode(x.roll(factor, 2))
    torch.testing.assert_close(shifted, z.roll(1, 2), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(decoder.decode(shifted), decoder.decode(z).roll(factor, 2), rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_rows_do_not_see_each_other(option):
    encoder, decoder = build(option, spec_of(grid_of(option, 2, 3)))
    x = torch.randn(3, 2, *encoder.spec.grid_shape, 2)
    alone, together = (decoder.decode(encoder.encode(rows)) for rows in (x[1:2], x))
    torch.testing.assert_close(alone, together[1:2], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("n_dims", [1, 2, 3])
@pytest.mark.parametrize("decoder", [None, *DECODERS])
def test_the_decoder_costs_what_the_encoder_does(option, decoder, n_dims):
    """Every shipped pair at its full size, counted without computing anything."""
    spec = spec_of(grid_of(option, *(2, 1, 1)[:n_dims]), ("periodic",) * n_dims)
    with torch.device("meta"):
        encoder = leaf("encoder", option)(spec)
        try:
            other = leaf("decoder", decoder)(encoder) if decoder else encoder.mirror()
        except ConfigError:
            return  # no pair
        x = torch.randn(1, 1, *spec.grid_shape, 2)
        z = encoder.encode(x)
        down, up = flops(lambda: encoder.encode(x)), flops(lambda: other.decode(z))
    assert up <= 1.3 * down
    assert down <= 1.3 * up


@torch.no_grad()
def test_the_state_dict_is_complete(option):
    spec = spec_of(grid_of(option, 2, 3))
    one, two = build(option, spec), build(option, spec)
    for parameter in (*two[0].parameters(), *two[1].parameters()):
        parameter.normal_()
    x = torch.randn(2, 1, *spec.grid_shape, 2)
    for mine, other in zip(one, two, strict=True):
        other.load_state_dict(mine.state_dict())
    assert torch.equal(*(decoder.decode(encoder.encode(x)) for encoder, decoder in (one, two)))


@torch.no_grad()
@pytest.mark.parametrize("decoder", DECODERS)
def test_every_decoder_decodes_some_encoder_and_says_which_it_cannot(decoder):
    fitting, problems = 0, []
    for name in ENCODERS:
        encoder, _ = build(name, spec_of(grid_of(name, 2, 3)))
        x = torch.randn(2, 3, *encoder.spec.grid_shape, 2)
        try:
            built = leaf("decoder", decoder)(encoder)
        except ConfigError as problem:
            problems.append(str(problem))
            continue
        fitting += 1
        assert built.decode(encoder.encode(x)).shape == x.shape
    assert fitting
    assert all("encodes" in problem for problem in problems)


@torch.no_grad()
def test_the_size_of_the_latents_is_told_truly(option):
    encoder, _ = build(option, spec_of(grid_of(option, 2, 3)))
    n_numbers = math.prod(encoder.grid_shape) * encoder.n_channels
    assert encoder.encode(torch.randn(2, 3, *encoder.spec.grid_shape, 2)).numel() == 2 * 3 * n_numbers
