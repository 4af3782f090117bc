"""A real emulator's scores in another batch: in double precision, rounding apart, at every lead time."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from autocast.assembly import assemble_emulator
from autocast.autoencoders.bottlenecks import IdentityBottleneck
from autocast.autoencoders.deep_compression import DeepCompressionEncoder
from autocast.autoencoders.identity import IdentityEncoder
from autocast.data.normaliser import Normaliser
from autocast.data.simulate import simulate_dataset
from autocast.data.splits import open_split
from autocast.emulators import EncoderProcessorDecoder
from autocast.evaluation.evaluate import evaluate
from autocast.evaluation.settings import EvaluationSettings
from autocast.generative.samplers import Euler
from autocast.nn.unet import UNet
from autocast.processors.ensemble import Ensemble
from autocast.processors.flow_matching import FlowMatching
from autocast.simulators.reaction_diffusion import ReactionDiffusion

N_INPUT, N_OUTPUT, N_FRAMES = 2, 3, 12
UNET = functools.partial(UNet, width=8, levels=1, blocks=1)
ENCODERS = {
    "dc": functools.partial(DeepCompressionEncoder, widths=[8], blocks=[1], latent_channels=6),
    "identity": IdentityEncoder,
}
PROCESSORS = {
    "flow_matching": functools.partial(FlowMatching, backbone=UNET, sampler=Euler(n_steps=2)),
    "ensemble": functools.partial(Ensemble, backbone=UNET),
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    simulator = ReactionDiffusion(grid_shape=(8, 12), extent=(20.0, 30.0), n_frames=N_FRAMES, burn_in=1.0)
    path = tmp_path_factory.mktemp("data") / "rd"
    simulate_dataset(simulator, path, splits={"train": 4, "valid": 1, "test": 5}, seed=0)
    return SimpleNamespace(
        spec=open_split(path, "test").spec,
        digest="abc",
        batch_size=2,
        steps=SimpleNamespace(stride=1),
        split=functools.partial(open_split, path),
    )


def make_emulator(data: SimpleNamespace, encoder: str, processor: str) -> EncoderProcessorDecoder:
    """With weights away from zero, where networks start, and small enough for a rollout that stays finite."""
    torch.manual_seed(0)
    emulator = assemble_emulator(
        ENCODERS[encoder],
        IdentityBottleneck,
        PROCESSORS[processor],
        spec=data.spec,
        normaliser=Normaliser(torch.tensor([0.1, -0.2]), torch.tensor([0.5, 0.7])),
        n_steps_input=N_INPUT,
        n_steps_output=N_OUTPUT,
        frozen=True,
    )
    for parameter in emulator.processor.parameters():
        parameter.data += 0.02 * torch.randn_like(parameter)
    return emulator.eval()


@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize("processor", PROCESSORS)
def test_another_batch_size_gives_the_same_scores_at_all_leads(
    tmp_path: Path, data: SimpleNamespace, encoder: str, processor: str
) -> None:
    emulator = make_emulator(data, encoder, processor).double()
    settings = EvaluationSettings(n_members=3, baselines=("reconstruction",), video=False)
    one, other = (
        evaluate(emulator, data, dataclasses.replace(settings, batch_size=batch_size), tmp_path / str(batch_size))
        for batch_size in (1, 3)
    )
    for name in ("scores", "windows", "coverage"):  # not the files, which have nine digits
        pd.testing.assert_frame_equal(getattr(one, name), getattr(other, name), rtol=1e-9, atol=1e-9)
    scores = one.scores[one.scores.model == "model"]
    assert scores.lead_time.max() == N_FRAMES - N_INPUT
    spectral = scores.metric.str.startswith("psrmse")  # nan in bands that the simulator leaves empty
    assert np.isfinite(scores.value[~spectral]).all()
    assert np.isfinite(scores.value[spectral]).any()
