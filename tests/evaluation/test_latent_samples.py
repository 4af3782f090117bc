"""Grids of what an autoencoder makes of frames and of draws."""

import functools

import numpy as np
import pytest
import torch
from PIL import Image

from autocast.assembly import assemble_autoencoder
from autocast.autoencoders.bottlenecks import IdentityBottleneck
from autocast.autoencoders.deep_compression import DeepCompressionEncoder
from autocast.autoencoders.gaussian import GaussianBottleneck
from autocast.autoencoders.quantisation import VectorQuantisation
from autocast.data.normaliser import Normaliser
from autocast.data.trajectories import Trajectories
from autocast.errors import DataError
from autocast.evaluation.latent_samples import (
    N_STEPS,
    Latents,
    draw_all,
    draw_prior,
    field_scales,
    interpolate,
    measure_latents,
    prior_of,
    spread_frames,
    traverse,
    write_grid,
)
from autocast.evaluation.training_grids import draw_training_grids
from autocast.losses.objective import Objective
from autocast.losses.terms import KL, Commitment, SquaredError
from autocast.types import PICTURE_DIMS, FieldSpec

OBJECTIVES = {
    IdentityBottleneck: {"mse": SquaredError},
    GaussianBottleneck: {"mse": SquaredError, "kl": KL},
    VectorQuantisation: {"mse": SquaredError, "commitment": Commitment},
}


def spec_of(grid_shape):
    n = len(grid_shape)
    return FieldSpec("toy", ("u", "v"), ("", ""), ("x", "y", "z")[:n], grid_shape, (1.0,) * n, ("periodic",) * n, 0.1)


class Frames(Trajectories):
    """Trajectory i, frame t is filled with 10 i + t."""

    def __init__(self, grid_shape, lengths=(3, 5)):
        self.spec, self.lengths, self.n_trajectories = spec_of(grid_shape), lengths, len(lengths)

    def n_steps(self, i):
        return self.lengths[i]

    def read(self, i, start, stop, stride=1):
        steps = np.arange(start, stop, stride, dtype=np.float32)
        shape = (len(steps), *self.spec.grid_shape, 2)
        noise = np.random.default_rng(i).normal(size=shape[1:]).astype(np.float32)
        return np.broadcast_to((10 * i + steps).reshape(-1, *[1] * (len(shape) - 1)), shape) + 0.1 * noise

    def scalars(self, i):
        return np.zeros(0, np.float32)

    def constant_fields(self, i):
        return None

    def name(self, i):
        return f"trajectory {i}"


def make_model(bottleneck=GaussianBottleneck, grid_shape=(8, 12), seed=0):
    torch.manual_seed(seed)
    terms = {name: term() for name, term in OBJECTIVES[bottleneck].items()}
    return assemble_autoencoder(
        functools.partial(DeepCompressionEncoder, widths=[4], blocks=[0], latent_channels=3),
        bottleneck,
        objective=Objective(terms, dict.fromkeys(terms, 1.0)),
        spec=spec_of(grid_shape),
        normaliser=Normaliser(torch.tensor([5.0, 5.0]), torch.tensor([4.0, 4.0])),
    ).eval()


def test_frames_are_spread_over_all_trajectories():
    frames = spread_frames(Frames((4, 4)), 4)
    assert frames.mean((1, 2, 3)).round().tolist() == [0, 2, 11, 13]
    assert len(spread_frames(Frames((4, 4)), 8)) == 8
    with pytest.raises(DataError, match="has 8 frames, 9 are wanted"):
        spread_frames(Frames((4, 4)), 9)


def test_draws_depend_on_seed_and_row_alone():
    model = make_model()
    four, nine = draw_prior(model, 4, 1, None), draw_prior(model, 9, 1, None)
    torch.testing.assert_close(four, nine[:4])
    assert not torch.allclose(four, draw_prior(model, 4, 2, None))
    assert four.shape == (4, 8, 12, 2)
    moved = draw_prior(model, 4, 1, Latents(torch.ones(3), torch.zeros(3)))
    torch.testing.assert_close(moved, moved[:1].expand_as(moved))


def test_the_prior_follows_the_bottleneck():
    assert [prior_of(make_model(b)) for b in OBJECTIVES] == ["measured", "normal", "measured"]


def test_lines_begin_and_end_at_reconstructions():
    model = make_model()
    x = torch.from_numpy(spread_frames(Frames((8, 12)), 4))
    lines = interpolate(model, x[:2], x[2:])
    assert lines.shape == (2, N_STEPS, 8, 12, 2)
    with torch.no_grad():
        torch.testing.assert_close(lines[:, 0], model.reconstruct(x[:2, None])[:, 0])
        torch.testing.assert_close(lines[:, -1], model.reconstruct(x[2:, None])[:, 0])


