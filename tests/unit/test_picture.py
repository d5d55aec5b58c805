"""Pictures: scaling without ripples, sheets, files that can be read again."""

from __future__ import annotations

import io
import json
import os
import struct
import tracemalloc
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from math import floor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image, ImageOps

from soundsight import photo, picture
from soundsight.errors import ImageError, OutputError
from soundsight.files import replace_file


def _random(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).random(shape, dtype=np.float32)


@given(arrays(np.float32, (1, 9, 7), elements=st.floats(0, 1, width=32)), st.integers(9, 60))
@settings(max_examples=30, deadline=None)
def test_growing_stays_within_the_old_pixels_around(image: np.ndarray, size: int) -> None:
    """No ripple can exist: each new pixel lies between the least and the largest of the old ones next to it."""
    big = picture.resize(image, size)
    height, width = big.shape[1:]
    assert max(height, width) == size
    for y in range(height):
        for x in range(width):
            # Exact: rounding must not move a centre that lies on an old one to the next block.
            row, column = Fraction(2 * y + 1, 2) * 9 / height, Fraction(2 * x + 1, 2) * 7 / width
            rows = np.clip(floor(row - Fraction(1, 2)) + np.array([0, 1]), 0, 8)
            columns = np.clip(floor(column - Fraction(1, 2)) + np.array([0, 1]), 0, 6)
            around = image[0][np.ix_(rows, columns)]
            assert around.min() - 1e-6 <= big[0, y, x] <= around.max() + 1e-6


def test_a_ramp_stays_a_ramp() -> None:
    """Interpolation is exact on what is linear, away from the border."""
    ramp = np.broadcast_to(np.linspace(0, 1, 28, dtype=np.float32), (1, 28, 28))
    big = picture.resize(np.ascontiguousarray(ramp), 280)[0, 140]
    expected = ((np.arange(280) + 0.5) / 10 - 0.5) / 27
    np.testing.assert_allclose(big[30:-30], expected[30:-30], atol=0.01)
    assert (np.diff(big) >= -1e-6).all()


def test_a_plain_picture_stays_plain_and_shrinking_keeps_the_mean() -> None:
    np.testing.assert_allclose(picture.resize(np.full((3, 28, 28), 0.3, np.float32), 77), 0.3, atol=1e-6)
    image = _random(1, 64, 64)
    small = picture.resize(image, 8)
    assert small.shape == (1, 8, 8)
    assert small.mean() == pytest.approx(image.mean(), abs=0.01)
    assert small.min() >= 0
    assert small.max() <= 1


def test_the_long_side_gets_the_size() -> None:
    assert picture.resize(_random(1, 20, 10), 40).shape == (1, 40, 20)
    assert picture.resize(_random(1, 10, 20), 40).shape == (1, 20, 40)
    image = _random(1, 28, 28)
    assert picture.resize(image, 28) is image


@pytest.mark.parametrize(("side", "size"), [(28, 280), (32, 288), (256, 256), (400, 400)])
def test_default_size_is_a_whole_multiple(side: int, size: int) -> None:
    assert picture.default_size(side, side) == size


def test_levels_are_rounded_to_the_nearest() -> None:
    levels = np.arange(256, dtype=np.float32) / 255
    np.testing.assert_array_equal(picture.to_uint8(levels.reshape(1, 16, 16)).ravel(), np.arange(256))
    shifted = picture.to_uint8((levels[None, None] + 0.49 / 255).clip(0, 1)).ravel()
    np.testing.assert_array_equal(shifted, np.arange(256))


def test_channels_move_last() -> None:
    image = _random(3, 4, 5)
    np.testing.assert_array_equal(picture.to_uint8(image)[2, 3], np.round(image[:, 2, 3] * 255))


def _shades(*rows: list[int]) -> list[list[np.ndarray]]:
    return [[np.full((32, 32, 1), shade, np.uint8) for shade in row] for row in rows]


def test_a_grid_has_a_row_for_each_sound() -> None:
    sheet = picture.grid(_shades([10, 20, 30], [40]))
    gap = 2
    assert sheet.shape == (gap + 2 * (32 + gap), gap + 3 * (32 + gap), 1)
    for row, column, shade in ((0, 0, 10), (0, 1, 20), (0, 2, 30), (1, 0, 40), (1, 1, 255)):
        top, left = gap + row * (32 + gap), gap + column * (32 + gap)
        assert (sheet[top : top + 32, left : left + 32] == shade).all()
    assert (sheet[:gap] == 255).all()
    assert (sheet[:, gap + 32 : 2 * gap + 32] == 255).all()


def test_a_grid_has_a_limit() -> None:
    with pytest.raises(OutputError, match="smaller --size"):
        picture.grid_shape(100_000, 1, 280, 280)


