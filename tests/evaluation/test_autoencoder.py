"""An autoencoder evaluated by itself: what it loses of each channel, how fine it sees, and what its latents hold."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from autocast.assembly import assemble_autoencoder
from autocast.autoencoders.bottlenecks import IdentityBottleneck
from autocast.autoencoders.deep_compression import DeepCompressionEncoder
from autocast.data.normaliser import Normaliser
from autocast.data.simulate import simulate_dataset
from autocast.data.splits import open_split
from autocast.evaluation.evaluate import evaluate
from autocast.evaluation.figures import draw_figures
from autocast.evaluation.report import write_report
from autocast.evaluation.result import LATENT_COLUMNS, MEMBER, EvaluationResult, LatentUsage, Spectrum
from autocast.evaluation.settings import EvaluationSettings
from autocast.evaluation.spectral_reach import spectral_reaches
from autocast.evaluation.verdict import verdict
from autocast.simulators.reaction_diffusion import ReactionDiffusion

DC = functools.partial(DeepCompressionEncoder, widths=[8], blocks=[1], latent_channels=3)


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> tuple[EvaluationResult, Path]:
    """An untrained autoencoder's evaluation, and its directory."""
    directory = tmp_path_factory.mktemp("ae")
    simulator = ReactionDiffusion(grid_shape=(8, 12), extent=(20.0, 30.0), n_frames=6, burn_in=1.0)
    simulate_dataset(simulator, directory / "rd", splits={"train": 1, "valid": 1, "test": 3}, seed=0)
    split = functools.partial(open_split, directory / "rd")
    data = SimpleNamespace(spec=split("test").spec, digest="abc", batch_size=2, split=split)
    torch.manual_seed(0)
    model = assemble_autoencoder(DC, IdentityBottleneck, spec=data.spec, normaliser=Normaliser.identity(2)).eval()
    return evaluate(model, data, EvaluationSettings(), directory / "eval"), directory / "eval"


def with_spectra(result: EvaluationResult, truth: np.ndarray, member: np.ndarray) -> EvaluationResult:
    """Powers `(N, C)` at both of two lead times."""
    wavenumber = np.arange(1, len(truth) + 1) / 2
    spectra = Spectrum(wavenumber, (1, 2), np.stack([truth] * 2), np.stack([member] * 2))
    return dataclasses.replace(result, spectra=spectra, reconstructs=True)


def latents(std: list[float], saturated: float = 0.0) -> LatentUsage:
    table = pd.DataFrame({name: np.zeros(len(std)) for name in LATENT_COLUMNS})
    table = table.assign(channel=range(len(std)), std=std, saturated=saturated, active=np.array(std) > 0.01)
    return LatentUsage(table, np.square(std), 0.01, 1.5, n_values=192, n_latents=24)


def test_the_latents_of_all_scored_frames_are_in_a_table(evaluated):
    result, directory = evaluated
    table = pd.read_csv(directory / "latents.csv")
    assert tuple(table.columns) == LATENT_COLUMNS
    assert table.channel.tolist() == [0, 1, 2]
    assert np.isfinite(table.drop(columns="active")).all(axis=None)
    assert result.latents is not None
    assert (result.latents.n_values, result.latents.n_latents) == (8 * 12 * 2, 4 * 6 * 3)
    assert 1 <= result.latents.participation_ratio <= 3


def test_an_evaluation_scores_how_sharp_reconstructions_are(evaluated):
    ratios = evaluated[0].series("high_frequency_ratio")
    assert len(ratios) == 5
    assert (ratios > 0).all()


def test_the_report_shows_spectra_channels_and_latents(evaluated, tmp_path):
    scores = evaluated[0].scores
    few = scores[scores.metric.isin(("vrmse", "psrmse_low"))]  # a figure takes half a second
    result = dataclasses.replace(evaluated[0], scores=few, examples=[])
    figures = draw_figures(result, tmp_path)
    assert {"latents", "spectra_u", "spectra_v"} <= {figure.name for figure in figures}
    page = write_report(result, verdict(result), figures, [], tmp_path / "report.html").read_text()
    for text in (
        "What encoding and decoding lose of each channel",
        'id="latents"',
        "Participation ratio",
        "192 numbers",
    ):
        assert text in page
    assert "beside the baselines" not in page
    assert "one member" not in page


