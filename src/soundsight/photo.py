"""Any picture from a file, as a model wants it: whatever its size, mode, orientation and background."""

from __future__ import annotations

import hashlib
import stat
import warnings
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from soundsight.errors import ImageError

__all__ = ["MAX_BYTES", "fingerprint", "read", "read_square"]

Float32: TypeAlias = NDArray[np.float32]
UInt8: TypeAlias = NDArray[np.uint8]

MAX_BYTES = 64 << 20
"""Largest file that is read as a picture."""
_READABLE = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
_MAX_PIXELS = 50_000_000
# Larger pictures are read at this size, which is plenty for any model here.
_READ_SIDE = 1024
# Modes whose values can be averaged as they are.
_PLAIN = ("L", "RGB", "RGBA")
_ORIENTATION = 0x0112
# How a camera that was turned has to be turned back, by EXIF's number.
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# Pillow warns of large pictures as they are opened; the limit here is lower, and told in our words.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)


def read(path: str | Path, shape: tuple[int, int, int]) -> Float32:
    """Any picture as a model wants it: scaled to fit, in the middle, bright on dark for grey ones.

    Handwriting on paper is dark on bright, digits of MNIST are bright on black: a grey picture whose border is bright
    is turned into its negative. What is transparent is background.

    Args:
        path: A PNG, JPEG, WebP, GIF (its first frame), BMP or TIFF.
        shape: (C, H, W) of the result; C is 1 or 3.

    Returns:
        (C, H, W) float32 in [0, 1].

    Raises:
        ImageError: It is no picture, damaged, or too large.
    """
    channels, height, width = shape
    plain = _open(path).convert("L" if channels == 1 else "RGB")
    scale = min(height / plain.height, width / plain.width)
    columns, rows = max(1, round(plain.width * scale)), max(1, round(plain.height * scale))
    scaled = plain.resize((columns, rows), Image.Resampling.LANCZOS)
    pixels_HWC = np.asarray(scaled, np.float32).reshape(rows, columns, channels) / np.float32(255)
    edge_NC = np.concatenate([pixels_HWC[0], pixels_HWC[-1], pixels_HWC[:, 0], pixels_HWC[:, -1]])
    if channels == 1 and np.median(edge_NC) > 0.5:
        pixels_HWC, edge_NC = 1 - pixels_HWC, 1 - edge_NC
    framed_HWC = np.full((height, width, channels), np.median(edge_NC, axis=0), np.float32)
    top, left = (height - rows) // 2, (width - columns) // 2
    framed_HWC[top : top + rows, left : left + columns] = pixels_HWC
    return np.ascontiguousarray(np.moveaxis(framed_HWC, 2, 0))


def read_square(path: str | Path, size: int) -> UInt8:
    """The middle of any picture as a square in colour; one that has this size already is taken as it is.

    Args:
        path: As for ``read``.
        size: Side in pixels.

    Returns:
        (3, size, size) uint8.

    Raises:
        ImageError: It is no picture, damaged, or too large.
    """
    plain = _open(path).convert("RGB")
    side = min(plain.size)
    left, top = (plain.width - side) // 2, (plain.height - side) // 2
    square = plain.crop((left, top, left + side, top + side))
    if side != size:
        square = square.resize((size, size), Image.Resampling.LANCZOS)
    return np.ascontiguousarray(np.moveaxis(np.asarray(square), 2, 0))


def fingerprint(path: str | Path) -> tuple[int, int, bytes]:
    """Height and width of a picture, and SHA-256 of both and of its pixels as they are shown.

    Raises:
        ImageError: It is no picture, damaged, or too large.
    """
    shown = _open(path).convert("RGB")
    # Without its size, four pixels in a row would be the same picture as four in a square.
    digest = hashlib.sha256(repr(shown.size).encode() + shown.tobytes()).digest()
    with Image.open(path, formats=_READABLE) as image:
        return image.height, image.width, digest


def _open(path: str | Path) -> Image.Image:
    """Decode a file, upright, at most ``_READ_SIDE`` pixels a side, in front of its background."""
    try:
        status = Path(path).stat()
    except (OSError, ValueError) as error:
        raise ImageError(f"{path}: {getattr(error, 'strerror', None) or error}") from error
    if not stat.S_ISREG(status.st_mode):  # a pipe or a device may never end
        raise ImageError(f"{path}: a folder, pipe or device; expected the file of a picture")
    try:
        with Image.open(path, formats=_READABLE) as image:
            num_pixels = image.width * image.height
            fits = status.st_size <= MAX_BYTES and num_pixels <= _MAX_PIXELS
            shown = _reduced(image) if fits else None
    except ImageError as error:
        raise ImageError(f"{path}: {error}") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageError(f"{path}: far too many pixels; expected at most {_MAX_PIXELS // 10**6} million") from error
    except MemoryError as error:
        raise ImageError(f"{path}: not enough memory for it; make it smaller first") from error
    except Exception as error:  # decoders of damaged files raise whatever they come upon
        raise ImageError(f"{path}: no picture that can be read, or a damaged one") from error
    if shown is None:
        raise ImageError(
            f"{path}: {status.st_size:,} bytes, {num_pixels:,} pixels; expected a picture of at most "
            f"{MAX_BYTES >> 20} MiB and {_MAX_PIXELS // 10**6} million pixels"
        )
    backdrop = Image.new("RGBA", shown.size, _backdrop(shown))
    backdrop.alpha_composite(shown)
    return backdrop


def _reduced(image: Image.Image) -> Image.Image:
    """As RGBA, upright and small, with little memory on the way."""
    image.draft("RGB", (_READ_SIDE, _READ_SIDE))  # JPEG can be decoded at a fraction of its size
    grey: Image.Image = image
    if image.mode.startswith("I;16"):  # Pillow would clip all above 255 to white
        grey = Image.fromarray((np.asarray(image, np.uint16) >> 8).astype(np.uint8))
    elif image.mode in ("I", "F"):
        raise ImageError("32-bit levels, whose range is unknown; save it with 8 or 16 bits")
    if grey.mode in _PLAIN and "transparency" not in grey.info:
        grey.thumbnail((_READ_SIDE, _READ_SIDE))  # four values for each pixel of a large picture are a lot
    shown = grey.convert("RGBA")
    shown.thumbnail((_READ_SIDE, _READ_SIDE))
    orientation = image.getexif().get(_ORIENTATION)
    return shown.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else shown


def _backdrop(image: Image.Image) -> tuple[int, int, int, int]:
    """What lies behind a picture with transparent parts: black under bright strokes, white under dark ones."""
    rgba = np.asarray(image, np.float32)
    weight = rgba[..., 3]
    brightness = float((rgba[..., :3].mean(axis=2) * weight).sum() / max(float(weight.sum()), 1))
    level = 255 if brightness < 128 and float(weight.min()) < 255 else 0
    return level, level, level, 255
