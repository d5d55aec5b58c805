"""Pictures out of a video: the frame shown every so often, or the key frames alone, square and of one size."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from soundsight.audio.container import open_container
from soundsight.audio.source import Source
from soundsight.errors import DatasetError

__all__ = ["Pictures", "Watch", "shown"]

Item = TypeVar("Item")
UInt8 = NDArray[np.uint8]
# Told which part of the video has been looked at, from 0 to 1; may raise to stop the work.
Watch = Callable[[float], None]

_MAX_PIXELS = 50_000_000
# Codecs that store frames in whatever order they like. AVI keeps no times, and FFmpeg's guess is several frames wrong.
_LATE = ("h264", "hevc", "vvc")
# How a frame has to be turned to stand upright, by FFmpeg's angle, which like Pillow's is counter-clockwise.
_UPRIGHT = {90: Image.Transpose.ROTATE_90, 180: Image.Transpose.ROTATE_180, 270: Image.Transpose.ROTATE_270}


class Pictures:
    """The picture track of a video, to be gone through once.

    Args:
        source: The video.
        what: Its name, for messages.
        every_s: Seconds between pictures.
        size: Height and width of the pictures in pixels.
        keyframes: Decode key frames alone: every one that comes at least ``every_s`` after the one before.
        num_threads: Threads of the decoder.
        watch: Called after each frame.

    Attributes:
        start_s: When the first frame is shown, in seconds on the clock that all tracks share; known after the first.
        end_s: When the last one has been shown; known at the end, like all that follows.
        claimed_s: From when to when the file as a whole says that it plays, or None.
    """

    def __init__(
        self,
        source: Source,
        what: str,
        *,
        every_s: float,
        size: int,
        keyframes: bool = False,
        num_threads: int = 1,
        watch: Watch | None = None,
    ) -> None:
        self._source, self._what = source, what
        self._every_ms, self._size, self._keyframes = 1000 * every_s, size, keyframes
        self._num_threads, self._watch = num_threads, watch or (lambda _: None)
        self.start_s, self.end_s = math.nan, -math.inf
        self.claimed_s: tuple[float, float] | None = None

    def __iter__(self) -> Iterator[tuple[int, Image.Image]]:
        """Milliseconds after the first frame, rising, and the picture then.

        Raises:
            AudioError: It is no video in a known format, or damaged.
            DatasetError: It lacks pictures or sound, ends early, is too large, or does not say what is shown when.
            MissingExtraError: PyAV is not installed.
        """
        with open_container(self._source, self._what, "video") as opened:
            stream = self._track(opened)
            if opened.duration:
                start_s = (opened.start_time or 0) / 1e6
                self.claimed_s = start_s, start_s + opened.duration / 1e6
            aspect = float(stream.sample_aspect_ratio or 1)
            frames = self._key_frames(stream, opened) if self._keyframes else self._shown(stream, opened)
            to_rgb = _converter()
            for time_ms, frame in frames:
                yield time_ms, _square(to_rgb(frame), aspect, frame.rotation, self._size)
            if math.isnan(self.start_s):
                raise DatasetError(f"{self._what}: no picture in it can be decoded; expected a video")
            self._check_end(stream)

    def _track(self, opened: Any) -> Any:
        """The picture track, ready to be decoded."""
        from av.stream import Disposition

        stream = opened.streams.best("video")
        # The cover of a piece of music is stored as a film of one frame.
        if stream is None or stream.disposition & Disposition.attached_pic:
            raise DatasetError(f"{self._what}: has no picture track; expected a video")
        if opened.streams.best("audio") is None:
            raise DatasetError(f"{self._what}: has no sound track; expected a video with sound")
        codec = stream.codec_context
        if codec.width * codec.height > _MAX_PIXELS:
            raise DatasetError(
                f"{self._what}: {codec.width} by {codec.height} pixels; expected at most {_MAX_PIXELS // 10**6} million"
            )
        if opened.format.name == "avi" and codec.has_b_frames and codec.name in _LATE:
            raise DatasetError(
                f"{self._what}: AVI cannot say when frames of {codec.name} with B-frames are shown; convert it to MP4"
            )
        codec.thread_count = self._num_threads
        # A key frame is decoded alone: there is no next one for another thread to begin.
        codec.thread_type = "SLICE" if self._keyframes else "AUTO"
        return stream

    def _shown(self, stream: Any, opened: Any) -> Iterator[tuple[int, Any]]:
        return shown(self._timed(stream, opened), self._every_ms)

    def _timed(self, stream: Any, opened: Any) -> Iterator[tuple[int, Any]]:
        """All frames in the order in which they are shown, and at last the end, with None."""
        last_ms, seconds = 0, float(stream.time_base)
        for packet in self._packets(stream, opened):
            for frame in packet.decode():
                time_ms = self._time_ms(frame, seconds)
                if time_ms < last_ms:
                    raise DatasetError(
                        f"{self._what}: the times of its pictures go back, from {last_ms / 1000:.3f} s to "
                        f"{time_ms / 1000:.3f} s; convert it to MP4 first"
                    )
                last_ms = time_ms
                yield time_ms, frame
        if not math.isnan(self.start_s):
            yield max(last_ms + 1, round(1000 * (self.end_s - self.start_s))), None

    def _key_frames(self, stream: Any, opened: Any) -> Iterator[tuple[int, Any]]:
        """Key frames far enough apart; nothing else is decoded.

        Each is decoded alone: where B-frames reach over a key frame, a decoder that sees key frames only would lose
        some and put others out of order. FFmpeg's own skip_frame does, and some decoders do not know it.
        """
        codec, seconds, next_ms = stream.codec_context, float(stream.time_base), -math.inf
        for packet in self._packets(stream, opened):
            if not packet.is_keyframe or packet.size == 0:
                continue
            if packet.pts is not None and 1000 * (packet.pts * seconds - self.start_s) < next_ms - 0.5:
                continue
            for frame in [*codec.decode(packet), *codec.decode(None)]:
                time_ms = self._time_ms(frame, seconds)
                if time_ms >= next_ms - 0.5:
                    next_ms = time_ms + self._every_ms
                    yield time_ms, frame
            codec.flush_buffers()

    def _packets(self, stream: Any, opened: Any) -> Iterator[Any]:
        """The track's packets; keeps account of its end and of how far the work is."""
        seconds = float(stream.time_base)  # a fraction would be exact, and take as long as the rest of the loop
        for packet in opened.demux(stream):
            if packet.is_corrupt:
                raise self._damaged(packet.pts, seconds)
            if packet.pts is not None:
                self.end_s = max(self.end_s, (packet.pts + (packet.duration or 0)) * seconds)
                if self.claimed_s is not None:
                    start_s, end_s = self.claimed_s
                    self._watch(min(1.0, max(0.0, (self.end_s - start_s) / (end_s - start_s))))
            yield packet

    def _time_ms(self, frame: Any, seconds: float) -> int:
        """When a frame is shown, after the first; to the millisecond, which is all that some formats keep."""
        if frame.is_corrupt:
            raise self._damaged(frame.pts, seconds)
        if frame.pts is None:
            raise DatasetError(f"{self._what}: does not say when its pictures are shown; convert it to MP4 first")
        if frame.width * frame.height > _MAX_PIXELS:
            raise DatasetError(f"{self._what}: grows to {frame.width} by {frame.height} pixels; expected a video")
        time_s: float = frame.pts * seconds
        if math.isnan(self.start_s):
            self.start_s = time_s
        return round(1000 * (time_s - self.start_s))

    def _damaged(self, pts: int | None, seconds: float) -> DatasetError:
        start_s = 0.0 if math.isnan(self.start_s) else self.start_s
        where = "" if pts is None else f" at {pts * seconds - start_s:.1f} s"
        return DatasetError(f"{self._what}: its pictures are damaged{where}; nothing is taken from it")

    def _check_end(self, stream: Any) -> None:
        """Raise where the track says that it is longer; tracks of one file differ by a little, a cut is more."""
        if stream.duration is None or stream.start_time is None:
            return
        claimed_s = float(stream.duration * stream.time_base)
        there_s = self.end_s - float(stream.start_time * stream.time_base)
        if there_s < 0.95 * claimed_s - 0.5:
            raise DatasetError(
                f"{self._what}: its pictures end early, after {there_s:.1f} s of {claimed_s:.1f} s; is it cut short?"
            )


