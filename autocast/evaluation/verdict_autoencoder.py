"""What an autoencoder alone loses, and what it makes of its latents."""

from __future__ import annotations

from autocast.diagnosis import BLURRED, LOSSY
from autocast.evaluation.findings import MOST_NAMED, Finding, grade, number, percent
from autocast.evaluation.result import MEMBER
from autocast.evaluation.result import EvaluationResult as Result
from autocast.evaluation.spectral_reach import TOLERANCE, spectral_reaches
from autocast.evaluation.verdict_accuracy import GOOD_FLOOR, TOLERABLE_FLOOR

TOLERABLE_SATURATION = 0.05


def loss(result: Result) -> Finding | None:
    """What encoding and decoding lose."""
    vrmse = result.series("vrmse", MEMBER)
    if vrmse.empty:
        return None
    channels = {name: result.series("vrmse", MEMBER, channel=name).mean() for name in result.spec.channel_names}
    worst = sorted(channels, key=lambda name: -channels[name])
    named = list(channels) if len(channels) <= MOST_NAMED else worst[:MOST_NAMED]
    mean = float(vrmse.mean(skipna=False))
    text = f"Encoding and decoding loses {percent(mean)} (VRMSE {number(mean)}"
    if len(channels) > 1:
        text += ": " if len(named) == len(channels) else "; most of "
        text += ", ".join(f"{name} {number(channels[name])}" for name in named)
    return Finding("reconstruction", grade(mean, GOOD_FLOOR, TOLERABLE_FLOOR), f"{text}).")


def reach(result: Result) -> Finding | None:
    """Of the channel that loses most: how fine the structures are that it keeps."""
    reaches = spectral_reaches(result)
    if not reaches:
        return None
    worst = max(reaches, key=lambda reach: reach.beyond)
    mark = grade(worst.beyond, GOOD_FLOOR**2, TOLERABLE_FLOOR**2)
    tolerance = percent(TOLERANCE)
    if all(reach.complete for reach in reaches):
        return Finding("spectrum", mark, f"Power spectra agree within {tolerance} at every wavenumber.")
    of = f" of {worst.channel}" if len(reaches) > 1 else ""
    if worst.wavenumber is None:
        return Finding("spectrum", "bad", f"The power spectrum{of} is off by more than {tolerance} from the start.")
    text = f"The power spectrum{of} agrees within {tolerance} up to wavenumber {number(worst.wavenumber)} (waves of "
    text += f"{worst.points:.2g} points); {percent(worst.beyond)} of its power lies beyond."
    return Finding("spectrum", mark, text)


def sharpness(result: Result) -> Finding | None:
    """How much of the fine structure is there, of all channels together."""
    ratios = result.series("high_frequency_ratio", MEMBER)
    if ratios.empty:
        return None
    ratio, error = (float(series.mean(skipna=False)) for series in (ratios, result.series("vrmse", MEMBER)))
    kept = BLURRED <= ratio <= 1 / BLURRED or error <= LOSSY
    text = f"Waves shorter than four points have {number(ratio)} times the energy that they have in the truth"
    text += "." if kept else ": reconstructions are blurred." if ratio < 1 else ": reconstructions are rough."
    return Finding("sharpness", "good" if kept else "warn", text)


def latents(result: Result) -> Finding | None:
    """How much is compressed, and how much of the latents is used."""
    latents = result.latents
    if latents is None:
        return None
    text = f"{latents.n_values:,} numbers become {latents.n_latents:,} ({latents.compression:.3g} times fewer). "
    text += f"{latents.n_active} of {latents.n_channels} latent channels are active, participation ratio "
    text += f"{latents.participation_ratio:.3g}."
    if latents.saturated > TOLERABLE_SATURATION:
        text += f" {percent(latents.saturated)} of the values are near the bound."
    fine = latents.n_active == latents.n_channels and latents.saturated <= TOLERABLE_SATURATION
    return Finding("latents", "good" if fine else "warn", text)
