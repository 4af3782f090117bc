"""The perceptual term: what it compares, what it sees, and what it leaves alone."""

import copy
import pickle

import pytest
import torch

from autocast.autoencoders.autoencoder import Autoencoder
from autocast.autoencoders.bottlenecks import IdentityBottleneck, Plain
from autocast.autoencoders.deep_compression import DeepCompressionEncoder
from autocast.autoencoders.identity import IdentityEncoder
from autocast.autoencoders.kl import KLEncoder
from autocast.autoencoders.vector import VectorEncoder
from autocast.data.normaliser import Normaliser
from autocast.emulators import AutoencoderModel
from autocast.errors import ConfigError
from autocast.generative.noise import Noise
from autocast.losses.annealing import Progress
from autocast.losses.local_spectra import band_powers
from autocast.losses.objective import Objective
from autocast.losses.perceptual import Perceptual
from autocast.losses.terms import Coded, SquaredError
from autocast.nn.lpips import LPIPS
from autocast.nn.vgg import VGG
from autocast.types import Batch, FieldSpec

ANY_FIELD = ("encoder", "random_conv", "spectral")
GRIDS = [(32,), (16, 24), (8, 10, 12)]


def fields(grid_shape, channels="uv"):
    return FieldSpec(
        dataset_name="toy",
        channel_names=tuple(channels),
        units=("",) * len(channels),
        dim_names=tuple("xyz"[: len(grid_shape)]),
        grid_shape=grid_shape,
        extent=(1.0,) * len(grid_shape),
        boundary=("periodic", "wall", "open")[: len(grid_shape)],
        time_step=1.0,
    )


def encoder_of(spec, kind="dc"):
    if kind == "kl":
        return KLEncoder(spec, base_ch=4, ch_mult=(1, 2), num_res_blocks=1, attn_resolutions=(), dropout=0.3)
    if kind == "vector":
        return VectorEncoder(spec, widths=(4, 4, 4), latent_channels=6)
    return DeepCompressionEncoder(spec, widths=(6,), blocks=(1,), latent_channels=3)


def autoencoder_of(spec, kind="dc"):
    encoder = encoder_of(spec, kind)
    return Autoencoder(encoder, IdentityBottleneck(encoder.n_channels), encoder.mirror())


def attached(spec, autoencoder=None, **settings):
    term = Perceptual(**settings)
    term.attach(autoencoder or autoencoder_of(spec), spec)
    return term


def value(term, x, r):
    """By frame."""
    return term.measure(Coded(x, r, Plain(x, 0.0))).flatten(1).mean(1)


