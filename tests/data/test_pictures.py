from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image

from autocast.data.pictures import PictureError, PictureHeader, read_picture, read_picture_header, resize

SHAPE = (6, 10)
GREY = np.arange(60).reshape(SHAPE)
COLOUR = np.stack([GREY, GREY[::-1], GREY[:, ::-1]], axis=-1).astype(np.uint8)
WIDE = (GREY * 1000).astype(np.uint16)
REAL = np.linspace(-900.5, 1e6, 60, dtype=np.float32).reshape(SHAPE)


def write_png16_colour(file: Path) -> None:
    """16 bits for each of red, green and blue, which Pillow cannot write."""
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in WIDE[..., None].repeat(3, axis=-1))

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    head = struct.pack(">IIBBBBB", SHAPE[1], SHAPE[0], 16, 2, 0, 0, 0)
    chunks = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    file.write_bytes(b"\x89PNG\r\n\x1a\n" + chunks)


@pytest.mark.parametrize(
    ("values", "suffix", "expected"),
    [
        (GREY.astype(np.uint8), ".png", GREY / 255),
        (COLOUR, ".png", COLOUR / 255),
        (COLOUR, ".TIFF", COLOUR / 255),
        (WIDE, ".png", WIDE / 65535),
        (WIDE, ".tif", WIDE / 65535),
        (REAL, ".tif", REAL),
        (GREY.astype(np.int32) - 30, ".tif", GREY - 30),
        (GREY > 20, ".png", GREY > 20),
    ],
)
def test_values_are_kept_in_full(values, suffix, expected, tmp_path):
    file = tmp_path / f"a{suffix}"
    Image.fromarray(values).save(file)
    found = read_picture(file)
    n_channels = 3 if values.ndim == 3 else 1
    assert (found.dtype, found.shape) == (np.float32, (*SHAPE, n_channels))
    np.testing.assert_allclose(found.squeeze(), expected, rtol=1e-6)
    assert read_picture_header(file) == PictureHeader(SHAPE, n_channels)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (WIDE, WIDE / 65535),
        (GREY.astype(np.int16) - 1024, GREY - 1024),
        (REAL.astype(np.float64), REAL),
        ((REAL / 2**10).astype(np.float16), (REAL / 2**10).astype(np.float16)),
        (np.stack([GREY, GREY + 1], axis=-1) / 7, np.stack([GREY, GREY + 1], axis=-1) / 7),
    ],
)
def test_arrays_are_pictures_too(values, expected, tmp_path):
    np.save(tmp_path / "a.npy", values)
    found = read_picture(tmp_path / "a.npy")
    assert found.dtype == np.float32
    np.testing.assert_allclose(found.squeeze(), expected, rtol=1e-6)
    assert read_picture_header(tmp_path / "a.npy") == PictureHeader(SHAPE, found.shape[-1])


def test_a_jpeg_is_read(tmp_path):
    Image.fromarray(COLOUR).save(tmp_path / "a.jpg", quality=95)
    assert read_picture(tmp_path / "a.jpg").shape == (*SHAPE, 3)


UPRIGHT = {
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.T,
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].T,
    8: np.rot90,
}
"""What is done to a picture of each orientation that EXIF knows."""


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize(
    ("stored", "suffix", "scale"),
    [(GREY.astype(np.uint8), ".tif", 255), (WIDE, ".tif", 65535), (REAL, ".tif", 1), (None, ".jpg", 255)],
)
def test_pictures_are_upright(stored, suffix, scale, orientation, tmp_path):
    flat = np.full((16, 32), 200, np.uint8)  # blocks of 8 that a JPEG keeps
    flat[:8, 8:] = 60
    values = flat if stored is None else stored
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    file = tmp_path / f"a{suffix}"
    Image.fromarray(values).save(file, exif=exif)
    expected = UPRIGHT[orientation](values)
    assert read_picture_header(file).shape == expected.shape
    np.testing.assert_allclose(read_picture(file)[..., 0] * scale, expected, rtol=1e-5, atol=1)