METADATA: dict[str, str | int] = {"sound": "süß.wav", "model": "digits", "seed": 2**64 - 1, "index": 0}


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("suffix", ["png", "webp", "jpg"])
def test_files_are_read_again(suffix: picture.Format, channels: int) -> None:
    image = picture.to_uint8(picture.resize(_random(channels, 7, 7), 56))
    with Image.open(io.BytesIO(picture.encode(image, suffix, METADATA))) as read:
        assert read.format == {"png": "PNG", "webp": "WEBP", "jpg": "JPEG"}[suffix]
        found = np.asarray(read.convert("L" if channels == 1 else "RGB")).reshape(56, 56, channels)
        told = read.info if suffix == "png" else json.loads(read.getexif()[0x010E])
    if suffix == "jpg":
        assert np.abs(found.astype(int) - image).mean() < 3
    else:
        np.testing.assert_array_equal(found, image)
    assert {key: str(told[key]) for key in METADATA} == {key: str(value) for key, value in METADATA.items()}


def test_of_the_lossless_formats_webp_is_the_smaller() -> None:
    """Its quickest method makes files of a usual size larger than PNG's; it is for huge ones only."""
    rows, cols = np.mgrid[:280, :280] - 140
    ring = np.exp(-(((np.hypot(rows, cols) - 80) / 25) ** 2))
    image = picture.to_uint8(ring[None].astype(np.float32))
    assert len(picture.encode(image, "webp", {})) < 0.8 * len(picture.encode(image, "png", {}))


def test_huge_webp_takes_the_quickest_method() -> None:
    """Which is told by its bytes: they are those of method 0, and not those of the usual one."""
    rows, cols = np.mgrid[:2048, :2048]
    image = ((rows * cols >> 9) & 255).astype(np.uint8)[..., None]
    found = picture.encode(image, "webp", {})
    sizes = []
    for method in (0, 4):
        buffer = io.BytesIO()
        Image.fromarray(image[..., 0]).save(buffer, "webp", lossless=True, quality=50, method=method)
        sizes.append(len(buffer.getvalue()))
    assert abs(len(found) - sizes[0]) < 200 < abs(sizes[1] - sizes[0])  # EXIF beside it
    with Image.open(io.BytesIO(found)) as read:
        np.testing.assert_array_equal(np.asarray(read.convert("L")), image[..., 0])


def test_a_name_that_is_no_text_still_gives_a_file() -> None:
    data = picture.encode(np.zeros((8, 8, 1), np.uint8), "png", {"sound": "bad\udcff\n.wav"})
    with Image.open(io.BytesIO(data)) as read:
        assert read.info["sound"] == "bad\\udcff\n.wav"


def test_pil_pictures_carry_their_origin() -> None:
    image = picture.to_pil(np.zeros((8, 8, 3), np.uint8), METADATA)
    assert (image.mode, image.info) == ("RGB", METADATA)
    assert picture.to_pil(np.zeros((8, 8, 1), np.uint8)).mode == "L"


def test_npy_is_read_without_pickle() -> None:
    images = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4, 1)
    np.testing.assert_array_equal(np.load(io.BytesIO(picture.encode_npy(images)), allow_pickle=False), images)


def test_too_large_for_the_format() -> None:
    with pytest.raises(OutputError, match="webp holds at most 16383"):
        picture.encode(np.zeros((16384, 1, 1), np.uint8), "webp", {})


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.png"
    replace_file(path, b"old")
    replace_file(path, b"new")
    assert path.read_bytes() == b"new"

    def full(self: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="No space"):
        replace_file(path, b"newer")
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]
    assert path.read_bytes() == b"new"


def test_interrupted_while_writing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(self: Path, target: Path) -> Path:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        replace_file(tmp_path / "a.png", b"x")
    assert list(tmp_path.iterdir()) == []


def _write(path: Path, pixels: np.ndarray, mode: str | None = None) -> Path:
    Image.fromarray(pixels, mode).save(path)
    return path


def _stroke() -> np.ndarray:
    """Bright on black, off the middle."""
    pixels = np.zeros((28, 28), np.uint8)
    pixels[7:14, 9:14] = 255
    return pixels


def test_a_picture_of_ours_is_read_as_it_was(tmp_path: Path) -> None:
    image_CHW = _random(1, 28, 28)
    image_CHW[:, [0, -1]] = image_CHW[:, :, [0, -1]] = 0
    path = tmp_path / "ours.png"
    replace_file(path, picture.encode(picture.to_uint8(image_CHW), "png", {}))
    np.testing.assert_allclose(photo.read(path, (1, 28, 28)), image_CHW, atol=0.5 / 255 + 1e-6)


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "gif", "bmp", "tiff"])
def test_every_usual_format_is_read(tmp_path: Path, suffix: str) -> None:
    found = photo.read(_write(tmp_path / f"stroke.{suffix}", _stroke().repeat(10, 0).repeat(10, 1)), (1, 28, 28))
    assert found.shape == (1, 28, 28)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found[0], _stroke() / 255, atol=0.2)


def test_ink_on_paper_becomes_light_on_dark(tmp_path: Path) -> None:
    paper = photo.read(_write(tmp_path / "paper.png", 255 - _stroke()), (1, 28, 28))
    np.testing.assert_allclose(paper[0], _stroke() / 255, atol=1e-6)
    coloured = 255 - np.stack([_stroke()] * 3, axis=-1)
    kept = photo.read(_write(tmp_path / "colour.png", coloured), (3, 28, 28))
    np.testing.assert_allclose(kept, np.moveaxis(coloured, 2, 0) / 255, atol=1e-6)


