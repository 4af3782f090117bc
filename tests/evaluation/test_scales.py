"""Colours of values and planes through fields."""

import dataclasses

import numpy as np
import pytest

from autocast.evaluation.scales import (
    FIELD_COLOURS,
    NOT_A_NUMBER,
    SIGNED_COLOURS,
    PictureColours,
    Scale,
    as_planes,
    error_and_spread_scales,
    field_scale,
    number,
    picture_colours,
    planes,
    round_up,
    shrink,
)
from autocast.types import PICTURE_DIMS, FieldSpec


def test_values_outside_take_the_colour_of_the_nearer_end_and_nan_is_grey():
    scale = Scale("viridis", -1.0, 3.0)
    low, high, below, above, minus, plus, nan = scale.paint(np.array([-1, 3, -9, 9, -np.inf, np.inf, np.nan]))
    assert (low == below).all()
    assert (low == minus).all()
    assert (high == above).all()
    assert (high == plus).all()
    assert tuple(nan) == NOT_A_NUMBER


def test_a_field_with_both_signs_has_zero_in_the_middle():
    scale = field_scale(np.linspace(-2, 3, 500))
    assert scale.colours == SIGNED_COLOURS
    assert scale.low == -scale.high
    assert field_scale(np.linspace(-0.01, 3, 500)).colours == FIELD_COLOURS


@pytest.mark.parametrize("values", [np.full(7, 3.5), np.zeros(7), np.full(7, np.nan), np.array([1e-40])])
def test_a_scale_is_never_empty(values):
    scale = field_scale(values)
    assert np.isfinite([scale.low, scale.high]).all()
    assert scale.low < scale.high


def test_error_and_spread_share_a_limit_that_a_blow_up_cannot_stretch():
    truth = np.linspace(0, 1, 100)
    small = error_and_spread_scales(np.full(100, 0.01), np.full(100, 0.02), truth)
    assert small[0].high == small[1].high == pytest.approx(0.02)
    blown, _ = error_and_spread_scales(np.full(100, 1e9), None, truth)
    assert blown.high < 0.51


def test_a_plane_has_x_to_the_right_and_y_upwards():
    fields = np.zeros((1, 3, 5, 1))
    fields[0, 2, 0] = 1  # largest x, smallest y: bottom right
    picture = planes(fields)
    assert picture.shape == (1, 5, 3, 1)
    assert picture[0, -1, -1, 0] == 1


def test_pictures_are_shown_upright():
    pictures = np.random.default_rng(0).random((2, 3, 5, 1))
    spec = FieldSpec("toy", ("grey",), ("",), PICTURE_DIMS, (3, 5), (3.0, 5.0), ("open", "open"), 1.0)
    assert np.array_equal(planes(as_planes(pictures, spec)), pictures)
    fields = dataclasses.replace(spec, dim_names=("x", "y"))
    assert as_planes(pictures, fields) is pictures


def test_pictures_have_their_own_colours():
    grey = np.array([[[0.0], [0.5], [1.0]]])
    assert picture_colours(grey).paint(grey).tolist() == [[[0] * 3, [128] * 3, [255] * 3]]
    colour = np.array([[1.0, 0.25, 0.0], [np.nan, 2.0, -1.0]])
    assert picture_colours(colour[:1]).paint(colour).tolist() == [[255, 64, 0], [0, 255, 0]]
    units = np.linspace(-1000, 500, 7).reshape(1, 7, 1)
    assert picture_colours(units).paint(units)[0, [0, -1], 0].tolist() == [0, 255]
    assert isinstance(picture_colours(units), PictureColours)


def test_three_axes_show_the_central_slice_and_one_axis_space_time():
    fields = np.random.default_rng(0).normal(size=(4, 3, 5, 7, 2))
    np.testing.assert_array_equal(planes(fields), planes(fields[:, :, :, 3]))
    line = fields[:, :, 0, 0]
    np.testing.assert_array_equal(planes(line)[0, -1, :, 1], line[:, 0, 1])


@pytest.mark.parametrize(("height", "width"), [(40, 100), (100, 40), (3, 100), (10, 10)])
def test_shrinking_keeps_means_and_sides_within_the_limit(height, width):
    pictures = np.full((2, height, width, 1), 2.5)
    small = shrink(pictures, 20)
    assert max(small.shape[1:3]) <= 20
    assert (small == 2.5).all()


@pytest.mark.parametrize(("value", "text"), [(0.5, "0.5"), (-1234567.0, "−1.23e6"), (1e-7, "1e−7"), (0.0, "0")])
def test_numbers_are_short(value, text):
    assert number(value) == text


@pytest.mark.parametrize(("value", "expected"), [(0.0123, 0.013), (1.0, 1.0), (99.1, 100.0), (0.0, 0.0)])
def test_rounding_up_keeps_two_digits(value, expected):
    assert round_up(value) == pytest.approx(expected)
