from __future__ import annotations

import dataclasses
import itertools

import pytest
import torch

from autocast.data.augmentations import RandomSymmetry
from autocast.generative.noise import Noise
from autocast.types import Batch, FieldSpec


def square(d: int = 2, n: int = 6, **changes) -> FieldSpec:
    values = {
        "dataset_name": "toy",
        "channel_names": ("u", "v"),
        "units": ("", ""),
        "dim_names": ("x", "y", "z")[:d],
        "grid_shape": (n,) * d,
        "extent": (1.0,) * d,
        "boundary": ("periodic",) * d,
        "time_step": 1.0,
    }
    return FieldSpec(**(values | changes))


def batch_of(spec: FieldSpec, n: int = 5, seed: int = 0) -> Batch:
    """All steps of a sample hold the same frame, so that equal transformations give equal frames."""
    frame = torch.randn(n, 1, *spec.grid_shape, spec.n_channels, generator=torch.Generator().manual_seed(seed))
    expand = [-1] * (frame.ndim - 2)
    return Batch(
        frame.expand(-1, 2, *expand).clone(),
        frame.expand(-1, 3, *expand).clone(),
        constant_fields=frame[:, 0, ..., : spec.n_constant_fields] if spec.n_constant_fields else None,
        trajectory=torch.arange(n),
    )


def augmented(spec: FieldSpec, batch: Batch, seed: int = 1, **options) -> Batch:
    return RandomSymmetry(spec, **options)(batch, Noise([(seed, row) for row in range(batch.size)]))


ALL = {"roll": True, "flip": True, "transpose": True}


@pytest.mark.parametrize("d", [1, 2, 3])
def test_input_output_and_constants_are_transformed_alike(d):
    spec = square(d, constant_field_names=("depth",))
    batch = batch_of(spec)
    new = augmented(spec, batch, **ALL)
    frame = new.input_fields[:, :1]
    assert not torch.equal(new.input_fields, batch.input_fields)
    assert torch.equal(new.input_fields, frame.expand_as(new.input_fields))
    assert torch.equal(new.output_fields, frame.expand_as(new.output_fields))
    assert torch.equal(new.constant_fields[..., 0], frame[:, 0, ..., 0])
    assert torch.equal(new.trajectory, batch.trajectory)


def symmetries(frame: torch.Tensor) -> list[torch.Tensor]:
    """All images of a square `(N, N, C)` under shifts, reflections and the exchange of its axes."""
    n = len(frame)
    images = []
    for swap, flip_x, flip_y in itertools.product((False, True), repeat=3):
        image = frame.transpose(0, 1) if swap else frame
        image = image.flip([axis for axis, flip in enumerate((flip_x, flip_y)) if flip])
        images += [image.roll(shift, (0, 1)) for shift in itertools.product(range(n), repeat=2)]
    return images


def test_each_sample_is_one_of_the_symmetries_and_all_of_them_occur():
    spec = square(n=3)
    batch = batch_of(spec, n=1)
    images = symmetries(batch.input_fields[0, 0])
    many = batch.map(lambda x: x.repeat_interleave(900, 0))
    new = augmented(spec, many, **ALL)
    found = [next(k for k, image in enumerate(images) if torch.equal(image, row[0])) for row in new.input_fields]
    assert len(set(found)) == len(images) == 72


def test_a_sample_is_transformed_alike_in_any_batch():
    spec = square()
    batch = batch_of(spec, n=1).map(lambda x: x.repeat_interleave(8, 0))
    whole = augmented(spec, batch, **ALL).input_fields
    assert not torch.equal(whole, whole[:1].expand_as(whole))
    symmetry, part = RandomSymmetry(spec, **ALL), batch.map(lambda x: x[1::3])
    assert torch.equal(symmetry(part, Noise([(1, row) for row in (1, 4, 7)])).input_fields, whole[1::3])


def test_the_noise_alone_decides():
    spec = square()
    batch = batch_of(spec)
    first, again, other = (augmented(spec, batch, seed, **ALL).input_fields for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_only_periodic_axes_are_shifted():
    spec = square(boundary=("periodic", "wall"))
    batch = batch_of(spec)
    new = augmented(spec, batch, roll=True).input_fields
    assert not torch.equal(new, batch.input_fields)
    for row, old in zip(new, batch.input_fields, strict=True):
        assert any(torch.equal(row, old.roll(shift, 1)) for shift in range(6))


@pytest.mark.parametrize(
    "change",
    [{"grid_shape": (6, 8)}, {"extent": (1.0, 2.0)}, {"boundary": ("periodic", "open")}],
)
def test_unequal_axes_are_not_exchanged(change):
    assert RandomSymmetry(square(**change), transpose=True).permutations == [(0, 1)]


def test_equal_axes_of_three_are_exchanged():
    spec = square(3, grid_shape=(6, 8, 6))
    assert RandomSymmetry(spec, transpose=True).permutations == [(0, 1, 2), (2, 1, 0)]
    assert len(RandomSymmetry(square(3), transpose=True).permutations) == 6


def test_nothing_asked_changes_nothing():
    spec = square()
    batch = batch_of(spec)
    assert torch.equal(augmented(spec, batch, roll=False).input_fields, batch.input_fields)


@pytest.mark.parametrize("d", [2, 3])
def test_a_gradient_stays_the_gradient_of_its_scalar(d):
    """Vectors turn with their axes: the gradient of an augmented field is the augmented gradient."""
    axes, dims = range(d), ("x", "y", "z")[:d]
    spec = square(d, channel_names=("s", *(f"g_{a}" for a in dims)), units=("",) * (d + 1))
    s = torch.randn(4, 2, *spec.grid_shape, generator=torch.Generator().manual_seed(0))

    def gradient(s: torch.Tensor) -> torch.Tensor:
        return torch.stack([(s.roll(-1, 2 + a) - s.roll(1, 2 + a)) / 2 for a in axes], dim=-1)

    fields = torch.cat((s[..., None], gradient(s)), dim=-1)
    new = augmented(spec, Batch(fields, fields), **ALL).input_fields
    assert not torch.equal(new, fields)
    torch.testing.assert_close(new[..., 1:], gradient(new[..., 0]))


def test_a_tensor_stays_the_product_of_its_vectors():
    names = ("g_x", "g_y", "t_xx", "t_xy", "t_yx", "t_yy")
    spec = square(channel_names=names, units=("",) * 6)
    g = torch.randn(16, 1, 6, 6, 2)
    fields = torch.cat((g, (g[..., :, None] * g[..., None, :]).flatten(-2)), dim=-1)
    new = augmented(spec, Batch(fields, fields), **ALL).input_fields
    g = new[..., :2]
    torch.testing.assert_close(new[..., 2:], (g[..., :, None] * g[..., None, :]).flatten(-2))


def test_half_a_vector_is_a_scalar():
    spec = square(channel_names=("u_x", "v"))
    batch = batch_of(spec)
    new = augmented(spec, batch, flip=True, roll=False)
    assert torch.equal(new.input_fields.sum(dim=(1, 2, 3)).sign(), batch.input_fields.sum(dim=(1, 2, 3)).sign())


def test_a_batch_is_not_changed_in_place():
    spec = square()
    batch = batch_of(spec)
    copy = dataclasses.replace(batch, input_fields=batch.input_fields.clone())
    augmented(spec, batch, **ALL)
    assert torch.equal(copy.input_fields, batch.input_fields)
