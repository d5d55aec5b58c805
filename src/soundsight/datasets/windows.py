"""The sound around moments of a video: windows of one length, cut while the track is decoded."""

from __future__ import annotations

import io
import threading
import wave
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from soundsight.audio.container import timed_blocks
from soundsight.audio.mixer import Downmix, Resampler
from soundsight.audio.source import Source
from soundsight.errors import AudioError

__all__ = ["Abandoned", "Cut", "Float32", "Moments", "Write", "cut", "encode_wav"]

Float32 = NDArray[np.float32]
# Takes the position of a window and its samples (T,).
Write = Callable[[int, Float32], None]

# Sound that comes 45 ms early is noticed beside its picture (ITU-R BT.1359-1): a track whose times part from the count
# of its samples by nearly that has a gap.
_MAX_DRIFT_S = 0.04


@dataclass(frozen=True, slots=True)
class Cut:
    """What there was to be cut.

    Attributes:
        whole: Positions of the windows that the sound fills without a gap, rising.
        num_beside_gaps: Windows that it does not fill because it pauses; the rest lies beyond its ends.
        start_s: Where the sound begins, in seconds on the clock that all tracks of the file share.
        end_s: Where it ends.
    """

    whole: tuple[int, ...]
    num_beside_gaps: int
    start_s: float
    end_s: float


class Abandoned(Exception):  # noqa: N818 - nothing is wrong
    """The windows are not wanted any more."""


class Moments:
    """Times that are still being found, for a thread that waits for them; can be gone through again."""

    def __init__(self) -> None:
        self._times_s: list[float] = []
        self._is_open, self._is_wanted = True, True
        self._changed = threading.Condition()

    def add(self, time_s: float) -> None:
        """One more, after all others."""
        with self._changed:
            self._times_s.append(time_s)
            self._changed.notify_all()

    def close(self) -> None:
        """There are no more."""
        with self._changed:
            self._is_open = False
            self._changed.notify_all()

    def abandon(self) -> None:
        """Nobody wants to know any more: who asks for the next one gets ``Abandoned``."""
        with self._changed:
            self._is_wanted = False
            self._changed.notify_all()

    def __iter__(self) -> Iterator[float]:
        number = 0
        while True:
            with self._changed:
                while self._is_wanted and self._is_open and number == len(self._times_s):
                    self._changed.wait()
                if not self._is_wanted:
                    raise Abandoned
                if number == len(self._times_s):
                    return
                time_s = self._times_s[number]
            yield time_s
            number += 1


def cut(source: Source, what: str, starts_s: Iterable[float], num_samples: int, rate_hz: int, write: Write) -> Cut:
    """Cut windows out of the best sound track, mono as ``audio.decode`` makes it.

    Memory holds one window, and not the track. Where channels turn out to cancel, all is cut again from the loudest.

    Args:
        source: The video.
        what: Its name, for messages.
        starts_s: When each window begins, rising, in seconds on the clock that all tracks of the file share. Asked for
            one at a time, and once more where channels cancel.
        num_samples: Length T of the windows.
        rate_hz: Their sample rate.
        write: Called for each window that is all sound, in order, with samples nominally in [-1, 1]; once more for all
            of them where channels cancel.

    Raises:
        AudioError: There is no sound, or it is damaged or cut short.
        MissingExtraError: PyAV is not installed.
    """
    found, loudest = _cut(source, what, _Scissors(starts_s, num_samples, rate_hz, write), None)
    if loudest is not None:
        found, _ = _cut(source, what, _Scissors(starts_s, num_samples, rate_hz, write), loudest)
    return found


def encode_wav(samples_T: Float32, rate_hz: int) -> bytes:
    """Samples as a WAV file of 16 bits; what lies beyond [-1, 1] is clipped."""
    levels_T = np.rint(samples_T * np.float32(32768)).clip(-32768, 32767).astype("<i2")
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate_hz)
        file.writeframes(levels_T.tobytes())
    return buffer.getvalue()


