"""Networks with the published names and shapes of VGG16, VGG19 and LPIPS, filled from files."""

from functools import partial

import pytest
import torch

from autocast.errors import ConfigError
from autocast.nn.lpips import LPIPS, published_lpips
from autocast.nn.published import make_published, read_tensors
from autocast.nn.vgg import VGG, n_halvings, n_layers, vgg_layers

VGG16_CONVOLUTIONS = {
    **{0: (64, 3), 2: (64, 64), 5: (128, 64), 7: (128, 128), 10: (256, 128), 12: (256, 256), 14: (256, 256)},
    **{17: (512, 256), 19: (512, 512), 21: (512, 512), 24: (512, 512), 26: (512, 512), 28: (512, 512)},
}
"""torchvision's `features.N`: channels out and in."""
VGG19_CONVOLUTIONS = {
    **{0: (64, 3), 2: (64, 64), 5: (128, 64), 7: (128, 128), 10: (256, 128), 12: (256, 256), 14: (256, 256)},
    **{16: (256, 256), 19: (512, 256), 21: (512, 512), 23: (512, 512), 25: (512, 512)},
    **{28: (512, 512), 30: (512, 512), 32: (512, 512), 34: (512, 512)},
}
LPIPS_SLICES = {1: (0, 2), 2: (5, 7), 3: (10, 12, 14), 4: (17, 19, 21), 5: (24, 26, 28)}
LPIPS_HEADS = (64, 128, 256, 512, 512)


def convolution(prefix, shape):
    return {f"{prefix}.weight": (*shape, 3, 3), f"{prefix}.bias": (shape[0],)}


def vgg_shapes(convolutions):
    return {
        name: s for index, shape in convolutions.items() for name, s in convolution(f"features.{index}", shape).items()
    }


def lpips_shapes():
    shapes = {"scaling_layer.shift": (1, 3, 1, 1), "scaling_layer.scale": (1, 3, 1, 1)}
    for piece, indices in LPIPS_SLICES.items():
        for index in indices:
            shapes |= convolution(f"net.slice{piece}.{index}", VGG16_CONVOLUTIONS[index])
    return shapes | {f"lin{i}.model.1.weight": (1, width, 1, 1) for i, width in enumerate(LPIPS_HEADS)}


def shapes_of(make):
    with torch.device("meta"):
        return {name: tuple(value.shape) for name, value in make().state_dict().items()}


@pytest.mark.parametrize(("name", "convolutions"), [("vgg16", VGG16_CONVOLUTIONS), ("vgg19", VGG19_CONVOLUTIONS)])
def test_vgg_has_torchvision_s_names_and_shapes(name, convolutions):
    assert n_layers(name) == {"vgg16": 31, "vgg19": 37}[name]
    assert shapes_of(partial(VGG, name, [n_layers(name) - 1])) == vgg_shapes(convolutions)
    n_weights = sum(torch.Size(shape).numel() for shape in vgg_shapes(convolutions).values())
    assert n_weights == {"vgg16": 14_714_688, "vgg19": 20_024_384}[name]


def test_lpips_has_the_names_and_shapes_of_the_public_package():
    assert shapes_of(LPIPS) == lpips_shapes()


def test_the_layers_that_are_commonly_taken_are_relus():
    for name, layers in (("vgg16", (3, 8, 15, 22)), ("vgg19", (1, 6, 11, 20, 29))):
        found = vgg_layers(name)
        assert all(isinstance(found[layer], torch.nn.ReLU) for layer in layers)
    assert [n_halvings("vgg16", layer) for layer in (3, 4, 8, 15, 22, 30)] == [0, 1, 1, 2, 3, 5]


def test_vgg_gives_the_layers_that_are_asked_for_on_any_grid():
    network = VGG("vgg16", (8, 1))
    assert [tuple(x.shape) for x in network(torch.rand(2, 3, 20, 12))] == [(2, 64, 20, 12), (2, 128, 10, 6)]
    assert set(network.state_dict()) == {f"features.{i}.{kind}" for i in (0, 2, 5, 7) for kind in ("weight", "bias")}


