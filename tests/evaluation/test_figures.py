"""Figures: which there are, that they are files one can open, and that drawing leaves no trace."""

import matplotlib
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from autocast.evaluation.curves import draw_band_errors, draw_coverage, draw_ranks, draw_scores, draw_spread_skill
from autocast.evaluation.figures import draw_figures
from autocast.evaluation.names import MIXED_UNITS, headline_channels
from autocast.evaluation.result import ALL_CHANNELS, CLIMATOLOGY, MODEL, RANK_COLUMNS, RECONSTRUCTION
from autocast.evaluation.snapshots import (
    draw_contact_sheet,
    draw_snapshot,
    save_snapshots,
    spread_evenly,
    take_snapshots,
)
from autocast.evaluation.stability_figures import draw_valid_times
from autocast.evaluation.validity import validity


def labels(figure):
    return {line.get_label() for axes in figure.axes for line in axes.lines}


def with_values(result, rows, value):
    """The result with another value in those rows of its scores."""
    scores = result.scores.copy()
    scores.loc[rows(scores), "value"] = value
    return type(result)(**{**vars(result), "scores": scores})


@pytest.mark.parametrize(
    ("n_members", "expected"),
    [
        (3, "scores_vrmse scores_rmse scores_crps_fair spectra_u spread_skill coverage snapshots_u"),
        (1, "scores_vrmse scores_rmse spectra_u snapshots_u"),
    ],
)
def test_an_evaluation_has_every_figure_that_it_has_numbers_for(make_result, tmp_path, n_members, expected):
    drawings = draw_figures(make_result(channels=("u",), n_members=n_members), tmp_path)
    assert [drawing.name for drawing in drawings] == expected.split()
    for drawing in drawings:
        assert Image.open(drawing.png).getbbox() is not None
        assert drawing.svg.read_text().rstrip().endswith("</svg>")
        assert drawing.alt
    assert {path.suffix for path in tmp_path.iterdir()} == {".png", ".svg"}


@pytest.mark.parametrize("grid_shape", [(16,), (8, 12), (6, 8, 4)])
def test_snapshots_are_drawn_in_one_to_three_dimensions(make_spec, make_example, tmp_path, grid_shape):
    spec = make_spec(grid_shape)
    drawings = save_snapshots(take_snapshots(make_example(spec, n_steps=3), spec), tmp_path)
    assert [drawing.png.name for drawing in drawings] == ["snapshots_u.png", "snapshots_v.png"]


def test_the_same_result_gives_the_same_bytes_and_leaves_matplotlib_as_it_was(make_result, tmp_path):
    def settings():
        return {key: matplotlib.rcParams[key] for key in matplotlib.rcParams if key != "backend"}

    before = settings()
    for directory in ("a", "b"):
        draw_figures(make_result(channels=("u",)), tmp_path / directory)
    assert settings() == before
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes(), path.name


def test_scores_show_member_mean_and_all_baselines(make_result):
    shown = labels(draw_scores(make_result(), "vrmse"))
    assert shown == {
        *("one member", "mean of 3"),
        *("persistence", "climatology", "linear map", "reconstruction floor"),
    }


def test_a_deterministic_forecast_has_one_line(make_result):
    shown = labels(draw_scores(make_result(n_members=1), "vrmse"))
    assert "forecast" in shown
    assert not any("mean" in label for label in shown)


def test_a_floor_that_is_only_rounding_is_not_drawn(make_result):
    result = with_values(make_result(), lambda s: s.model == RECONSTRUCTION, 1e-8)
    assert "reconstruction floor" not in labels(draw_scores(result, "vrmse"))


def test_channels_of_different_units_have_panels_of_their_own(make_result):
    result = make_result()
    rows = (result.scores.metric == "rmse") & (result.scores.channel == ALL_CHANNELS)
    result.scores.loc[rows, "unit"] = MIXED_UNITS
    assert headline_channels(result, "rmse") == ["u", "v"]
    assert [axes.get_title() or axes.get_title(loc="left") for axes in draw_scores(result, "rmse").axes] == ["u", "v"]


def test_bands_of_the_spectrum_share_a_figure(make_result, tmp_path):
    result = make_result(channels=("u",), n_examples=0)
    rows = result.scores[result.scores.metric == "vrmse"]
    bands = pd.concat([rows.assign(metric=f"psrmse_{band}") for band in ("low", "mid", "high", "tail")])
    result = type(result)(**{**vars(result), "scores": bands, "spectra": None, "coverage": None})
    assert labels(draw_band_errors(result)) == {"low", "middle", "high", "tail"}
    assert [drawing.name for drawing in draw_figures(result, tmp_path)] == ["spectrum_errors"]


def test_scores_that_span_decades_have_a_logarithmic_axis(make_result):
    result = with_values(make_result(), lambda s: s.model == CLIMATOLOGY, 1e4)
    (axes,) = draw_scores(result, "vrmse").axes
    assert axes.get_yscale() == "log"


