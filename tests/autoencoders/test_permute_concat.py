import pytest
import torch

from autocast.autoencoders.permute_concat import PermuteConcatEncoder
from autocast.types import FieldSpec


@pytest.mark.parametrize("grid_shape", [(8,), (8, 12), (4, 8, 12)])
@pytest.mark.parametrize("n_steps", [1, 2, 5])
def test_the_round_trip_is_exact(grid_shape, n_steps):
    n_dims = len(grid_shape)
    spec = FieldSpec("toy", ("u", "v"), ("", ""), ("x",) * n_dims, grid_shape, (1.0,) * n_dims, ("wall",) * n_dims, 0.1)
    encoder = PermuteConcatEncoder(spec)
    x = torch.randn(3, n_steps, *grid_shape, 2)
    assert torch.equal(encoder.mirror().decode(encoder.encode(x)), x)


def test_the_last_channels_are_the_last_frame():
    spec = FieldSpec("toy", ("u", "v"), ("", ""), ("x",), (8,), (1.0,), ("wall",), 0.1)
    x = torch.randn(3, 5, 8, 2)
    assert torch.equal(PermuteConcatEncoder(spec).encode(x)[:, -1, :, -2:], x[:, -1])
