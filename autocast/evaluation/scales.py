"""What figures and videos agree on: colours of values, and the plane through a field that is shown."""

from __future__ import annotations

import math
from dataclasses import dataclass

import matplotlib
import numpy as np

from autocast.types import FieldSpec

FIELD_COLOURS, SIGNED_COLOURS, ERROR_COLOURS, SPREAD_COLOURS = "viridis", "RdBu_r", "PuOr_r", "magma"
"""All of them can be told apart with any colour vision."""
NOT_A_NUMBER = (128, 134, 142)
_SHADES = 256
_SAMPLED = 1_000_000


@dataclass(frozen=True)
class Scale:
    """A colour map between two fixed values; what lies outside takes the colour of the nearer end."""

    colours: str
    low: float
    high: float

    def paint(self, values: np.ndarray) -> np.ndarray:
        """Colours `(..., 3)` uint8 of `values (...)`; NaN is grey."""
        table = np.vstack([_shades(self.colours), np.array(NOT_A_NUMBER, np.uint8)])
        with np.errstate(invalid="ignore", over="ignore"):
            position = (values.astype(np.float64) - self.low) / (self.high - self.low) * (_SHADES - 1)
            index = np.clip(np.nan_to_num(position, nan=0.0), 0, _SHADES - 1).round().astype(np.intp)
        return table[np.where(np.isnan(values), _SHADES, index)]


@dataclass(frozen=True)
class PictureColours:
    """The colours that pictures of one channel (grey) or three (red, green, blue) have, between black and white."""

    low: float
    high: float

    def paint(self, values: np.ndarray) -> np.ndarray:
        """Colours `(..., 3)` uint8 of `values (..., C)`; NaN is black."""
        with np.errstate(invalid="ignore", over="ignore"):
            shares = (values.astype(np.float64) - self.low) / max(self.high - self.low, 1e-30)
            shades = np.clip(np.nan_to_num(shares, nan=0.0), 0, 1) * 255
        return np.broadcast_to(shades.round().astype(np.uint8), (*values.shape[:-1], 3))


def _shades(colours: str) -> np.ndarray:
    return (matplotlib.colormaps[colours](np.arange(_SHADES) / (_SHADES - 1))[:, :3] * 255).round().astype(np.uint8)


def field_scale(truth: np.ndarray) -> Scale:
    """The scale of a channel and of its forecasts: from the truth alone, so that a forecast cannot stretch it.

    Values on both sides of zero, neither of them negligible, get a map whose middle is zero.
    """
    low, high = _limits(truth)
    if low < 0 < high and min(-low, high) > 0.2 * max(-low, high):
        limit = max(-low, high)
        return Scale(SIGNED_COLOURS, -limit, limit)
    margin = 0.0 if high - low > 1e-6 * max(abs(low), abs(high), 1e-30) else max(abs(low), 1.0) / 2
    return Scale(FIELD_COLOURS, low - margin, high + margin)


def picture_colours(pictures: np.ndarray) -> PictureColours:
    """From black to white as files have them, 0 to 1, unless values lie outside: then over their range."""
    within = bool(np.nanmin(pictures) >= 0 and np.nanmax(pictures) <= 1)
    return PictureColours(0.0, 1.0) if within else PictureColours(*_limits(pictures))


def _limits(values: np.ndarray) -> tuple[float, float]:
    """A thousandth at either end is given up, or one spike would leave the rest without contrast."""
    low, high = np.quantile(_finite_sample(values), (0.001, 0.999))
    return float(low), float(high)


def error_and_spread_scales(error: np.ndarray, spread: np.ndarray | None, truth: np.ndarray) -> tuple[Scale, Scale]:
    """Scales of the error (about zero) and of the spread (from zero) with one limit, so that the two can be compared.

    The limit follows the error, but never beyond half the range of the truth: a forecast that blows up saturates.
    """
    shown = error if spread is None else np.stack([error, spread])
    field = field_scale(truth)
    most = (field.high - field.low) / 2
    limit = round_up(float(np.quantile(np.abs(_finite_sample(shown)), 0.99)))
    limit = min(limit, most) if limit > 0 else most
    return Scale(ERROR_COLOURS, -limit, limit), Scale(SPREAD_COLOURS, 0.0, limit)


def round_up(value: float) -> float:
    """The next number with two significant digits."""
    if value <= 0 or not math.isfinite(value):
        return 0.0
    unit = 10.0 ** (math.floor(math.log10(value)) - 1)
    return math.ceil(round(value / unit, 6)) * unit


def _finite_sample(values: np.ndarray) -> np.ndarray:
    """At most about a million of the finite values, flat; a single zero where there is none."""
    flat = values.reshape(-1)[:: max(1, values.size // _SAMPLED)]
    flat = flat[np.isfinite(flat)]
    return flat if flat.size else np.zeros(1)


def planes(fields: np.ndarray) -> np.ndarray:
    """Pictures `(T, H, W, C)`, first row at the top, of fields `(T, *S, C)`: x to the right and y upwards.

    Of three axes the central slice of the last one is shown. One axis becomes a single space-time picture,
    `(1, W, T, C)`: time to the right and x upwards.
    """
    n_spatial_dims = fields.ndim - 2
    if n_spatial_dims == 1:
        return fields.transpose(1, 0, 2)[None, ::-1]
    if n_spatial_dims == 3:
        fields = fields[:, :, :, fields.shape[3] // 2]
    return fields.transpose(0, 2, 1, 3)[:, ::-1]


def as_planes(fields: np.ndarray, spec: FieldSpec) -> np.ndarray:
    """Fields `(..., *S, C)` with axes as `planes` takes them: pictures are turned until x is the first and goes to the
    right."""
    return fields.swapaxes(-3, -2)[..., ::-1, :] if spec.is_picture else fields


def plane_note(grid_shape: tuple[int, ...], dim_names: tuple[str, ...]) -> str:
    """What a picture by `planes` shows, where that is not obvious."""
    if len(grid_shape) == 1:
        return f"{dim_names[0]} over lead time"
    if len(grid_shape) == 3:
        return f"slice {dim_names[2]} = {grid_shape[2] // 2} of {grid_shape[2]}"
    return ""


def shrink(pictures: np.ndarray, most: int) -> np.ndarray:
    """Means over square blocks of pictures `(T, H, W, C)`, the smallest with which no side is longer than `most`."""
    _, height, width, _ = pictures.shape
    k = -(-max(height, width) // most)
    if k == 1:
        return pictures
    height, width = max(height // k, 1), max(width // k, 1)
    blocks = pictures[:, : height * k, : width * k]
    blocks = blocks.reshape(len(blocks), height, min(k, blocks.shape[1]), width, min(k, blocks.shape[2]), -1)
    return blocks.mean(axis=(2, 4))


def number(value: float) -> str:
    """Three significant digits, short: what fits beside a colour bar."""
    text = f"{value:.3g}"
    return text.replace("e-0", "e-").replace("e+0", "e").replace("-", "−")


def with_unit(name: str, unit: str) -> str:
    return f"{name} [{unit}]" if unit else name