def test_infinite_and_missing_scores_are_left_out(make_result):
    result = with_values(make_result(), lambda s: (s.model == MODEL) & (s.lead_time > 3), np.nan)
    result = with_values(result, lambda s: s.model == CLIMATOLOGY, np.inf)
    shown = labels(draw_scores(result, "vrmse"))
    assert "climatology" not in shown
    assert "mean of 3" in shown
    draw_spread_skill(result)


def test_one_lead_time_is_drawn_as_marks(make_result):
    (axes,) = draw_scores(make_result(n_steps=1), "vrmse").axes
    assert {line.get_marker() for line in axes.lines} == {"o"}


def test_coverage_has_the_diagonal_and_a_line_per_window(make_result):
    assert labels(draw_coverage(make_result().coverage)) == {"calibrated", "all leads", "lead 1", "leads 2–5"}


def test_ranks_are_drawn_against_a_flat_line_whatever_the_widths_of_bins(tmp_path, make_result):
    rows = [(0, 1, 0.4, 0.4), (2, 2, 0.3, 0.2), (3, 4, 0.3, 0.4)]
    windows = [("all", ALL_CHANNELS), ("all", "u"), ("1", ALL_CHANNELS)]
    ranks = pd.DataFrame([(*row, *where, 0.1, 0.5) for where in windows for row in rows], columns=list(RANK_COLUMNS))
    figure = draw_ranks(ranks)
    assert labels(figure) == {"calibrated", "all leads", "lead 1"}
    line = figure.axes[0].lines[1]
    np.testing.assert_allclose(line.get_xdata(), [0.5, 2, 3.5])
    np.testing.assert_allclose(line.get_ydata(), [1, 1.5, 0.75])
    made = make_result(n_examples=0)
    result = type(made)(**{**vars(made), "ranks": ranks})
    assert "rank_histogram" in [drawing.name for drawing in draw_figures(result, tmp_path)]


def test_nan_and_infinity_in_a_forecast_are_drawn(make_example, make_spec):
    spec = make_spec()
    example = make_example(spec)
    example.mean[2:] = np.nan
    example.members[:, 3:] = np.inf
    figure = draw_snapshot(example, spec, channel=1)
    figure.canvas.draw()


def test_a_constant_field_is_drawn(make_example, make_spec):
    spec = make_spec()
    example = make_example(spec)
    example.truth[:] = example.mean[:] = 0
    draw_snapshot(example, spec, channel=0).canvas.draw()


@pytest.mark.parametrize("grid_shape", [(16,), (8, 12), (6, 8, 4)])
def test_the_contact_sheet_is_a_picture(make_spec, tmp_path, grid_shape):
    fields = np.random.default_rng(0).normal(size=(3, 5, *grid_shape, 2)).astype(np.float32)
    path = draw_contact_sheet(fields, make_spec(grid_shape), tmp_path / "deep" / "sheet.png", channel=1)
    assert Image.open(path).size[0] > 300
    assert [p.name for p in path.parent.iterdir()] == ["sheet.png"]


@pytest.mark.parametrize(("n", "most"), [(1, 6), (3, 6), (6, 6), (100, 6)])
def test_steps_are_spread_evenly_with_both_ends(n, most):
    steps = spread_evenly(n, most)
    assert steps[0] == 0
    assert steps[-1] == n - 1
    assert len(steps) == min(n, most)


def test_intervals_lie_behind_the_models_lines(make_result):
    result = make_result(channels=("u", "v"))
    figure = draw_scores(result, "vrmse")
    (axes,) = figure.axes
    shades = axes.collections
    assert len(shades) == 2  # one member, and the mean
    bounds = result.bounds("vrmse", "mean")
    heights = shades[1].get_paths()[0].vertices[:, 1]
    assert (heights.min(), heights.max()) == (bounds.low.min(), bounds.high.max())


def test_stability_and_coherence_have_figures_where_they_were_measured(make_full_result, tmp_path):
    drawings = {drawing.name: drawing for drawing in draw_figures(make_full_result(), tmp_path)}
    stable = [drawing.name for drawing in drawings.values() if drawing.section == "stability"]
    assert stable == ["valid_times", "stability_blow_up", "stability_mean_drift", "stability_energy_drift"]
    assert "2.57 of 5 steps on average, 29 % to the end" in drawings["valid_times"].alt
    assert drawings["coherence"].section == "spectra"
    assert not any(name.startswith("scores_coherence") for name in drawings)


def test_members_that_did_not_blow_up_need_no_figure(make_full_result, tmp_path):
    result = with_values(make_full_result(), lambda s: s.metric == "blow_up", 0.0)
    assert "stability_blow_up" not in [drawing.name for drawing in draw_figures(result, tmp_path)]


def test_valid_times_fall_by_a_trajectory_at_a_time(make_full_result):
    result = make_full_result()
    found = {"valid_time_correlation": validity(result, "valid_time_correlation")}
    (line,) = [line for line in draw_valid_times(result, found).axes[0].lines if line.get_label() == "correlation"]
    assert list(line.get_xdata()) == [0, 0, 1, 2, 2, 3, 5, 5, 5]
    np.testing.assert_allclose(line.get_ydata()[:4], [1, 6 / 7, 5 / 7, 4 / 7])
