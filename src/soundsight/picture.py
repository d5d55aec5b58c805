"""From a model's output to a picture that can be looked at and kept: scaling, grids, files with their origin inside.

Inside, pictures are float32 (C, H, W) in [0, 1]; from ``to_uint8`` on they are uint8 (H, W, C).
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from soundsight.errors import OutputError

__all__ = [
    "FORMATS",
    "Format",
    "default_size",
    "encode",
    "encode_npy",
    "grid",
    "grid_shape",
    "resize",
    "to_pil",
    "to_uint8",
]

Float32: TypeAlias = NDArray[np.float32]
UInt8: TypeAlias = NDArray[np.uint8]
Format: TypeAlias = Literal["png", "webp", "jpg", "npy"]
FORMATS: tuple[Format, ...] = get_args(Format)

MIN_SIZE, MAX_SIZE = 8, 4096
_USUAL_SIZE = 280
# Longest side of a sheet: what the format can hold, or what a viewer can be expected to open.
_MAX_SIDE = {"png": 65535, "jpg": 65500, "webp": 16383}
_MAX_GRID_PIXELS = 100_000_000

# Level 2 instead of zlib's usual 6: half the time for a tenth more bytes on scaled digits (benchmarks/generate.py).
_OPTIONS: dict[str, dict[str, Any]] = {
    "png": {"compress_level": 2},
    "webp": {"lossless": True, "quality": 50},
    "jpg": {"quality": 95, "subsampling": 0},
}
# From so many pixels on, WebP's quickest method: seconds less for little more; small pictures would grow threefold.
_LARGE_PIXELS = 1 << 22
_IMAGE_DESCRIPTION, _SOFTWARE = 0x010E, 0x0131


def default_size(height: int, width: int) -> int:
    """Long side in pixels that suits a screen: 280 for a picture of 28 pixels; large pictures stay as they are."""
    side = max(height, width)
    return min(MAX_SIZE, side * max(1, round(_USUAL_SIZE / side)))


def resize(image_CHW: Float32, size: int) -> Float32:
    """Scale so that the long side has ``size`` pixels.

    Lanczos' filter is sharp but overshoots at edges, which leaves ripples around a bright stroke. Every new pixel is
    therefore held within the range of the four old ones around it, where the picture grows.

    Args:
        image_CHW: (C, H, W) in [0, 1].
        size: Long side of the result.

    Returns:
        (C, H', W') float32 in [0, 1]; the same array if it has this size already.
    """
    height, width = image_CHW.shape[1:]
    scale = size / max(height, width)
    rows, columns = max(1, round(height * scale)), max(1, round(width * scale))
    if (rows, columns) == (height, width):
        return image_CHW
    planes = [Image.fromarray(plane).resize((columns, rows), Image.Resampling.LANCZOS) for plane in image_CHW]
    scaled_CHW: Float32 = np.stack([np.asarray(plane) for plane in planes])
    if scale < 1:
        scaled_CHW.clip(0, 1, out=scaled_CHW)
        return scaled_CHW
    low_CHW, high_CHW = _neighbourhood(image_CHW)
    block = _corner(rows, height)[:, None], _corner(columns, width)
    scaled_CHW.clip(low_CHW[:, *block], high_CHW[:, *block], out=scaled_CHW)
    return scaled_CHW


def _neighbourhood(image_CHW: Float32) -> tuple[Float32, Float32]:
    """Least and largest value of each 2×2 block, (C, H + 1, W + 1), with the border repeated."""
    padded = np.pad(image_CHW, ((0, 0), (1, 1), (1, 1)), mode="edge")
    pairs = padded[:, 1:], padded[:, :-1]
    low, high = np.minimum(*pairs), np.maximum(*pairs)
    return np.minimum(low[..., 1:], low[..., :-1]), np.maximum(high[..., 1:], high[..., :-1])


def _corner(new: int, old: int) -> NDArray[np.intp]:
    """For each new pixel along a side, the block of ``_neighbourhood`` its centre lies in."""
    # Whole numbers, so that a centre on the border between two blocks falls on the same side everywhere.
    return ((2 * np.arange(new) + 1) * old + new) // (2 * new)


def to_uint8(image_CHW: Float32) -> UInt8:
    """(C, H, W) float in [0, 1] to (H, W, C) uint8, rounded to the nearest level.

    >>> to_uint8(np.array([[[0.0, 0.5, 1.0]]], np.float32))[0, :, 0].tolist()
    [0, 128, 255]
    """
    return np.ascontiguousarray(np.moveaxis(image_CHW * np.float32(255) + np.float32(0.5), 0, 2).astype(np.uint8))


def to_pil(image_HWC: UInt8, metadata: Mapping[str, str | float] | None = None) -> Image.Image:
    """(H, W, 1 or 3) uint8 as a PIL picture of mode L or RGB, with ``metadata`` in its ``info``."""
    image = Image.fromarray(image_HWC[..., 0] if image_HWC.shape[2] == 1 else image_HWC)
    image.info.update(metadata or {})
    return image


def grid(rows: Sequence[Sequence[UInt8]]) -> UInt8:
    """One sheet: a row per sound, pictures side by side, short rows filled with the background.

    Args:
        rows: Pictures (H, W, C), all of one shape.

    Returns:
        (H', W', C) uint8; white gaps of a sixteenth of a picture between the pictures and around them.

    Raises:
        OutputError: The sheet would be too large to be of use.
    """
    height, width, channels = rows[0][0].shape
    sheet_height, sheet_width = grid_shape(len(rows), max(len(row) for row in rows), height, width)
    gap = _gap(height, width)
    sheet = np.full((sheet_height, sheet_width, channels), 255, np.uint8)
    for i, row in enumerate(rows):
        for j, image_HWC in enumerate(row):
            top, left = gap + i * (height + gap), gap + j * (width + gap)
            sheet[top : top + height, left : left + width] = image_HWC
    return sheet


def grid_shape(
    num_rows: int, num_columns: int, height: int, width: int, suffix: Format | None = None
) -> tuple[int, int]:
    """Height and width of a sheet of pictures.

    Raises:
        OutputError: It would be too large to be of use, or for the format.
    """
    gap = _gap(height, width)
    shape = gap + num_rows * (height + gap), gap + num_columns * (width + gap)
    if shape[0] * shape[1] > _MAX_GRID_PIXELS:
        raise OutputError(
            f"a grid of {num_rows} rows by {num_columns} pictures has {shape[0] * shape[1] / 1e6:,.0f} million pixels; "
            f"expected at most {_MAX_GRID_PIXELS // 10**6} million: choose a smaller --size, or fewer sounds"
        )
    if suffix is not None:
        _check_sides(*shape, suffix)
    return shape


def _check_sides(height: int, width: int, suffix: Format) -> None:
    if max(height, width) > _MAX_SIDE[suffix]:
        raise OutputError(
            f"a picture of {width} by {height} pixels; {suffix} holds at most {_MAX_SIDE[suffix]} on a side: choose a "
            "smaller --size, fewer pictures or another format"
        )


def _gap(height: int, width: int) -> int:
    return max(1, max(height, width) // 16)


class _Buffer(io.BytesIO):
    """Memory with a file name: by its suffix Pillow imports the one codec needed instead of five."""

    def __init__(self, suffix: str) -> None:
        super().__init__()
        self.name = f"picture.{suffix}"


def encode(image_HWC: UInt8, suffix: Format, metadata: Mapping[str, str | float]) -> bytes:
    """A picture as the contents of a file.

    Args:
        image_HWC: (H, W, 1 or 3) uint8.
        suffix: ``png``, ``webp`` (lossless) or ``jpg``.
        metadata: Where it comes from. PNG keeps a text chunk for each entry; the others keep all as JSON in EXIF's
            ImageDescription. ``to_pil(...).info`` holds the same.

    Raises:
        OutputError: The picture is too large for the format.
    """
    height, width = image_HWC.shape[:2]
    _check_sides(height, width, suffix)
    options = dict(_OPTIONS[suffix])
    if suffix == "png":
        options["pnginfo"] = _text_chunks(metadata)
    else:
        exif = Image.Exif()
        exif[_IMAGE_DESCRIPTION] = json.dumps(dict(metadata))
        exif[_SOFTWARE] = "soundsight"
        options["exif"] = exif
    if suffix == "webp" and height * width >= _LARGE_PIXELS:
        options["method"] = 0
    buffer = _Buffer(suffix)
    to_pil(image_HWC).save(buffer, **options)
    return buffer.getvalue()


def _text_chunks(metadata: Mapping[str, str | float]) -> Any:
    from PIL.PngImagePlugin import PngInfo

    chunks = PngInfo()
    for key, value in metadata.items():
        # A name from the file system may hold bytes that are no text.
        chunks.add_text(key, str(value).encode("utf-8", "backslashreplace").decode())
    return chunks


def encode_npy(images: UInt8) -> bytes:
    """An array (num_images, H, W, C) as the contents of a ``.npy`` file."""
    buffer = io.BytesIO()
    np.save(buffer, images, allow_pickle=False)
    return buffer.getvalue()