@pytest.mark.parametrize("ink", [0, 255])
def test_what_is_transparent_is_background(tmp_path: Path, ink: int) -> None:
    rgba = np.full((28, 28, 4), ink, np.uint8)
    rgba[..., 3] = _stroke()
    found = photo.read(_write(tmp_path / "transparent.png", rgba, "RGBA"), (1, 28, 28))
    np.testing.assert_allclose(found[0], _stroke() / 255, atol=1e-6)


def test_a_picture_of_another_shape_keeps_its_proportions(tmp_path: Path) -> None:
    wide = np.zeros((50, 100), np.uint8)
    wide[10:40, 40:60] = 255
    found = photo.read(_write(tmp_path / "wide.png", wide), (1, 28, 28))[0]
    assert not found[:7].any()
    assert not found[-7:].any()
    ink = np.argwhere(found > 0.5)
    height, width = np.ptp(ink, axis=0) + 1
    assert height / width == pytest.approx(30 / 20, abs=0.3)


def _png_bomb(path: Path) -> None:
    Image.new("L", (9000, 9000)).save(path)


def _bomb() -> bytes:
    """The beginning of a PNG of 100,000 by 100,000 pixels."""
    chunks = b"IHDR" + struct.pack(">IIBBBBB", 100_000, 100_000, 8, 0, 0, 0, 0), b"IDAT" + zlib.compress(b"")
    packed = (struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


UNREADABLE = {
    "a text": (lambda path: path.write_text("seven"), "no picture"),
    "empty": (lambda path: path.write_bytes(b""), "no picture"),
    "cut": (
        lambda path: path.write_bytes(picture.encode(np.zeros((99, 99, 1), np.uint8), "png", {})[:60]),
        "no picture",
    ),
    "too many pixels": (_png_bomb, "81,000,000 pixels"),
    "a folder": (Path.mkdir, "a folder, pipe or device"),
    "a pipe, which never ends": (os.mkfifo, "a folder, pipe or device"),
    "floating point": (lambda path: Image.fromarray(np.zeros((9, 9), np.float32)).save(path, "TIFF"), "32-bit levels"),
    "more pixels than Pillow warns of": (
        lambda path: Image.new("1", (9700, 9700)).save(path),
        "94,090,000 pixels|far too many pixels",
    ),
    "more pixels than Pillow opens": (lambda path: path.write_bytes(_bomb()), "far too many pixels"),
    "absent": (lambda path: None, "No such file"),
    "PostScript, which is a program": (
        lambda path: path.write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"),
        "no picture",
    ),
}


@pytest.mark.parametrize(("make", "message"), UNREADABLE.values(), ids=UNREADABLE.keys())
def test_what_is_no_picture_is_refused_in_one_line(tmp_path: Path, make, message) -> None:
    path = tmp_path / "picture.png"
    make(path)
    with pytest.raises(ImageError, match=message) as caught:
        photo.read(path, (1, 28, 28))
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_file_that_is_too_large_is_not_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(photo, "MAX_BYTES", 10)
    with pytest.raises(ImageError, match="at most 0 MiB"):
        photo.read(_write(tmp_path / "big.png", _stroke()), (1, 28, 28))


def test_sixteen_bits_are_read_to_scale(tmp_path: Path) -> None:
    levels = _stroke().astype(np.uint16) * 257 // 3
    Image.fromarray(levels).save(tmp_path / "deep.png")
    np.testing.assert_allclose(photo.read(tmp_path / "deep.png", (1, 28, 28))[0], _stroke() / 255 / 3, atol=0.01)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_what_a_turned_camera_took_is_upright(tmp_path: Path, orientation: int) -> None:
    """As Pillow's own ImageOps turns it."""
    image = Image.fromarray(_stroke().repeat(8, 0).repeat(8, 1))
    exif = Image.Exif()
    exif[0x0112] = orientation
    image.save(tmp_path / "turned.jpg", exif=exif, quality=100)
    with Image.open(tmp_path / "turned.jpg") as turned:
        ImageOps.exif_transpose(turned).save(tmp_path / "upright.png")
    found, wanted = (photo.read(tmp_path / name, (1, 28, 28)) for name in ("turned.jpg", "upright.png"))
    np.testing.assert_allclose(found, wanted, atol=0.03)


def test_a_large_photo_takes_little_memory(tmp_path: Path) -> None:
    path = _write(tmp_path / "large.png", np.zeros((6000, 8000), np.uint8))
    tracemalloc.start()
    photo.read(path, (1, 28, 28))
    _, peak = tracemalloc.get_traced_memory()  # NumPy's; Pillow's own is that of the decoded picture
    tracemalloc.stop()
    assert peak < 64 << 20


def test_reading_pictures_changes_no_warnings(tmp_path: Path) -> None:
    path = _write(tmp_path / "stroke.png", _stroke())
    before = list(warnings.filters)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: photo.read(path, (1, 28, 28)), range(100)))
    assert warnings.filters == before
