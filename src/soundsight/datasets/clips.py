"""One video to the files of one clip: pictures on this thread, the sound around them on another."""

from __future__ import annotations

import io
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from PIL import Image

from soundsight.audio.header import ends_early
from soundsight.audio.source import open_source
from soundsight.datasets.footage import Note, file_stem
from soundsight.datasets.frames import Pictures, Watch
from soundsight.datasets.windows import Cut, Float32, Moments, cut, encode_wav
from soundsight.errors import DatasetError

__all__ = ["Settings", "Stopped", "make_clip"]

_EDGE, _GAP = "too near the beginning or the end of the sound", "beside a gap in the sound"
_ENCODING: dict[str, dict[str, Any]] = {
    "jpg": {"format": "JPEG", "quality": 92},
    "png": {"format": "PNG", "compress_level": 2},
}


@dataclass(frozen=True, slots=True)
class Settings:
    """How pairs are made.

    Attributes:
        every_s: Seconds between pictures, 0.04 or more.
        window_s: Seconds of sound around each, 0.02 to 60.
        size: Height and width of the pictures in pixels, 16 to 1024.
        rate_hz: Sample rate of the sounds, 1 kHz to 192 kHz.
        suffix: Format of the pictures.
        keyframes: Take key frames alone, ``every_s`` apart or more.

    Raises:
        DatasetError: A number is out of its range.
    """

    every_s: float = 1.0
    window_s: float = 1.0
    size: int = 256
    rate_hz: int = 16_000
    suffix: Literal["jpg", "png"] = "jpg"
    keyframes: bool = False

    def __post_init__(self) -> None:
        for key, value, low, high in (
            ("every", self.every_s, 0.04, 86_400),
            ("window", self.window_s, 0.02, 60),
            ("size", self.size, 16, 1024),
            ("rate", self.rate_hz, 1_000, 192_000),
        ):
            if not low <= value <= high:
                raise DatasetError(f"{key} is {value:g}; expected {low:g} to {high:g}")

    @property
    def options(self) -> dict[str, Any]:
        """The same by the names of the command's options."""
        return {
            "every": float(self.every_s),
            "window": float(self.window_s),
            "size": self.size,
            "rate": self.rate_hz,
            "format": self.suffix,
            "keyframes": self.keyframes,
        }


class Stopped(Exception):  # noqa: N818 - nothing is wrong
    """Nobody wants the clip any more."""


def make_clip(
    video: Path, folder: Path, settings: Settings, *, num_threads: int, watch: Watch, stop: threading.Event
) -> Note:
    """Write the pictures and sounds of a video into a folder.

    Args:
        video: The file.
        folder: Where to, empty; to be thrown away if this fails.
        settings: What to make.
        num_threads: Threads of the decoder of pictures.
        watch: Told how much of the video has been looked at.
        stop: Set from outside to end the work with ``Stopped``.

    Returns:
        What was made, and of what.

    Raises:
        AudioError: It is no video, or damaged.
        DatasetError: It lacks something, ends early, or gives no pair.
        OSError: It cannot be read, or the files cannot be written.
        Stopped: ``stop`` was set.
    """
    status = video.stat()
    source, what = open_source(video, "video")
    with source:
        if ends_early(source, source.read(64)):
            raise DatasetError(f"{what}: ends early, the file is cut short; expected all that its header announces")
        pictures = Pictures(
            source,
            what,
            every_s=settings.every_s,
            size=settings.size,
            keyframes=settings.keyframes,
            num_threads=num_threads,
            watch=partial(_watch, watch, stop),
        )
        times_ms, found = _write(video, pictures, folder, settings, stop)
    _check_end(what, pictures, found)
    if not found.whole:
        raise DatasetError(
            f"{what}: no pair: none of the pictures taken ({len(times_ms)}) has {settings.window_s:g} s of sound "
            f"around it, and the sound lasts {found.end_s - found.start_s:.2f} s; choose a shorter window"
        )
    for index in set(range(len(times_ms))) - set(found.whole):
        _path(folder, times_ms[index], settings.suffix).unlink()
    left_out = {_EDGE: len(times_ms) - len(found.whole) - found.num_beside_gaps, _GAP: found.num_beside_gaps}
    return Note(
        source=os.path.abspath(video),  # noqa: PTH100 - Path.absolute() keeps the dots
        size=status.st_size,
        modified_ns=status.st_mtime_ns,
        duration_s=round(pictures.end_s - pictures.start_s, 3),
        times_ms=tuple(times_ms[index] for index in found.whole),
        left_out={reason: count for reason, count in left_out.items() if count},
    )


def _write(
    video: Path, pictures: Pictures, folder: Path, settings: Settings, stop: threading.Event
) -> tuple[list[int], Cut]:
    """All pictures, and the sounds of those that have one; the times of the former, and what there was to hear."""
    times_ms: list[int] = []
    moments = Moments()

    def write(index: int, samples_T: Float32) -> None:
        if stop.is_set():
            raise Stopped
        _path(folder, times_ms[index], "wav").write_bytes(encode_wav(samples_T, settings.rate_hz))

    # A file of its own: each reads at its own pace.
    source, what = open_source(video, "video")
    num_samples = round(settings.window_s * settings.rate_hz)
    with source, ThreadPoolExecutor(1) as aside:
        sounds = aside.submit(cut, source, what, moments, num_samples, settings.rate_hz, write)
        try:
            for time_ms, image in pictures:
                _path(folder, time_ms, settings.suffix).write_bytes(_encode(image, settings.suffix))
                times_ms.append(time_ms)
                moments.add(pictures.start_s + time_ms / 1000 - settings.window_s / 2)
        except BaseException:
            moments.abandon()
            raise
        moments.close()
        return times_ms, sounds.result()


def _watch(watch: Watch, stop: threading.Event, share: float) -> None:
    if stop.is_set():
        raise Stopped
    watch(share)


def _check_end(what: str, pictures: Pictures, found: Cut) -> None:
    """Raise where the file says that it plays for longer; Matroska's tracks do not say it for themselves."""
    if pictures.claimed_s is None:
        return
    # Where tracks begin late, Matroska counts from 0; other formats have said it of each track before.
    start_s, end_s = pictures.claimed_s
    claimed_s, there_s = end_s - start_s, max(pictures.end_s, found.end_s)
    if there_s < 0.95 * claimed_s - 0.5:
        raise DatasetError(f"{what}: ends early, after {there_s:.1f} s of {claimed_s:.1f} s; is it cut short?")


def _path(folder: Path, time_ms: int, suffix: str) -> Path:
    return folder / f"{file_stem(time_ms)}.{suffix}"


def _encode(image: Image.Image, suffix: str) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, **_ENCODING[suffix])
    return buffer.getvalue()
