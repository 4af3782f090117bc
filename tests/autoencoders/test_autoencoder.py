"""The contract of bottlenecks, over every file of configs/bottleneck, and the assembled autoencoder."""

from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate

from autocast.autoencoders.autoencoder import Autoencoder
from autocast.autoencoders.bottlenecks import IdentityBottleneck
from autocast.autoencoders.deep_compression import DeepCompressionEncoder
from autocast.generative.noise import Noise
from autocast.types import FieldSpec

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
OPTIONS = sorted(path.stem for path in (CONFIGS / "bottleneck").glob("*.yaml"))
SPEC = FieldSpec("toy", ("u", "v"), ("", ""), ("x", "y"), (8, 12), (1.0, 1.0), ("periodic", "wall"), 0.1)


def noise_of(*rows: int) -> Noise:
    return Noise([(0, row) for row in rows])


@pytest.mark.parametrize("option", OPTIONS)
def test_bottlenecks_keep_the_shape_and_repeat(option):
    with initialize_config_dir(version_base="1.3", config_dir=str(CONFIGS)):
        bottleneck = instantiate(compose(overrides=[f"+bottleneck@leaf={option}"]).leaf, _convert_="all")(5)
    z = torch.randn(3, 2, 4, 6, 5, requires_grad=True)
    assert bottleneck(z, None).shape == z.shape
    assert torch.equal(bottleneck(z, None), bottleneck(z, None))
    trained = bottleneck(z, noise_of(0, 1, 2))
    assert torch.equal(trained, bottleneck(z, noise_of(0, 1, 2)))
    torch.testing.assert_close(bottleneck(z[1:2], noise_of(1)), trained[1:2])
    trained.square().mean().backward()
    assert z.grad.abs().sum() > 0


def test_noise_is_there_in_training_only():
    bottleneck, z = IdentityBottleneck(5, noise=0.1), torch.zeros(64, 2, 4, 6, 5)
    assert torch.equal(bottleneck(z, None), z)
    assert float(bottleneck(z, noise_of(*range(64))).std()) == pytest.approx(0.1, rel=0.05)


def test_the_autoencoder_joins_its_parts():
    encoder = DeepCompressionEncoder(SPEC)
    autoencoder = Autoencoder(encoder, IdentityBottleneck(encoder.n_channels, noise=0.1), encoder.mirror())
    x = torch.randn(3, 2, 8, 12, 2)
    assert torch.equal(autoencoder.decode(autoencoder.encode(x)), autoencoder(x))
    noisy = autoencoder(x, noise_of(0, 1, 2))
    assert noisy.shape == x.shape
    assert not torch.equal(noisy, autoencoder(x))


def test_one_batch_can_be_learned():
    torch.manual_seed(0)
    encoder = DeepCompressionEncoder(SPEC, widths=(16, 32))
    autoencoder = Autoencoder(encoder, IdentityBottleneck(encoder.n_channels), encoder.mirror())
    optimizer = torch.optim.Adam(autoencoder.parameters(), lr=1e-2)
    x = torch.randn(2, 2, 8, 12, 2)
    for _ in range(60):
        loss = (autoencoder(x) - x).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.5