def random_file(network, path, **others):
    generator = torch.Generator().manual_seed(0)
    tensors = {
        name: torch.randn(v.shape, generator=generator) * (2 / max(1, v[0].numel())) ** 0.5
        for name, v in network.state_dict().items()
    }
    tensors = {name: v.abs() if name.startswith("lin") else v for name, v in tensors.items()}
    torch.save({**tensors, **others}, path)
    return str(path)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Files as they are published, with random weights."""
    folder = tmp_path_factory.mktemp("weights")
    with torch.device("meta"):
        networks = {"vgg16": VGG("vgg16", (30,)), "vgg19": VGG("vgg19", (36,)), "lpips": LPIPS()}
    return {
        name: random_file(network, folder / f"{name}.pth", **{"classifier.0.bias": torch.zeros(3)})
        for name, network in networks.items()
    }


@pytest.fixture(params=[*ANY_FIELD, "vgg16", "vgg19", "lpips"])
def settings(request, files):
    """Of a term of every kind."""
    return {"features": request.param, "weights_file": files.get(request.param)}


@pytest.mark.parametrize("grid_shape", GRIDS)
@pytest.mark.parametrize("features", ANY_FIELD)
def test_identical_frames_are_alike_and_every_frame_counts_for_itself(features, grid_shape):
    spec = fields(grid_shape)
    term = attached(spec, features=features)
    x = torch.randn(3, *grid_shape, 2)
    r = x + torch.tensor([0.0, 0.1, 0.5]).view(3, *[1] * (x.ndim - 1)) * torch.randn_like(x)
    found = value(term, x, r)
    assert found[0] == 0
    assert 0 < found[1] < found[2]
    torch.testing.assert_close(value(term, x[1:2], r[1:2]), found[1:2])
    assert term.measure(Coded(x, r, Plain(x, 0.0))).shape == x.shape


def test_the_gradient_is_that_of_the_reconstruction_alone(settings):
    spec = fields((16, 24))
    autoencoder = autoencoder_of(spec)
    term = attached(spec, autoencoder, **settings)
    x, r = torch.randn(2, 16, 24, 2, requires_grad=True), torch.randn(2, 16, 24, 2, requires_grad=True)
    term.measure(Coded(x, r, Plain(x, 0.0))).sum().backward()
    assert r.grad.isfinite().all()
    assert (r.grad.abs().amax((1, 2)) > 0).all()
    assert x.grad is None
    assert all(parameter.grad is None for parameter in autoencoder.parameters())
    assert all(parameter.requires_grad for parameter in autoencoder.parameters())


def test_the_encoder_learns_through_the_reconstruction_only():
    """It gets the gradient that it would have if another network had its features."""
    spec = fields((16, 24))
    autoencoder = autoencoder_of(spec)
    own, other = attached(spec, autoencoder), attached(spec, copy.deepcopy(autoencoder))
    x = torch.randn(2, 1, 16, 24, 2)
    gradients = []
    for term in (own, other):
        coded = Coded.of(x, *autoencoder.reconstruct(x))
        gradients.append(torch.autograd.grad(term.measure(coded).sum(), [*autoencoder.encoder.parameters()]))
    assert any(gradient.abs().sum() > 0 for gradient in gradients[0])
    for mine, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(mine, theirs)


@pytest.mark.parametrize("kind", ["dc", "kl", "vector"])
def test_what_an_encoder_drops_out_is_not_taken_for_a_difference(kind):
    spec = fields((16, 24))
    autoencoder = autoencoder_of(spec, kind)
    term = attached(spec, autoencoder)
    autoencoder.train()
    x = torch.randn(2, 16, 24, 2)
    assert value(term, x, x).max() == 0
    assert all(module.training for module in autoencoder.modules())


@pytest.mark.parametrize("kind", ["dc", "kl", "vector"])
def test_no_scale_of_the_encoder_s_features_changes_the_distance(kind):
    spec = fields((16, 24))
    autoencoder = autoencoder_of(spec, kind)
    term = attached(spec, autoencoder)
    x = torch.randn(2, 16, 24, 2)
    r = x + 0.1 * torch.randn_like(x)
    levels = autoencoder.encoder.features
    before = value(term, x, r)
    autoencoder.encoder.features = lambda frames: [10 * level for level in levels(frames)]
    torch.testing.assert_close(value(term, x, r), before, rtol=1e-3, atol=0)


def test_blur_is_further_than_noise_of_the_same_size():
    """What a squared error does not tell apart."""
    spec, generator = fields((32, 32)), torch.Generator().manual_seed(0)
    k = torch.fft.fftfreq(32) * 32
    k = (k[:, None] ** 2 + k**2).sqrt()[..., None]
    modes = torch.fft.fftn(torch.randn(4, 32, 32, 2, generator=generator), dim=(1, 2)) * k.clamp(min=1) ** -2
    x = torch.fft.ifftn(modes, dim=(1, 2)).real
    blurred = torch.fft.ifftn(modes * (k < 6), dim=(1, 2)).real
    size = (blurred - x).square().mean((1, 2, 3), keepdim=True).sqrt() / x.std()
    blurred, x = blurred / x.std(), x / x.std()
    noise = torch.randn(x.shape, generator=generator)
    for features, factor in (("random_conv", 1.05), ("spectral", 1.2)):
        term = attached(spec, features=features)
        assert value(term, x, blurred).mean() > factor * value(term, x, x + size * noise).mean(), features


def test_spectra_are_of_places_and_forgive_phases():
    spec = fields((64, 64), "u")
    term = attached(spec, features="spectral")
    x = torch.randn(1, 64, 64, 1)
    half = torch.where((torch.arange(64) < 32)[:, None, None], x, 0.5 * x)
    everywhere = x * ((1 + 0.5**2) / 2) ** 0.5
    assert value(term, x, half) > 1.2 * value(term, x, everywhere)  # the power of the whole field is the same
    stripes = torch.sin(torch.arange(64) * torch.pi / 4)[None, :, None, None].expand(1, -1, 64, -1)
    moved, fainter = stripes.roll(1, 1), 0.5 * stripes
    assert value(term, stripes, moved) < 0.1 * value(term, stripes, fainter)
    assert (moved - stripes).square().mean() > (fainter - stripes).square().mean()


@pytest.mark.parametrize("grid_shape", [(32,), (48, 32), (20, 32, 18), (40, 7), (64, 1)])
@pytest.mark.parametrize("periodic", [True, False])
def test_white_noise_has_the_same_power_in_every_band(grid_shape, periodic):
    torch.manual_seed(0)
    x = torch.randn(400 if len(grid_shape) == 1 else 40, *grid_shape, 1)
    power = band_powers(x, (periodic,) * len(grid_shape))
    if min(grid_shape) > 1:
        torch.testing.assert_close(power.mean((0, 1, 3)), torch.ones(power.shape[2]), atol=0.15, rtol=0)
    assert power.isfinite().all()
    assert (power.mean((0, 2, 3)) > 0).all()


@pytest.mark.parametrize("features", ["random_conv", "vgg16", "lpips"])
def test_networks_are_no_part_of_the_model_and_are_made_when_they_are_needed(features, files):
    spec = fields((16, 24))
    term = attached(spec, features=features, weights_file=files.get(features))
    assert not term.state_dict()
    assert not [*term.parameters()]
    assert not [*term.children()]
    x, r = torch.randn(2, 2, 16, 24, 2)
    expected = value(term, x, r)
    for same in (copy.deepcopy(term), pickle.loads(pickle.dumps(term))):
        torch.testing.assert_close(value(same, x, r), expected)
    assert len(pickle.dumps(term)) < 10_000


def test_a_copy_of_a_model_compares_by_its_own_encoder():
    spec = fields((16, 24))
    objective = Objective({"mse": SquaredError(), "own": Perceptual()}, {"mse": 1.0, "own": 1.0}, reduction="elbo")
    model = AutoencoderModel(
        autoencoder_of(spec), spec=spec, normaliser=Normaliser.identity(2), objective=objective
    ).train()
    other = copy.deepcopy(model)
    assert {name.split(".")[0] for name in model.state_dict()} == {"autoencoder", "normaliser"}
    batch, noise = Batch(torch.randn(2, 1, 16, 24, 2), torch.randn(2, 1, 16, 24, 2)), Noise([(0,), (1,)])
    torch.testing.assert_close(other.loss(batch, noise)["own"], model.loss(batch, noise)["own"])
    with torch.no_grad():
        for parameter in model.autoencoder.encoder.parameters():
            parameter.zero_()
    assert model.loss(batch, noise)["own"] == 0
    assert other.loss(batch, noise)["own"] > 0


def test_three_channels_are_a_picture_and_others_are_seen_one_by_one(files):
    x, r = torch.rand(2, 1, 16, 16, 3)
    term = attached(fields((16, 16), "rgb"), features="vgg16", weights_file=files["vgg16"], layers=[1, 8])
    picture = value(term, x, r)
    assert not torch.allclose(value(term, x.flip(-1), r.flip(-1)), picture)
    grey = [value(term, x[..., i : i + 1], r[..., i : i + 1]) for i in range(2)]
    torch.testing.assert_close(value(term, x[..., :2], r[..., :2]), sum(grey) / 2)
    repeated = [frames[..., :1].expand(-1, -1, -1, 3) for frames in (x, r)]
    torch.testing.assert_close(value(term, *repeated), grey[0])


def test_the_range_of_fields_is_that_of_pictures(files):
    x, r = torch.rand(2, 1, 16, 16, 1)
    settings = {"features": "vgg16", "weights_file": files["vgg16"], "layers": [3]}
    spec = fields((16, 16), "u")
    wide, unit = attached(spec, **settings), attached(spec, value_range=[0, 1], **settings)
    torch.testing.assert_close(value(wide, 2 * x - 1, 2 * r - 1), value(unit, x, r))


def test_vgg16_is_compared_by_absolute_and_vgg19_by_relative_differences(files):
    spec, (x, r) = fields((16, 16), "u"), torch.rand(2, 1, 16, 16, 1)
    pictures = [frames.movedim(-1, 1).expand(-1, 3, -1, -1) for frames in (x, r)]
    for name, layers in (("vgg16", (3, 8, 15, 22)), ("vgg19", (1, 6, 11, 20, 29))):
        term = attached(spec, features=name, weights_file=files[name], value_range=(0, 1))
        network = VGG(name, layers)
        network.load_state_dict(torch.load(files[name], weights_only=True), strict=False)
        expected = 0.0
        for a, b in zip(*map(network, pictures), strict=True):
            one = (a - b).abs().mean() if name == "vgg16" else (a - b).square().mean() / a.var(correction=0)
            expected += one.item() / len(layers)
        assert value(term, x, r).item() == pytest.approx(expected, rel=1e-3)


def test_lpips_without_weights_is_random_convolutions(files):
    spec = fields((32,))
    x, r = torch.randn(2, 1, 32, 2)
    fallen = attached(spec, features="lpips", seed=3)
    torch.testing.assert_close(value(fallen, x, r), value(attached(spec, features="random_conv", seed=3), x, r))
    weights = {"mse": 1.0, "lpips": 0.2}
    objective = Objective({"mse": SquaredError(), "lpips": fallen}, weights, reduction="elbo")
    assert objective.summary == "elbo: 1 mse + 0.2 lpips (random_conv: no weights file)"
    assert Perceptual(features="lpips", weights_file=files["lpips"]).detail == "lpips"


def test_a_weight_means_the_same_whether_frames_are_summed_or_averaged():
    spec = fields((16, 24))
    autoencoder, x, r = autoencoder_of(spec), *torch.randn(2, 2, 16, 24, 2)
    found = {}
    for reduction in ("elbo", "mean"):
        term = attached(spec, autoencoder)
        objective = Objective({"mse": SquaredError(), "it": term}, {"mse": 1.0, "it": 0.5}, reduction=reduction)
        found[reduction] = objective.measure(Coded(x, r, Plain(x, 0.0)), Progress(0))
    torch.testing.assert_close(found["elbo"]["it"] / found["elbo"]["mse"], found["mean"]["it"] / found["mean"]["mse"])


@pytest.mark.parametrize("features", ANY_FIELD)
def test_validation_leaves_out_what_changes_its_meaning(features):
    spec = fields((16, 24))
    objective = Objective({"it": attached(spec, features=features), "mse": SquaredError()}, {"it": 0.5, "mse": 1.0})
    x, r = torch.randn(2, 2, 16, 24, 2)
    told = objective.measure(Coded(x, r, Plain(x, 0.0)))
    assert ("it" in told) == (features != "encoder")


def test_in_mixed_precision_networks_compute_in_single(settings):
    spec = fields((16, 24))
    term = attached(spec, **settings)
    x = torch.randn(2, 16, 24, 2)
    r = x + 0.3 * torch.randn_like(x)
    expected = value(term, x, r)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = value(term, x, r)
    torch.testing.assert_close(found, expected, rtol=0.02 if settings["features"] == "encoder" else 1e-6, atol=0)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"features": "vgg"}, "^the perceptual term: features=vgg: there are encoder, random_conv"),
        ({"features": "vgg16"}, "Give perceptual.weights_file=FILE, or features=random_conv"),
        ({"features": "spectral", "layers": [1]}, "no layers to choose from"),
        ({"features": "random_conv", "layers": []}, "from 0 on are wanted"),
        ({"features": "random_conv", "layers": [1, 1]}, "different numbers"),
        ({"features": "vgg16", "weights_file": "f.pth", "layers": [31]}, "vgg16 has the layers 0 to 30"),
        ({"value_range": [1, -1]}, "the smaller one first"),
        ({"device": "gpu one"}, "no device"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings, words):
    with pytest.raises(ConfigError, match=words):
        Perceptual(**settings)


@pytest.mark.parametrize(
    ("grid_shape", "settings", "words"),
    [
        ((32,), {"features": "vgg16"}, "toy has 1 spatial dimensions. Set features=random_conv"),
        ((16, 4), {"features": "vgg16"}, "of a grid of 16 × 4 points, 3 times halved, nothing is left"),
        ((16, 8), {"features": "lpips"}, "4 times halved"),
        ((16, 16), {"features": "encoder", "layers": [1]}, "the encoder has the layers 0 to 0"),
        ((16, 16), {"features": "random_conv", "layers": [0, 3]}, "random_conv on a grid of"),
    ],
)
def test_fields_that_cannot_be_compared_are_refused(grid_shape, settings, words):
    with pytest.raises(ConfigError, match=words):
        attached(fields(grid_shape), weights_file="f.pth", **settings)


def test_an_encoder_without_levels_is_refused():
    spec = fields((16, 24))
    encoder = IdentityEncoder(spec)
    with pytest.raises(ConfigError, match="dc, kl and vector have"):
        attached(spec, Autoencoder(encoder, IdentityBottleneck(2), encoder.mirror()))


def test_files_are_read_before_a_training_and_not_for_what_is_only_evaluated(files, tmp_path):
    spec = fields((16, 16))
    for features, file, words in (
        ("vgg16", tmp_path / "nowhere.pth", "no such file"),
        ("vgg19", files["vgg16"], "features.16.weight is missing"),
        ("lpips", files["vgg16"], "lin0.model.1.weight is missing"),
    ):
        term = attached(spec, features=features, weights_file=str(file))
        objective = Objective({"mse": SquaredError(), "it": term}, {"mse": 1.0, "it": 1.0})
        with pytest.raises(ConfigError, match=words):
            objective.prepare()


def test_lpips_from_the_files_of_vgg_and_of_the_heads(files, tmp_path):
    whole = torch.load(files["lpips"], weights_only=True)
    parts = {"vgg16": {}, "heads": {}}
    for name, tensor in whole.items():
        part, renamed = ("heads", name) if name.startswith("lin") else ("vgg16", f"features.{name.split('.', 2)[-1]}")
        if not name.startswith("scaling"):
            parts[part][renamed] = tensor
    paths = [tmp_path / "vgg16.pth", tmp_path / "vgg.pth"]
    for path, tensors in zip(paths, parts.values(), strict=True):
        torch.save(tensors, path)
    torch.save({k: v for k, v in whole.items() if not k.startswith("scaling")}, tmp_path / "whole.pth")
    spec, (x, r) = fields((16, 16)), torch.randn(2, 1, 16, 16, 2)
    one = attached(spec, features="lpips", weights_file=str(tmp_path / "whole.pth"))
    two = attached(spec, features="lpips", weights_file=[str(path) for path in paths])
    torch.testing.assert_close(value(two, x, r), value(one, x, r))