def test_a_spectrum_reaches_as_far_as_its_power_is_kept(make_result):
    truth = np.array([[4.0, 1.0], [1.0, 1.0], [0.25, 1.0], [1e-16, 1.0]])
    kept = np.array([[4.2, 1.0], [0.95, 0.95], [0.25, 0.5], [1e-3, 1.0]])
    u, v = spectral_reaches(with_spectra(make_result(), truth, kept))
    assert (u.channel, u.wavenumber, u.complete, u.beyond) == ("u", 1.5, True, pytest.approx(0, abs=1e-12))
    assert (v.channel, v.wavenumber, v.complete) == ("v", 1.0, False)
    assert v.beyond == pytest.approx((1.5 + 2.0) / (0.5 + 1.0 + 1.5 + 2.0))
    assert v.points == pytest.approx(8)
    assert spectral_reaches(with_spectra(make_result(), truth, np.nan * truth))[0].wavenumber is None
    assert spectral_reaches(with_spectra(make_result(), 0 * truth, truth)) == []


def test_the_verdict_says_what_is_lost(make_result):
    result, ones = make_result(n_members=1), np.ones((4, 2))
    blurred = ones * np.array([1.0, 1.0, 0.8, 0.1])[:, None]
    found = {f.topic: f for f in verdict(with_spectra(result, ones, blurred))}
    assert "(VRMSE .300: u .300, v .300)" in found["reconstruction"].text
    assert found["spectrum"].text.startswith(
        "The power spectrum of u agrees within 10 % up to wavenumber 1 (waves of 8"
    )
    assert found["spectrum"].mark == "bad"
    sharp = {f.topic: f for f in verdict(with_spectra(result, ones, ones))}["spectrum"]
    assert (sharp.text, sharp.mark) == ("Power spectra agree within 10 % at every wavenumber.", "good")
    lost = {f.topic: f for f in verdict(with_spectra(result, ones, 0 * ones))}["spectrum"]
    assert lost.text == "The power spectrum of u is off by more than 10 % from the start."


@pytest.mark.parametrize(
    ("ratio", "vrmse", "mark", "words"),
    [
        (0.9, 0.3, "good", "have .900 times the energy that they have in the truth."),
        (0.4, 0.3, "warn", "in the truth: reconstructions are blurred."),
        (3.0, 0.3, "warn", "in the truth: reconstructions are rough."),
        (0.4, 0.04, "good", "have .400 times"),
    ],
)
def test_the_verdict_tells_blurred_from_rough(make_result, ratio, vrmse, mark, words):
    result = make_result(n_members=1)
    errors = result.scores[result.scores.metric == "vrmse"].assign(value=vrmse)
    scores = pd.concat([errors, errors.assign(metric="high_frequency_ratio", value=ratio)])
    blurred = dataclasses.replace(result, scores=scores, reconstructs=True)
    found = next(finding for finding in verdict(blurred) if finding.topic == "sharpness")
    assert found.mark == mark
    assert words in found.text


def test_only_the_worst_of_many_channels_are_named(make_result):
    result = make_result(n_members=1)
    names = tuple("abcdef")
    rows = result.scores[(result.scores.metric == "vrmse") & (result.scores.kind == MEMBER)]
    rows = rows[rows.model == "model"]
    every = [rows[rows.channel == "all"]]
    every += [rows[rows.channel == "u"].assign(channel=n, value=0.1 * (i + 1)) for i, n in enumerate(names)]
    spec = dataclasses.replace(result.spec, channel_names=names, units=("",) * 6)
    many = dataclasses.replace(result, spec=spec, scores=pd.concat(every), spectra=None, reconstructs=True)
    assert "most of f .600, e .500, d .400, c .300)" in verdict(many)[0].text


def test_idle_and_saturated_latents_are_warned_of(make_result):
    def of(usage: LatentUsage):
        result = dataclasses.replace(make_result(n_members=1), reconstructs=True, latents=usage)
        return next(finding for finding in verdict(result) if finding.topic == "latents")

    fine = of(latents([1.0, 0.5]))
    assert fine.mark == "good"
    assert fine.text == (
        "192 numbers become 24 (8 times fewer). 2 of 2 latent channels are active, participation ratio 1.5."
    )
    assert of(latents([1.0, 0.0])).mark == "warn"
    full = of(latents([1.0, 1.0], saturated=0.2))
    assert full.mark == "warn"
    assert full.text.endswith("20 % of the values are near the bound.")
