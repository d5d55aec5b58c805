"""Pictures out of videos: the right part of the frame, upright, and of the right size."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from extraction import PNG, one, pairs, rows
from soundsight.datasets.from_video import Settings
from videos import noise, steady, write_video

pytest.importorskip("av")


def pattern(width: int, height: int) -> NDArray[np.uint8]:
    """(H, W, 3): soft waves of all three colours, nothing symmetric about them."""
    x, y = np.arange(width) / width, np.arange(height)[:, None] / height
    waves = [np.sin(9 * x + 4 * y), np.cos(14 * x * y + 1), np.sin(5 * y - 11 * x * x)]
    return np.stack([np.round(127 + 110 * wave) for wave in np.broadcast_arrays(*waves)], axis=2).astype(np.uint8)


def write_picture(path: Path, image: NDArray[np.uint8], **options: object) -> Path:
    """A video of 2 s that shows one picture, without loss."""
    height, width = image.shape[:2]
    lossless: dict[str, object] = {"video": "ffv1", "pixels": "bgr0"}
    shown = {"size": (width, height), "images": [image] * 50}
    return write_video(path, steady(2), sound=noise(2), **shown, **(lossless | options))  # type: ignore[arg-type]


def only_picture(folder: Path) -> NDArray[np.float64]:
    (row,) = rows(folder)
    with Image.open(folder / row["image"]) as image:
        assert image.mode == "RGB"
        return np.asarray(image, np.float64)


def squared(image: NDArray[np.uint8], size: int) -> NDArray[np.float64]:
    """The reference: Pillow's own way from the whole image to a part of it at another size."""
    height, width = image.shape[:2]
    side = min(height, width)
    left, top = (width - side) / 2, (height - side) / 2
    box = (left, top, left + side, top + side)
    return np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.BICUBIC, box=box), np.float64)


@pytest.mark.parametrize(
    ("width", "height", "size"),
    [(320, 180, 64), (180, 320, 64), (97, 64, 32), (64, 97, 32), (96, 96, 16), (64, 48, 256)],
)
def test_the_picture_is_the_middle_of_the_frame(width: int, height: int, size: int, tmp_path: Path) -> None:
    image = pattern(width, height)
    one(write_picture(tmp_path / "film.mkv", image), tmp_path / "pairs", Settings(suffix="png", size=size))
    found = only_picture(tmp_path / "pairs")
    assert found.shape == (size, size, 3)
    distance = np.abs(found - squared(image, size))
    assert distance.mean() < 0.5
    assert distance.max() < 16  # along the edge, where the reference knows what lies beyond it
    moved = np.abs(found - np.roll(squared(image, size), 1, axis=1))[:, 1:].mean()
    assert moved > 2 * distance.mean(), "a picture moved by a pixel would be noticed"


def test_jpeg_is_near_the_picture_and_much_smaller(tmp_path: Path) -> None:
    image = pattern(320, 180)
    one(write_picture(tmp_path / "film.mkv", image), tmp_path / "pairs", Settings(size=128))
    (row,) = rows(tmp_path / "pairs")
    assert row["image"].endswith(".jpg")
    assert np.abs(only_picture(tmp_path / "pairs") - squared(image, 128)).mean() < 2
    assert (tmp_path / "pairs" / row["image"]).stat().st_size < 128 * 128


def test_pixels_that_are_not_square(tmp_path: Path) -> None:
    # DVDs store a wide picture in narrow frames: 160 by 180 pixels, each twice as wide as high, show 320 by 180.
    image = pattern(320, 180)
    stored = np.asarray(Image.fromarray(image).resize((160, 180), Image.Resampling.BOX))
    video = write_picture(
        tmp_path / "film.mkv", stored, aspect=Fraction(2), video="libx264", pixels="yuv444p", options={"crf": "1"}
    )
    one(video, tmp_path / "pairs", PNG)
    assert np.abs(only_picture(tmp_path / "pairs") - squared(image, 64)).mean() < 2


@pytest.mark.parametrize(
    ("matrix", "quarters"),
    [((0, 1, -1, 0), -1), ((-1, 0, 0, -1), 2), ((0, -1, 1, 0), 1), ((1, 0, 0, 1), 0)],
)
def test_a_camera_that_was_turned(matrix: tuple[int, ...], quarters: int, tmp_path: Path) -> None:
    image = pattern(128, 96)
    video = write_picture(
        tmp_path / "film.mp4", image, audio="aac", video="libx264", pixels="yuv420p", options={"crf": "1"}
    )
    # The matrix of the track's header, ISO/IEC 14496-12, 8.3.2: (x, y) is shown at (a x + c y, b x + d y).
    data = bytearray(video.read_bytes())
    at = data.index(b"tkhd") + 4 + 40
    a, b, c, d = matrix
    data[at : at + 36] = np.array([a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30], ">i4").tobytes()
    video.write_bytes(data)
    one(video, tmp_path / "pairs", PNG)
    upright = np.rot90(squared(image, 64), quarters)
    assert np.abs(only_picture(tmp_path / "pairs") - upright).mean() < 6
    for other in range(1, 4):
        assert np.abs(only_picture(tmp_path / "pairs") - np.rot90(upright, other)).mean() > 20


def test_frames_that_change_their_size(tmp_path: Path) -> None:
    """As a live stream does when the line gets worse."""
    import av

    small = write_video(tmp_path / "small.ts", steady(2), sound=noise(2), size=(64, 48), audio="aac")
    large = write_video(tmp_path / "large.ts", steady(2), sound=noise(2), size=(192, 108), audio="aac")
    joined = tmp_path / "film.ts"
    with av.open(str(joined), "w", format="mpegts") as out, av.open(str(small)) as first, av.open(str(large)) as second:
        tracks = [out.add_stream_from_template(track) for track in first.streams]
        for part, late in ((first, 0), (second, 3)):
            for packet in part.demux():
                if packet.dts is not None:
                    packet.pts += round(late / packet.time_base)
                    packet.dts += round(late / packet.time_base)
                    packet.stream = tracks[packet.stream.index]
                    out.mux(packet)
    one(joined, tmp_path / "pairs", replace(PNG, every_s=0.8, window_s=0.1))
    # The second, from 3 s on, has its frames 5, 25 and 45 there; at 2.4 s the last of the first is still to be seen.
    found = {time_s: number for time_s, number, _ in pairs(tmp_path / "pairs")}
    assert found == {0: 0, 0.8: 20, 1.6: 40, 1.96: 49, 3.2: 5, 4.0: 25, 4.8: 45}
