"""What is measured of a trained autoencoder's latents, and whether it is found again."""

import functools
from pathlib import Path

import numpy as np
import pytest
import torch

from autocast.assembly import assemble_autoencoder
from autocast.autoencoders.bottlenecks import IdentityBottleneck
from autocast.autoencoders.deep_compression import DeepCompressionEncoder
from autocast.autoencoders.permute_concat import PermuteConcatEncoder
from autocast.data.normaliser import Normaliser
from autocast.data.trajectories import Trajectories
from autocast.emulators import AutoencoderModel
from autocast.training.latent_statistics import (
    frame_batches,
    latent_statistics,
    read_latent_statistics,
    write_latent_statistics,
)
from autocast.types import FieldSpec

SPEC = FieldSpec("toy", ("u", "v"), ("", ""), ("x", "y"), (4, 6), (1.0, 1.0), ("periodic", "wall"), 0.1)
ENCODERS = {
    "dc": functools.partial(DeepCompressionEncoder, widths=[4], blocks=[1], latent_channels=3, saturation=1.0),
    "permute_concat": PermuteConcatEncoder,
}


class Toy(Trajectories):
    spec = SPEC

    def __init__(self, *lengths: int):
        self.n_trajectories = len(lengths)
        generator = np.random.default_rng(0)
        self.fields = [generator.normal(3, 2, (n, 4, 6, 2)).astype(np.float32) for n in lengths]

    def n_steps(self, i):
        return len(self.fields[i])

    def read(self, i, start, stop, stride=1):
        self.check_range(i, start, stop, stride)
        return self.fields[i][start:stop:stride].copy()

    def scalars(self, i):
        return np.zeros(0, np.float32)

    def constant_fields(self, i):
        return None

    def name(self, i):
        return f"toy {i}"


def make_model(encoder: str = "dc") -> AutoencoderModel:
    torch.manual_seed(0)
    normaliser = Normaliser(torch.tensor([3.0, 3.0]), torch.tensor([2.0, 2.0]))
    return assemble_autoencoder(ENCODERS[encoder], IdentityBottleneck, spec=SPEC, normaliser=normaliser).eval()


@pytest.mark.parametrize("batch_size", [1, 3, 4, 100])
def test_every_frame_comes_once_and_in_order(batch_size):
    split = Toy(5, 1, 7)
    batches = list(frame_batches(split, batch_size))
    assert {sum(len(piece.frames) for piece in batch) for batch in batches[:-1]} <= {batch_size}
    pieces = [piece for batch in batches for piece in batch]
    np.testing.assert_array_equal(np.concatenate([piece.frames for piece in pieces]), np.concatenate(split.fields))
    assert sum(not piece.continues for piece in pieces) == 3


@pytest.mark.parametrize("encoder", ENCODERS)
def test_statistics_are_those_of_all_encoded_frames(encoder):
    model, split, told = make_model(encoder), Toy(5, 1, 7), []
    whole = latent_statistics(model, split)
    pieces = latent_statistics(model, split, batch_size=3, progress=lambda *step: told.append(step))
    for name, values in vars(whole).items():
        np.testing.assert_allclose(getattr(pieces, name), values, rtol=1e-4, atol=1e-6)
    assert told == [(3, 13), (6, 13), (9, 13), (12, 13), (13, 13)]
    with torch.no_grad():
        encoded = [model.to_latents(torch.from_numpy(x)[:, None])[:, 0] for x in split.fields]
    values = torch.cat(encoded).flatten(0, -2).numpy()
    np.testing.assert_allclose(whole.std, values.std(0), rtol=1e-4)
    changes = torch.cat([z.diff(dim=0) for z in encoded])
    np.testing.assert_allclose(whole.rms_increment, changes.square().mean((0, 1, 2)).sqrt().numpy(), rtol=1e-4)


def test_a_file_is_believed_for_its_own_checkpoint_and_data_only(tmp_path: Path):
    file, found = tmp_path / "ae" / "latent_statistics.json", latent_statistics(make_model(), Toy(5, 4))
    assert read_latent_statistics(file, checkpoint_sha256="a") is None
    write_latent_statistics(found, file, checkpoint_sha256="a", data_digest="d")
    assert [path.name for path in file.parent.iterdir()] == [file.name]
    again = read_latent_statistics(file, checkpoint_sha256="a", data_digest="d")
    assert again is not None
    np.testing.assert_array_equal(again.mean, found.mean)
    assert read_latent_statistics(file, checkpoint_sha256="a") is not None
    assert read_latent_statistics(file, checkpoint_sha256="b") is None
    assert read_latent_statistics(file, checkpoint_sha256="a", data_digest="e") is None
