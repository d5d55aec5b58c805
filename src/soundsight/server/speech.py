"""When somebody speaks, in samples that come bit by bit: where a word begins and where it has ended."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Listener", "Speech"]

Float32 = NDArray[np.float32]

_FRAME_S = 0.01
# A word is louder than the quiet around it, and than the noise of any room.
_ABOVE_FLOOR_DB = 12.0
_QUIETEST_DB = -52.0
_LOUDEST_FLOOR_DB = -30.0
_SHORTEST_FRAMES = 6
# As `audio.silence` cuts recordings: pauses inside a word last up to 0.2 s.
_PAUSE_FRAMES = 24
_LONGEST_S = 3.0
_MARGIN_S = 0.12
# The floor is the quietest of the last seconds, and climbs slowly, so that a fan that starts is no word for long.
_FLOOR_FRAMES = 400
_FLOOR_PERCENTILE = 15


@dataclass(frozen=True, slots=True)
class Speech:
    """What has been said so far.

    Attributes:
        samples: (T,) float32 from a little before the word on; empty where nobody speaks.
        has_ended: The word is over; the next one begins anew.
        level_db: Of the last tenth of a second, below full scale.
        is_speaking: Whether a word is being said.
    """

    samples: Float32
    has_ended: bool
    level_db: float
    is_speaking: bool


class Listener:
    """Finds words in a stream.

    Args:
        sample_rate_hz: Of the stream.
    """

    def __init__(self, sample_rate_hz: int) -> None:
        self._rate_hz = sample_rate_hz
        self._size = max(1, round(sample_rate_hz * _FRAME_S))
        self._kept = np.zeros(0, np.float32)
        self._levels: list[float] = []
        self._num_read = 0  # samples of `_kept` that have a level
        self._start: int | None = None
        self._num_quiet = self._num_loud = 0

    def hear(self, samples_T: Float32) -> list[Speech]:
        """Take in samples; one answer for each word that ends, and one for where it stands now."""
        self._kept = np.concatenate([self._kept, samples_T])
        found = []
        while self._num_read + self._size <= len(self._kept):
            frame_T = self._kept[self._num_read : self._num_read + self._size]
            self._num_read += self._size
            if self._step(10 * float(np.log10(max(float(np.dot(frame_T, frame_T)) / self._size, 1e-10)))):
                found.append(self._now(has_ended=True))
                self._start, self._num_quiet, self._num_loud = None, 0, 0
        self._forget()
        return [*found, self._now(has_ended=False)]

    def finish(self) -> Speech | None:
        """The word that is being said when the stream ends; None where nobody speaks."""
        return None if self._start is None else self._now(has_ended=True)

    def _step(self, level_db: float) -> bool:
        """One frame more; whether a word ends with it."""
        self._levels = [*self._levels[-_FLOOR_FRAMES:], level_db]
        floor_db = float(np.percentile(self._levels, _FLOOR_PERCENTILE)) if len(self._levels) >= 10 else _QUIETEST_DB
        # In a word the floor stays: a long vowel is no noise.
        is_loud = level_db > max(_QUIETEST_DB, min(floor_db, _LOUDEST_FLOOR_DB) + _ABOVE_FLOOR_DB)
        self._num_quiet = 0 if is_loud else self._num_quiet + 1
        if self._start is None:
            self._num_loud = self._num_loud + 1 if is_loud else 0
            if self._num_loud >= _SHORTEST_FRAMES:
                margin = round(_MARGIN_S * self._rate_hz)
                self._start = max(0, self._num_read - self._num_loud * self._size - margin)
            return False
        said = self._num_read - self._start
        return self._num_quiet >= _PAUSE_FRAMES or said >= _LONGEST_S * self._rate_hz

    def _now(self, *, has_ended: bool) -> Speech:
        recent = self._levels[-10:]
        level_db = 10 * float(np.log10(np.mean(10 ** (np.asarray(recent) / 10)))) if recent else -100.0
        if self._start is None:
            return Speech(np.zeros(0, np.float32), False, level_db, False)
        return Speech(self._kept[self._start : self._num_read].copy(), has_ended, level_db, not has_ended)

    def _forget(self) -> None:
        """Drop what no word can need any more."""
        margin = round(2 * _MARGIN_S * self._rate_hz) + _SHORTEST_FRAMES * self._size
        first = self._start if self._start is not None else max(0, self._num_read - margin)
        if first > self._rate_hz:  # seldom, as it copies
            self._kept = self._kept[first:].copy()
            self._num_read -= first
            self._start = None if self._start is None else 0