def test_a_picture_is_turned_whatever_else_its_camera_says(tmp_path):
    flat = np.full((8, 16), 200, np.uint8)
    width = struct.pack("<HHI4s", 0x0100, 2, 3, b"ab\0\0")  # words, where a number belongs
    orientation = struct.pack("<HHI4s", 0x0112, 3, 1, b"\6\0\0\0")
    exif = b"Exif\0\0II*\0\x08\0\0\0\2\0" + width + orientation + b"\0\0\0\0"
    Image.fromarray(flat).save(tmp_path / "a.jpg", exif=exif)
    assert read_picture_header(tmp_path / "a.jpg").shape == (16, 8)
    assert read_picture(tmp_path / "a.jpg").shape == (16, 8, 1)


@pytest.mark.parametrize(("mode", "n_channels"), [("LA", 1), ("RGBA", 3)])
def test_alpha_is_dropped_and_told(mode, n_channels, tmp_path):
    picture = Image.fromarray(COLOUR).convert(mode)
    picture.putalpha(7)
    picture.save(tmp_path / "a.png")
    assert read_picture_header(tmp_path / "a.png") == PictureHeader(SHAPE, n_channels, has_alpha=True)
    expected = np.asarray(Image.fromarray(COLOUR).convert("L" if n_channels == 1 else "RGB"), np.float32) / 255
    np.testing.assert_allclose(read_picture(tmp_path / "a.png").squeeze(), expected, rtol=1e-6)


def test_a_palette_becomes_colours(tmp_path):
    Image.fromarray(COLOUR).quantize(256).save(tmp_path / "a.png")
    assert read_picture_header(tmp_path / "a.png").n_channels == 3
    np.testing.assert_allclose(read_picture(tmp_path / "a.png"), COLOUR / 255, atol=0.05)


@pytest.mark.parametrize(
    ("name", "write", "why"),
    [
        ("a.png", lambda file: file.write_bytes(b"no picture"), "cannot identify"),
        ("a.npy", lambda file: file.write_bytes(b"no array"), "magic string"),
        ("a.npy", lambda file: np.save(file, np.zeros((1, 6, 10))), "channels come last"),
        ("a.npy", lambda file: np.save(file, np.zeros(6)), r"not \(H, W\)"),
        ("a.npy", lambda file: np.save(file, np.zeros((6, 10), complex)), "not real numbers"),
        ("a.png", write_png16_colour, "save it as .npy"),
        (
            "a.tif",
            lambda file: Image.fromarray(COLOUR).save(file, save_all=True, append_images=[Image.fromarray(COLOUR)]),
            "2 pages",
        ),
    ],
)
def test_what_cannot_be_read_in_full_is_refused(name, write, why, tmp_path):
    write(tmp_path / name)
    with pytest.raises(PictureError, match=why):
        read_picture_header(tmp_path / name)


def test_a_damaged_picture_is_found_when_it_is_read(tmp_path):
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64), np.uint8)).save(tmp_path / "a.png")
    content = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(content[: len(content) // 2])
    assert read_picture_header(tmp_path / "a.png").shape == (64, 64)
    with pytest.raises(PictureError, match="truncated"):
        read_picture(tmp_path / "a.png")


def test_resizing_keeps_mean_and_range_and_does_not_alias():
    stripes = np.zeros((24, 36, 2), np.float32)
    stripes[:, ::2] = 1e4
    small = resize(stripes, (8, 6))
    assert (small.shape, small.dtype) == ((8, 6, 2), np.float32)
    np.testing.assert_allclose(small[:, 1:-1], 5e3, rtol=0.02)  # neither 0 nor 1e4: stripes are averaged
    large = resize(stripes, (30, 50))
    assert large.min() >= 0
    assert large.max() <= 1e4


def test_resizing_keeps_the_sides_apart():
    ramp = np.linspace(0, 1, 12, dtype=np.float32)[:, None, None].repeat(8, axis=1)
    small = resize(ramp, (6, 4))[..., 0]
    assert (np.diff(small, axis=0) > 0).all()
    np.testing.assert_allclose(small, small[:, :1].repeat(4, axis=1), atol=1e-6)
