"""One picture: what its file says of it, its values as numbers, and another size.

Values are float32, `(H, W, C)`, first row at the top. Unsigned integers are scaled to 0 ... 1 by the largest value of
their type, so pictures of 8 and of 16 bits have one range; signed integers (Hounsfield units) and floating point
numbers are taken as they are. An alpha channel is dropped; a palette and other colour spaces become RGB. What a camera
says of how it was held is done to JPEG and TIFF: pictures are upright.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import ExifTags, Image, ImageFile, UnidentifiedImageError
from PIL.TiffImagePlugin import IMAGELENGTH, IMAGEWIDTH, TiffImageFile

GREY = ("1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L", "F")
WITH_ALPHA = ("LA", "La", "PA", "RGBA", "RGBa")
AS_THEY_ARE = ("1", "L", "I", "I;16", "I;16B", "I;16L", "F", "RGB")
"""Modes whose values are what the file says."""
ORIENTED = ("JPEG", "MPO", "TIFF")
"""Formats that say how they are turned before their values; a PNG would be decoded to find it."""
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What makes a picture of an orientation upright. Pillow's `exif_transpose` also writes the EXIF data anew, and fails
where a camera wrote another type than it expects."""
ON_THE_SIDE = (5, 6, 7, 8)
"""Orientations whose rows are the columns of the upright picture."""
UNREADABLE = (OSError, SyntaxError, ValueError, EOFError, UnidentifiedImageError, Image.DecompressionBombError)
"""What Pillow and NumPy raise for files that are damaged, or of another format than their name says."""


class PictureError(ValueError):
    """Why a file cannot be used, in a few words; whoever reads many of them says which."""


@dataclass(frozen=True)
class PictureHeader:
    shape: tuple[int, int]
    """Height and width in pixels."""
    n_channels: int
    has_alpha: bool = False


def read_picture_header(file: Path) -> PictureHeader:
    """Without decoding the picture. Raises `PictureError`."""
    try:
        if file.suffix.lower() == ".npy":
            with file.open("rb") as stream:
                return _array_header(stream)
        with Image.open(file) as image:
            _check_depth(image)
            has_alpha = image.mode in WITH_ALPHA or "transparency" in image.info
            return PictureHeader(_upright_shape(image), 1 if image.mode in GREY else 3, has_alpha)
    except PictureError:
        raise
    except UNREADABLE as error:
        raise PictureError(_first_line(error)) from error


def read_picture(file: Path) -> np.ndarray:
    """`(H, W, C)` float32, the caller's own. Raises `PictureError`."""
    try:
        if file.suffix.lower() == ".npy":
            values = np.load(file, allow_pickle=False)
        else:
            # From a stream: of a file that it opens itself Pillow (13) maps a TIFF on its side by the upright shape.
            with file.open("rb") as stream, Image.open(stream) as image:
                values = _values(_upright(image))
    except UNREADABLE as error:
        raise PictureError(_first_line(error)) from error
    return _scaled(values if values.ndim == 3 else values[..., None])


def resize(picture: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """`(H, W, C)` float32 to another height and width: a triangle filter (linear interpolation), which is as wide as
    the larger of the two pixels, so that shrinking does not alias; it never leaves the range of the values."""
    height, width = shape
    channels = [
        Image.fromarray(np.ascontiguousarray(picture[..., c])).resize((width, height), Image.Resampling.BILINEAR)
        for c in range(picture.shape[-1])
    ]
    return np.stack([np.asarray(channel) for channel in channels], axis=-1)


def _array_header(stream: BinaryIO) -> PictureHeader:
    version = np.lib.format.read_magic(stream)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(stream)
    if dtype.kind not in "buif":
        raise PictureError(f"holds {dtype}, not real numbers")
    if len(shape) not in (2, 3) or 0 in shape:
        raise PictureError(f"has shape {shape}, not (H, W) or (H, W, C)")
    if len(shape) == 3 and shape[2] > min(shape[:2]):
        raise PictureError(f"has shape {shape}, which is not (H, W, C): the channels come last")
    return PictureHeader((shape[0], shape[1]), shape[2] if len(shape) == 3 else 1)


def _check_depth(image: ImageFile.ImageFile) -> None:
    """Pillow reads colours of 16 bits as 8, and of several pages the first one."""
    if image.mode not in AS_THEY_ARE[:-1] and any(";16" in _raw_mode(tile) for tile in image.tile):
        raise PictureError("has several channels of 16 bits, of which 8 would be read: save it as .npy")
    n_pages: int = getattr(image, "n_frames", 1) if image.format == "TIFF" else 1
    if n_pages > 1:
        raise PictureError(f"has {n_pages} pages: save each as a picture of its own")


def _upright_shape(image: ImageFile.ImageFile) -> tuple[int, int]:
    """Height and width. A TIFF is asked for what is stored: its `size` is turned already from some Pillow on."""
    width, height = image.size
    if isinstance(image, TiffImageFile):
        width, height = image.tag_v2[IMAGEWIDTH], image.tag_v2[IMAGELENGTH]
    return (width, height) if _orientation(image) in ON_THE_SIDE else (height, width)


def _orientation(image: Image.Image) -> Any:
    """Upright, 1, unless the file says something else."""
    return image.getexif().get(ExifTags.Base.Orientation, 1) if image.format in ORIENTED else 1


def _upright(image: ImageFile.ImageFile) -> Image.Image:
    image.load()  # which turns a TIFF, and leaves nothing for us to do
    turn = TURNS.get(_orientation(image))
    return image if turn is None else image.transpose(turn)


def _raw_mode(tile: Any) -> str:
    arguments = tile[3]
    return str(arguments[0] if isinstance(arguments, tuple) else arguments)


def _values(image: Image.Image) -> np.ndarray:
    if image.mode in AS_THEY_ARE:
        values = np.asarray(image)
        # Before Pillow 11 grey of 16 bits in a PNG came as 32.
        return values.astype(np.uint16) if (image.mode, image.format) == ("I", "PNG") else values
    return np.asarray(image.convert("L" if image.mode in GREY else "RGB"))


def _scaled(values: np.ndarray) -> np.ndarray:
    scaled = values.astype(np.float32)
    return scaled / np.float32(np.iinfo(values.dtype).max) if values.dtype.kind == "u" else scaled


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