def test_traversals_move_one_channel_the_most_variable_first():
    model = make_model()
    x = torch.from_numpy(spread_frames(Frames((8, 12)), 4))
    known = Latents(torch.zeros(3), torch.tensor([0.0, 2.0, 1.0]))
    rows = traverse(model, x[0], known)
    assert rows.shape == (3, N_STEPS, 8, 12, 2)
    torch.testing.assert_close(rows[2], rows[2, :1].expand_as(rows[2]))
    assert (rows[0, 0] - rows[0, -1]).abs().max() > 0


def test_latents_are_measured_by_channel():
    model = make_model()
    x = torch.from_numpy(spread_frames(Frames((8, 12)), 8))
    with torch.no_grad():
        z = model.to_latents(x[:, None]).flatten(0, -2)
    known = measure_latents(model, x)
    torch.testing.assert_close(known.mean, z.mean(0))
    torch.testing.assert_close(known.std, z.std(0, correction=0))


@pytest.mark.parametrize("grid_shape", [(16,), (8, 12), (4, 6, 4)])
def test_all_grids_are_there_and_both_checkpoints_see_the_same(grid_shape, tmp_path):
    models = {"best": make_model(grid_shape=grid_shape), "last": make_model(grid_shape=grid_shape)}
    told = []
    files = draw_all(
        models,
        Frames(grid_shape),
        tmp_path,
        n_rows=2,
        prior="auto",
        seed=3,
        progress=lambda done, total: told.append((done, total)),
    )
    assert len(files) == len(list(tmp_path.iterdir())) == 9
    assert told[-1] == (9, 9)
    for name in ("recon_grid", "generated_grid", "interpolations", "traversals"):
        best, last = (np.asarray(Image.open(tmp_path / f"vae_{name}_{label}.png")) for label in models)
        assert best.ndim == 3
        assert np.array_equal(best, last)
    inputs = np.asarray(Image.open(tmp_path / "vae_input_grid.png"))
    assert inputs.shape == np.asarray(Image.open(tmp_path / "vae_recon_grid_best.png")).shape
    assert inputs.std() > 0


def pixels(file):
    return np.asarray(Image.open(file))


@pytest.mark.parametrize("bottleneck", [GaussianBottleneck, VectorQuantisation])
def test_training_draws_the_same_frames_and_noise_every_time(bottleneck, tmp_path):
    drawn = [
        draw_training_grids(make_model(bottleneck), tmp_path, epoch, trajectories=Frames((8, 12)), n_frames=4)
        for epoch in (1, 20)
    ]
    assert [[file.name for file in files] for files in drawn] == [
        ["reconstruction_epoch_001.png", "generated_epoch_001.png"],
        ["reconstruction_epoch_020.png", "generated_epoch_020.png"],
    ]
    for once, again in zip(*drawn, strict=True):
        assert np.array_equal(pixels(once), pixels(again))
        assert pixels(once).std() > 0


def test_without_a_prior_training_draws_pairs_alone(tmp_path):
    (file,) = draw_training_grids(make_model(IdentityBottleneck), tmp_path, 3, trajectories=Frames((8, 12)), n_frames=4)
    assert file.name == "reconstruction_epoch_003.png"


@pytest.mark.parametrize("grid_shape", [(16,), (8, 12), (4, 6, 4)])
def test_inputs_are_above_their_reconstructions_and_few_frames_are_all(grid_shape, tmp_path):
    few = Frames(grid_shape, (1, 2))
    files = draw_training_grids(make_model(grid_shape=grid_shape), tmp_path, 1, trajectories=few, n_frames=8)
    pairs, generated = map(pixels, files)
    assert pairs.shape == generated.shape
    inputs = spread_frames(few, 3)
    alone = write_grid(torch.from_numpy(inputs), 3, field_scales(inputs, few.spec), tmp_path / "inputs.png")
    top = pixels(alone)
    assert np.array_equal(pairs[: len(top)], top)


def test_pictures_are_upright_and_in_their_own_colours(tmp_path):
    spec = FieldSpec("toy", ("red", "green", "blue"), ("",) * 3, PICTURE_DIMS, (2, 2), (2.0, 2.0), ("open",) * 2, 1.0)
    red = torch.zeros(1, 2, 2, 3)
    red[0, 0, 1, 0] = 1.0
    shown = pixels(write_grid(red, 1, field_scales(red.numpy(), spec), tmp_path / "red.png"))
    assert shown[0, -1].tolist() == [255, 0, 0]
    assert shown[0, 0].tolist() == shown[-1, -1].tolist() == [0, 0, 0]