def random_tensors(shapes, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return {
        name: torch.randn(shape, generator=generator) * (2 / max(1, torch.Size(shape[1:]).numel())) ** 0.5
        for name, shape in shapes.items()
    }


@pytest.mark.parametrize("zipped", [True, False])
def test_weights_come_from_torchvision_s_whole_file(tmp_path, zipped):
    tensors = random_tensors(vgg_shapes({k: VGG16_CONVOLUTIONS[k] for k in (0, 2, 5)}))
    classifier = {"classifier.0.weight": torch.zeros(4, 5), "classifier.0.bias": torch.zeros(4)}
    torch.save({**tensors, **classifier}, tmp_path / "vgg16.pth", _use_new_zipfile_serialization=zipped)
    before = torch.get_rng_state()
    network = make_published(partial(VGG, "vgg16", (1, 5)), read_tensors([tmp_path / "vgg16.pth"]), "vgg16.pth")
    assert torch.equal(before, torch.get_rng_state())
    assert not network.training
    for name, value in network.state_dict().items():
        torch.testing.assert_close(value, tensors[name])
    assert not any(parameter.requires_grad for parameter in network.parameters())
    x = torch.rand(1, 3, 8, 8)
    standardised = (x - torch.tensor([0.485, 0.456, 0.406])[:, None, None]) / torch.tensor([0.229, 0.224, 0.225])[
        :, None, None
    ]
    first = torch.nn.functional.conv2d(
        standardised, tensors["features.0.weight"], tensors["features.0.bias"], padding=1
    )
    torch.testing.assert_close(network(x)[0], first.relu())


def test_files_that_do_not_fit_say_what_is_missing(tmp_path):
    tensors = random_tensors(vgg_shapes({0: (64, 3), 2: (64, 32)}))
    make = partial(VGG, "vgg19", (6,))
    with pytest.raises(ConfigError) as raised:
        make_published(make, tensors, "a.pth")
    words = str(raised.value)
    assert words.startswith("a.pth does not hold the weights of VGG: features.5.weight is missing")
    assert "features.2.weight is (64, 32, 3, 3), (64, 64, 3, 3) is wanted" in words
    (tmp_path / "text.pth").write_text("no weights")
    torch.save([1, 2], tmp_path / "list.pth")
    for name, told in (("nothing.pth", "no such file"), ("text.pth", "not a file of weights"), ("list.pth", "named")):
        with pytest.raises(ConfigError, match=told) as raised:
            read_tensors([tmp_path / name])
        assert "weights_only" not in str(raised.value)


@pytest.fixture(scope="module")
def lpips_tensors():
    shapes = {k: v for k, v in lpips_shapes().items() if not k.startswith("scaling")}
    return {name: value.abs() if name.startswith("lin") else value for name, value in random_tensors(shapes).items()}


def test_lpips_is_the_same_from_one_file_and_from_two(lpips_tensors):
    backbone = {".".join(("features", *k.split(".")[2:])): v for k, v in lpips_tensors.items() if k.startswith("net")}
    heads = {name: value for name, value in lpips_tensors.items() if name.startswith("lin")}
    repeated = {f"lins.{name.removeprefix('lin')}": value for name, value in heads.items()}
    whole = make_published(LPIPS, published_lpips({**lpips_tensors, **repeated}), "whole")
    parts = make_published(LPIPS, published_lpips({**backbone, **heads, "classifier.0.bias": torch.zeros(3)}), "parts")
    x, y = torch.rand(2, 2, 3, 16, 24) * 2 - 1
    torch.testing.assert_close(whole(x, y), parts(x, y))
    assert whole(x, y).shape == (2,)
    assert whole(x, y).min() > 0
    assert whole(x, x).abs().max() == 0
    torch.testing.assert_close(whole(x, y), whole(y, x))
    torch.testing.assert_close(whole(x, y), whole(x.flip(0), y.flip(0)).flip(0))


def test_lpips_is_its_formula(lpips_tensors):
    network = make_published(LPIPS, published_lpips(lpips_tensors), "whole")
    x, y = torch.rand(2, 1, 3, 16, 16) * 2 - 1
    total = 0.0
    shift, scale = torch.tensor([-0.030, -0.088, -0.188]), torch.tensor([0.458, 0.448, 0.450])
    pair = [(image - shift[:, None, None]) / scale[:, None, None] for image in (x, y)]
    for piece, indices in LPIPS_SLICES.items():
        for index in indices:
            name = f"net.slice{piece}.{index}"
            weight, bias = lpips_tensors[f"{name}.weight"], lpips_tensors[f"{name}.bias"]
            pair = [torch.nn.functional.conv2d(z, weight, bias, padding=1).relu() for z in pair]
        a, b = (z / z.norm(dim=1, keepdim=True).clamp(min=1e-10) for z in pair)
        total += ((a - b).square() * lpips_tensors[f"lin{piece - 1}.model.1.weight"]).sum(1).mean()
        pair = [torch.nn.functional.max_pool2d(z, 2) for z in pair] if piece < 5 else pair
    torch.testing.assert_close(network(x, y), total[None], rtol=1e-4, atol=1e-6)


def test_a_grey_picture_without_features_has_a_gradient(lpips_tensors):
    """Where no feature is active their length is 0, which has no derivative."""
    silent = {name: value.clone() for name, value in lpips_tensors.items()}
    silent["net.slice1.0.bias"] -= 100.0
    network = make_published(LPIPS, published_lpips(silent), "silent")
    y = torch.rand(1, 3, 16, 16, requires_grad=True)
    network(torch.rand(1, 3, 16, 16), y).sum().backward()
    assert y.grad.isfinite().all()
