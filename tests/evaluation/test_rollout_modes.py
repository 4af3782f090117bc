"""An emulator evaluated in three ways: through the fields, in the latent space, and by its latents."""

from __future__ import annotations

import functools
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from autocast.assembly import assemble_autoencoder, assemble_emulator
from autocast.autoencoders.bottlenecks import IdentityBottleneck
from autocast.autoencoders.deep_compression import DeepCompressionEncoder
from autocast.autoencoders.identity import IdentityEncoder
from autocast.data.normaliser import Normaliser
from autocast.data.trajectories import Trajectories
from autocast.emulators import EncoderProcessorDecoder
from autocast.errors import ConfigError
from autocast.evaluation.evaluate import evaluate
from autocast.evaluation.result import CARRIES, EvaluationResult
from autocast.evaluation.rollout_curves import draw_rollouts
from autocast.evaluation.settings import EvaluationSettings
from autocast.evaluation.verdict import verdict
from autocast.nn.unet import UNet
from autocast.processors.direct import Direct
from autocast.rollout import LATENT, ROLLOUTS
from autocast.types import FieldSpec

SPEC = FieldSpec(
    "toy", ("u", "v"), ("m/s", "K"), ("x", "y"), (8, 12), (1.0, 1.5), ("periodic", "wall"), 0.1, ("nu",), ("mask",)
)
N_INPUT, N_OUTPUT, N_STEPS = 2, 2, 5
DC = functools.partial(DeepCompressionEncoder, widths=[4], blocks=[0], latent_channels=3)
NORMALISER = Normaliser(torch.tensor([1.0, 280.0]), torch.tensor([1.0, 4.0]))


class ToyTrajectories(Trajectories):
    """Fields that differ from frame to frame, kept in memory."""

    def __init__(self, n_trajectories: int, seed: int):
        rng = np.random.default_rng(seed)
        self.spec = SPEC
        self.n_trajectories = n_trajectories
        noise = rng.normal(size=(n_trajectories, N_INPUT + N_STEPS, 8, 12, 2)).cumsum(1)
        self.fields = (noise + np.array([1.0, 280.0])).astype(np.float32)
        self.masks = rng.random((n_trajectories, 8, 12, 1)).astype(np.float32)

    def n_steps(self, i):
        return self.fields.shape[1]

    def read(self, i, start, stop, stride=1):
        return self.fields[i, start:stop:stride].copy()

    def scalars(self, i):
        return np.full(1, i, np.float32)

    def constant_fields(self, i):
        return self.masks[i]

    def name(self, i):
        return f"trajectory {i}"


class ToyData(SimpleNamespace):
    batch_size, spec, digest = 3, SPEC, "0123"

    def split(self, name):
        return self.splits[name]


@pytest.fixture(scope="module")
def data() -> ToyData:
    return ToyData(splits={"train": ToyTrajectories(3, 0), "test": ToyTrajectories(4, 1)})


def make_emulator(encoder: object = DC) -> EncoderProcessorDecoder:
    torch.manual_seed(0)
    emulator = assemble_emulator(
        encoder,
        IdentityBottleneck,
        functools.partial(Direct, backbone=functools.partial(UNet, width=4, levels=1, blocks=1)),
        spec=SPEC,
        normaliser=NORMALISER,
        scalar_normaliser=Normaliser.identity(1),
        constant_normaliser=Normaliser.identity(1),
        n_steps_input=N_INPUT,
        n_steps_output=N_OUTPUT,
        frozen=True,
    )
    for parameter in emulator.processor.parameters():  # away from networks that start at zero
        parameter.data += 0.05 * torch.randn_like(parameter)
    return emulator.eval()


def run(data: ToyData, directory: Path, mode: str | None, encoder: object = DC) -> EvaluationResult:
    settings = EvaluationSettings(metrics=("vrmse", "mse"), windows=("1",), rollout=mode)
    return evaluate(make_emulator(encoder), data, settings, directory)


def test_without_a_mode_latents_are_carried_on_where_there_are_any(data, tmp_path):
    for encoder, mode in ((DC, "encode_once"), (IdentityEncoder, "ambient")):
        default, named = run(data, tmp_path, None, encoder), run(data, tmp_path, mode, encoder)
        pd.testing.assert_frame_equal(default.scores, named.scores)
        assert default.provenance["rollout"]["mode"] == named.provenance["rollout"]["mode"] == mode