def _cut(source: Source, what: str, scissors: _Scissors, channel: int | None) -> tuple[Cut, int | None]:
    """One pass over the track; also which channel to take instead if the mix cancelled."""
    downmix: Downmix | None = None
    for time_s, block_TC, rate_hz in timed_blocks(source, what):
        if downmix is None:
            downmix = Downmix(rate_hz, block_TC.shape[1], what=what, channel=channel)
        scissors.add(time_s, downmix.mix(block_TC), rate_hz)
    if downmix is None:
        raise AudioError(f"{what}: its sound track is empty; expected a video with sound")
    return scissors.finish(), downmix.loudest_if_cancelled()


class _Scissors:
    """Takes mono blocks one after the other, and cuts each window when its last sample is there."""

    def __init__(self, starts_s: Iterable[float], num_samples: int, rate_hz: int, write: Write) -> None:
        self._num_samples, self._rate_hz, self._write = num_samples, rate_hz, write
        self._windows = enumerate(starts_s)
        self._whole: list[int] = []
        self._num_beside_gaps = 0
        self._start_s = 0.0
        self._stretch: _Stretch | None = None
        self._next: tuple[int, float] | None = None

    def add(self, time_s: float | None, mono_T: Float32, rate_hz: int) -> None:
        """One more block, and when it is heard if that is known."""
        stretch = self._stretch
        if stretch is None:
            self._start_s = time_s or 0.0
            stretch = self._stretch = _Stretch(self._start_s, rate_hz, self._rate_hz)
            self._next = next(self._windows, None)
        elif time_s is not None and abs(time_s - stretch.end_s) > _MAX_DRIFT_S:
            stretch.finish()
            self._cut(stretch)
            stretch = self._stretch = _Stretch(time_s, rate_hz, self._rate_hz)
        stretch.add(mono_T)
        self._cut(stretch)

    def finish(self) -> Cut:
        """The windows at the very end, and what was found."""
        assert self._stretch is not None, "finish() follows add()"
        self._stretch.finish()
        self._cut(self._stretch)
        return Cut(tuple(self._whole), self._num_beside_gaps, self._start_s, self._stretch.end_s)

    def _cut(self, stretch: _Stretch) -> None:
        while self._next is not None:
            index, start_s = self._next
            first = stretch.place(start_s)
            if first + self._num_samples > stretch.length:
                stretch.forget(first)
                return
            if first >= 0:
                self._write(index, stretch.take(first, self._num_samples))
                self._whole.append(index)
            elif start_s >= self._start_s:  # it began in an earlier stretch of sound, or between two
                self._num_beside_gaps += 1
            self._next = next(self._windows, None)
        stretch.forget(stretch.length)


class _Stretch:
    """Sound without a gap, resampled; what no window wants any more is forgotten."""

    def __init__(self, start_s: float, rate_hz: int, target_rate_hz: int) -> None:
        self.end_s = start_s
        self.length = 0
        self._start_s, self._rate_hz, self._target_rate_hz = start_s, rate_hz, target_rate_hz
        self._num_frames = 0
        self._resampler = Resampler(rate_hz, target_rate_hz)
        self._parts: deque[Float32] = deque()
        self._first = 0

    def add(self, mono_T: Float32) -> None:
        self._num_frames += len(mono_T)
        self.end_s = self._start_s + self._num_frames / self._rate_hz
        self._keep(self._resampler.add(mono_T))

    def finish(self) -> None:
        self._keep(self._resampler.finish())

    def place(self, time_s: float) -> int:
        """Number of the sample that is heard at a time."""
        return round((time_s - self._start_s) * self._target_rate_hz)

    def take(self, first: int, num_samples: int) -> Float32:
        kept_T = np.concatenate(self._parts)[first - self._first :]
        self._parts, self._first = deque([kept_T]), first
        return kept_T[:num_samples]

    def forget(self, first: int) -> None:
        """Let go of what lies before a sample."""
        while self._parts and self._first + len(self._parts[0]) <= first:
            self._first += len(self._parts.popleft())

    def _keep(self, part_T: Float32) -> None:
        self._parts.append(part_T)
        self.length += len(part_T)
