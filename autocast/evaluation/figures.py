"""All the figures of an evaluation: which there are, their titles, and what they show in words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from autocast.evaluation.calibration_figures import draw_calibration
from autocast.evaluation.curves import (
    draw_band_errors,
    draw_coherence,
    draw_coverage,
    draw_latents,
    draw_ranks,
    draw_scores,
    draw_spectra,
    draw_spread_skill,
)
from autocast.evaluation.drawings import MOST_CHANNELS, Drawing, file_name, save
from autocast.evaluation.names import (
    BAND_METRICS,
    COHERENCE_METRICS,
    curve_metrics,
    forecast_name,
    headline_channel,
    headline_channels,
    metric_name,
    window_name,
)
from autocast.evaluation.result import ENSEMBLE, MEAN, MEMBER, EvaluationResult, LatentUsage, Spectrum
from autocast.evaluation.rollout_curves import draw_rollouts
from autocast.evaluation.snapshots import Snapshot, save_snapshots, take_snapshots
from autocast.evaluation.stability_figures import draw_stability
from autocast.evaluation.stress_figures import draw_stress

if TYPE_CHECKING:
    import pandas as pd


def draw_figures(
    result: EvaluationResult, directory: Path, snapshots: Sequence[Snapshot] | None = None
) -> list[Drawing]:
    """Every figure that the result has the numbers for, as PNG and SVG in `directory`.

    Args:
        result: What was measured.
        directory: Made where it is not there.
        snapshots: None: of the result's median example.

    Returns:
        The drawings, the headline score first.
    """
    metrics = curve_metrics(result)
    drawings = [_save_scores(result, metric, directory, extra=i > 0) for i, metric in enumerate(metrics)]
    if result.spectra is not None:
        names = result.spec.channel_names[:MOST_CHANNELS]
        member = "one member" if result.n_members > 1 else forecast_name(result)
        drawings += [_save_spectra(result.spectra, c, name, directory, member) for c, name in enumerate(names)]
    if any(not result.series(metric).empty for metric in BAND_METRICS):
        drawings.append(_save_band_errors(result, directory))
    if any(not result.series(metric).empty for metric in COHERENCE_METRICS):
        drawings.append(_save_coherence(result, directory))
    ratio = result.series("ssr", ENSEMBLE, channel=headline_channel(result, "ssr"))
    if not ratio.empty:
        drawings.append(_save_spread_skill(result, ratio, directory))
    if result.calibration is not None:
        drawings += draw_calibration(result, result.calibration, directory)
    elif result.coverage is not None and not result.coverage.empty:
        drawings.append(_save_coverage(result.coverage, directory))
    has_ranks = result.calibration is None or result.calibration.ranks is None
    if has_ranks and result.ranks is not None and not result.ranks.empty:
        drawings.append(_save_ranks(result.ranks, directory))
    drawings += draw_rollouts(result, directory)
    drawings += draw_stability(result, directory)
    drawings += draw_stress(result, directory)
    if result.latents is not None:
        drawings.append(_save_latents(result.latents, directory))
    return drawings + save_snapshots(_snapshots(result) if snapshots is None else snapshots, directory)


def _snapshots(result: EvaluationResult) -> list[Snapshot]:
    example = result.median_example
    return [] if example is None else take_snapshots(example, result.spec)


def _save_scores(result: EvaluationResult, metric: str, directory: Path, extra: bool) -> Drawing:
    name = metric_name(metric)
    return save(
        draw_scores(result, metric),
        directory,
        f"scores_{file_name(metric)}",
        section="scores",
        extra=extra,
        title=f"{name[0].upper()}{name[1:]} against lead time",
        alt=f"Line chart of {name} against lead time, the model and the baselines. {_summary(result, metric)}",
        wide=len(headline_channels(result, metric)) > 1,
    )


def _summary(result: EvaluationResult, metric: str) -> str:
    channel = headline_channel(result, metric)
    for kind in (MEAN, ENSEMBLE, MEMBER):
        values = result.series(metric, kind, channel=channel)
        if not values.empty:
            return f"The model has {_ends(values)}."
    return ""


def _ends(values: pd.Series) -> str:
    first, last = values.index[0], values.index[-1]
    return f"{values.iloc[0]:.3g} at lead time {first} and {values.iloc[-1]:.3g} at lead time {last}"


def _save_spectra(spectra: Spectrum, channel: int, name: str, directory: Path, member: str) -> Drawing:
    return save(
        draw_spectra(spectra, channel, name, forecast=member),
        directory,
        f"spectra_{file_name(name)}",
        section="spectra",
        title=f"Power spectrum of {name}",
        alt=f"Power of {name} against wavenumber, truth and forecast, at lead times {_listing(spectra.lead_times)}.",
        wide=True,
    )


def _save_band_errors(result: EvaluationResult, directory: Path) -> Drawing:
    return save(
        draw_band_errors(result),
        directory,
        "spectrum_errors",
        section="spectra",
        title="Error of the power spectrum by band of wavenumbers",
        alt=f"Relative error of the power spectrum against lead time, by band. {_bands(result, BAND_METRICS)}.",
    )


def _save_coherence(result: EvaluationResult, directory: Path) -> Drawing:
    return save(
        draw_coherence(result),
        directory,
        "coherence",
        section="spectra",
        title="Coherence with the truth by band of wavenumbers",
        alt=(
            "Coherence of one forecast with the truth against lead time, by band; 1 where structures are where they "
            f"should be. {_bands(result, COHERENCE_METRICS)}."
        ),
    )


def _bands(result: EvaluationResult, metrics: dict[str, str]) -> str:
    ends = [(band, result.series(metric)) for metric, band in metrics.items()]
    return "; ".join(f"{band}: {_ends(series)}" for band, series in ends if not series.empty)


def _save_spread_skill(result: EvaluationResult, ratio: pd.Series, directory: Path) -> Drawing:
    return save(
        draw_spread_skill(result),
        directory,
        "spread_skill",
        section="calibration",
        title="Spread against skill",
        alt=(
            "Spread of the ensemble and error of its mean against lead time, and their ratio, which is 1 where the "
            f"spread fits the error. The ratio is {_ends(ratio)}."
        ),
        wide=True,
    )


def _save_coverage(coverage: pd.DataFrame, directory: Path) -> Drawing:
    windows = _listing(window_name(window) for window in coverage.window.unique())
    return save(
        draw_coverage(coverage),
        directory,
        "coverage",
        section="calibration",
        title="Coverage of central intervals",
        alt=(
            "How often the central intervals of the ensemble hold the truth, against how often they should: a "
            f"calibrated ensemble lies on the diagonal. One line each for {windows}."
        ),
    )


def _save_ranks(ranks: pd.DataFrame, directory: Path) -> Drawing:
    return save(
        draw_ranks(ranks),
        directory,
        "rank_histogram",
        section="calibration",
        title="Ranks of the truth among the members",
        alt=(
            "How often the truth has each rank among the members, relative to a calibrated ensemble, flat at 1: "
            "ends that rise show too little spread, ends that fall too much, a slope a bias. One line each for "
            f"{_listing(window_name(window) for window in ranks.window.unique())}."
        ),
    )


def _save_latents(latents: LatentUsage, directory: Path) -> Drawing:
    return save(
        draw_latents(latents),
        directory,
        "latents",
        section="latents",
        title="How much of the latents is used",
        alt=(
            "Left: standard deviation of each latent channel, the largest first. Right: share of the variance in the "
            f"first principal axes. {latents.n_active} of {latents.n_channels} channels are active; the participation "
            f"ratio is {latents.participation_ratio:.3g}."
        ),
        wide=True,
    )


def _listing(values: Iterable[object]) -> str:
    return ", ".join(str(value) for value in values)