def test_ambient_and_encode_once_part_after_the_first_window(data, tmp_path):
    once, ambient = (run(data, tmp_path, mode).series("vrmse") for mode in ("encode_once", "ambient"))
    np.testing.assert_allclose(once[:N_OUTPUT], ambient[:N_OUTPUT], rtol=1e-5)
    assert (np.abs(once - ambient)[N_OUTPUT:] > 1e-6).all()


def test_the_other_way_is_scored_beside_the_own_one(data, tmp_path):
    assert set(CARRIES) == set(ROLLOUTS) - {LATENT}
    once, ambient = (run(data, tmp_path / mode, mode) for mode in ("encode_once", "ambient"))
    for result, other, mode in ((once, ambient, "ambient"), (ambient, once, "encode_once")):
        np.testing.assert_allclose(result.series("vrmse", model=mode), other.series("vrmse"), rtol=1e-6)
        (drawing,) = draw_rollouts(result, tmp_path / "figures")
        assert drawing.section == "rollouts"
        (finding,) = (finding for finding in verdict(result) if finding.topic == "rollout")
        better = result.series("vrmse").mean() <= 1.05 * other.series("vrmse").mean()
        assert finding.mark == ("good" if better else "warn")
        assert (f"eval.rollout={mode}" in finding.text) is not better


@pytest.mark.parametrize(
    ("mode", "encoder", "other"), [(None, IdentityEncoder, True), ("latent", DC, True), ("encode_once", DC, False)]
)
def test_there_may_be_one_way_only(mode, encoder, other, data, tmp_path):
    settings = EvaluationSettings(metrics=("vrmse",), windows=("1",), rollout=mode, other_rollout=other)
    result = evaluate(make_emulator(encoder), data, settings, tmp_path)
    assert not {"ambient", "encode_once"} & set(result.scores.model)
    assert not draw_rollouts(result, tmp_path)
    assert all(finding.topic != "rollout" for finding in verdict(result))


def test_latents_are_scored_against_the_encoded_truth(data, tmp_path):
    result, emulator, test = run(data, tmp_path, "latent"), make_emulator(), data.split("test")
    fields, masks = torch.from_numpy(test.fields), torch.from_numpy(test.masks)
    known = {"scalars": torch.arange(4.0)[:, None], "constant_fields": masks}
    with torch.no_grad():
        z = emulator.to_latents(fields)
        forecast = torch.cat(list(emulator.forecast(z[:, :N_INPUT], N_STEPS, mode="latent", **known)), dim=2)[:, 0]
    mse = (forecast - z[:, N_INPUT:]).square().mean((0, 2, 3)).numpy()
    assert result.spec.channel_names == ("z0", "z1", "z2")
    assert result.spec.grid_shape == (4, 6)
    for c, name in enumerate(result.spec.channel_names):
        np.testing.assert_allclose(result.series("mse", channel=name), mse[:, c], rtol=1e-4)
    persistence = (z[:, N_INPUT - 1 : N_INPUT] - z[:, N_INPUT:]).square().mean((0, 2, 3, 4)).numpy()
    np.testing.assert_allclose(result.series("mse", model="persistence"), persistence, rtol=1e-4)
    assert set(result.scores.model) == {"model", "persistence", "climatology", "linear"}  # no floor: nothing is decoded
    assert result.provenance["rollout"]["mode"] == "latent"


@pytest.mark.parametrize("mode", ["encode_once", "latent"])
def test_an_emulator_of_fields_has_no_latent_space(data, tmp_path, mode):
    with pytest.raises(ConfigError, match=rf"eval.rollout={mode}: .*IdentityEncoder.*no latent space"):
        run(data, tmp_path, mode, IdentityEncoder)


def test_an_autoencoder_alone_is_not_rolled_out(data, tmp_path):
    model = assemble_autoencoder(DC, IdentityBottleneck, spec=SPEC, normaliser=NORMALISER).eval()
    with pytest.raises(ConfigError, match=r"eval.rollout=latent: AutoencoderModel is no emulator"):
        evaluate(model, data, EvaluationSettings(rollout="latent"), tmp_path)


def test_an_unknown_mode_is_named():
    with pytest.raises(ConfigError, match=r"eval.rollout=both: no such mode. There are: ambient, encode_once, latent"):
        EvaluationSettings(rollout="both")