def shown(frames: Iterable[tuple[int, Item | None]], every_ms: float) -> Iterator[tuple[int, Item]]:
    """Of frames shown one after the other, those that are on the screen at 0, 1, 2, … times ``every_ms``.

    A frame that stays for long is given once.

    Args:
        frames: When each appears, in milliseconds from 0 on, not falling; the last is the end, with None.
        every_ms: Above 0.

    Yields:
        Time and frame, the times rising.

    >>> list(shown([(0, "a"), (30, "b"), (60, "c"), (250, "d"), (280, None)], 100))
    [(0, 'a'), (60, 'c')]
    """
    before: tuple[int, Item] | None = None
    wanted_ms = 0.0
    for time_ms, frame in frames:
        # Times are whole milliseconds, so that a frame may seem to be half a one late.
        if before is not None and time_ms > wanted_ms + 0.5:
            yield before
        if time_ms > wanted_ms + 0.5:
            wanted_ms = every_ms * math.ceil((time_ms - 0.5) / every_ms)
        if frame is not None:
            before = time_ms, frame


def _converter() -> Callable[[Any], UInt8]:
    """From PyAV's frames to (H, W, 3) uint8; one for a whole video, as making one takes longer than using it."""
    import av
    from av.video.reformatter import VideoReformatter

    # Since 17 it would call upon all processors, and wait for them, for a tenth of a millisecond of work.
    options = {"threads": 1} if int(av.__version__.partition(".")[0]) >= 17 else {}
    reformatter: Any = VideoReformatter()
    return lambda frame: reformatter.reformat(frame, format="rgb24", **options).to_ndarray()


def _square(frame_HWC: UInt8, aspect: float, degrees: int, size: int) -> Image.Image:
    """The middle of a frame, upright, ``size`` by ``size`` pixels of RGB.

    Pillow's bicubic filter on the exact square costs 1 ms more than swscale on the nearest whole pixels, which moves
    the picture by up to half a pixel; decoding a second of video costs 20 times as much.

    Args:
        frame_HWC: (H, W, 3) uint8.
        aspect: Width of a pixel of the frame, in its heights.
        degrees: How far to turn it counter-clockwise; what is no quarter turn is left.
        size: Side of the result.
    """
    height, width = frame_HWC.shape[:2]
    side = min(width * aspect, height)
    left, top = (width - side / aspect) / 2, (height - side) / 2
    # Cut out by whole pixels first: Pillow copies what it is given.
    x, y = int(left), int(top)
    cropped = Image.fromarray(frame_HWC[y : math.ceil(height - top), x : math.ceil(width - left)])
    box = (left - x, top - y, min(width - left - x, cropped.width), min(height - top - y, cropped.height))
    scaled = cropped.resize((size, size), Image.Resampling.BICUBIC, box=box, reducing_gap=2.0)
    turn = _UPRIGHT.get(degrees % 360)
    return scaled if turn is None else scaled.transpose(turn)
