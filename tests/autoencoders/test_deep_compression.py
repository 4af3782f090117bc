import pytest
import torch

from autocast.autoencoders.deep_compression import DeepCompressionDecoder, DeepCompressionEncoder
from autocast.errors import ConfigError
from autocast.types import FieldSpec


def spec_of(*grid_shape):
    names = ("x", "y")
    return FieldSpec("toy", ("u", "v"), ("", ""), names, grid_shape, (1.0, 1.0), ("periodic", "wall"), 0.1)


def test_the_default_has_the_size_of_the_recipe():
    encoder = DeepCompressionEncoder(spec_of(32, 32))
    n_parameters = sum(p.numel() for m in (encoder, encoder.mirror()) for p in m.parameters())
    assert (encoder.grid_shape, encoder.n_channels) == ((8, 8), 16)
    assert 360_000 < n_parameters < 390_000


def test_no_axis_is_moved_in_memory():
    encoder = DeepCompressionEncoder(spec_of(8, 12))
    z = encoder.encode(torch.randn(2, 3, 8, 12, 2))
    assert z.is_contiguous()
    assert encoder.mirror().decode(z).is_contiguous()


def test_latents_are_bounded():
    encoder = DeepCompressionEncoder(spec_of(8, 12), saturation=0.5)
    assert encoder.encode(1e4 * torch.randn(2, 1, 8, 12, 2)).abs().max() <= 0.5
    free = DeepCompressionEncoder(spec_of(8, 12), saturation=None)
    assert free.encode(1e4 * torch.randn(2, 1, 8, 12, 2)).abs().max() > 5


def test_a_grid_that_cannot_be_halved_is_refused_with_the_remedy():
    with pytest.raises(ConfigError, match=r"4 times coarser, which does not divide x=10 of toy.*fewer widths"):
        DeepCompressionEncoder(spec_of(10, 12))


def test_widths_and_blocks_come_in_pairs():
    with pytest.raises(ConfigError, match=r"encoder.widths=\[8\] and encoder.blocks=\[1, 2\]"):
        DeepCompressionEncoder(spec_of(8, 12), widths=[8], blocks=[1, 2])


def test_a_decoder_may_have_other_widths_but_not_other_stages():
    encoder = DeepCompressionEncoder(spec_of(8, 12), widths=[4, 8], blocks=[1, 1])
    x = torch.randn(2, 3, 8, 12, 2)
    assert DeepCompressionDecoder(encoder, widths=[6, 10]).decode(encoder.encode(x)).shape == x.shape
    with pytest.raises(ConfigError, match=r"decoder.widths=\[6\] has 1 stages.*decoder.widths=null"):
        DeepCompressionDecoder(encoder, widths=[6], blocks=[1])


def test_a_shortcut_asks_for_widths_that_groups_of_channels_fit():
    with pytest.raises(ConfigError, match=r"encoder.shortcut=true, .*4 × 8 channels .* to 12 .*shortcut=false"):
        DeepCompressionEncoder(spec_of(8, 12), widths=[8, 12], blocks=[1, 1], shortcut=True)
    encoder = DeepCompressionEncoder(spec_of(8, 12), widths=[4, 8], blocks=[1, 1], shortcut=True)
    assert DeepCompressionDecoder(encoder, widths=[8, 12], shortcut=False).decode(torch.randn(2, 1, 2, 3, 16)).ndim == 5
    with pytest.raises(ConfigError, match=r"decoder.shortcut=true, decoder.widths=\[8, 12\]"):
        DeepCompressionDecoder(encoder, widths=[8, 12])
