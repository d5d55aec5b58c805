"""Blocks of any number of channels in, one mono waveform at the wanted rate out, in memory bounded by the result."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from soundsight.audio.clip import MAX_LEVEL, Float32, check_duration, check_format
from soundsight.errors import AudioError

if TYPE_CHECKING:
    from soxr import ResampleStream

__all__ = ["CHANNELS_CANCEL", "Downmix", "Mixer", "Resampler"]

# A mean of C channels of equal power has 1/C of their power when they are independent, all of it when they are equal.
# Below a tenth of the former they work against each other, as when one wire of a microphone is swapped.
CHANNELS_CANCEL = 0.1


class Downmix:
    """Blocks of any number of channels in, mono blocks of the same rate out; keeps what is needed to judge the mix.

    Args:
        rate_hz: Rate of the blocks.
        channels: Number of channels C of the blocks.
        what: What is being read, for error messages.
        channel: Take this channel alone instead of the mean of all.
    """

    def __init__(self, rate_hz: int, channels: int, *, what: str, channel: int | None = None) -> None:
        check_format(rate_hz, channels, what)
        self._rate_hz, self._channels, self._channel, self._what = rate_hz, channels, channel, what
        self._watch = channels > 1 and channel is None
        # Sums and sums of squares of each channel and, last, of their mean.
        self._sums = np.zeros((2, channels + 1))
        self.num_frames = 0

    def mix(self, block_TC: Float32) -> Float32:
        """One channel (T,) of a block (T, C).

        Raises:
            AudioError: Samples that are no numbers.
        """
        self._check(block_TC)
        self.num_frames += len(block_TC)
        if self._channels == 1:
            return block_TC[:, 0]
        if self._channel is not None:
            return np.ascontiguousarray(block_TC[:, self._channel])
        mono_T: Float32 = block_TC @ np.full(self._channels, 1 / self._channels, np.float32)
        self._account(block_TC, mono_T)
        return mono_T

    def loudest_if_cancelled(self) -> int | None:
        """The loudest channel if the mean of all is next to nothing beside them, else None."""
        if not self._watch or self.num_frames == 0:
            return None
        mean, square = self._sums / self.num_frames
        # Power without the constant part: a common offset must not hide that the channels cancel.
        power = np.maximum(square - mean**2, 0)
        if power[-1] >= CHANNELS_CANCEL * power[:-1].mean() / self._channels:
            return None
        return int(power[:-1].argmax())

    def _check(self, block_TC: Float32) -> None:
        if block_TC.size == 0 or (block_TC.max() <= MAX_LEVEL and block_TC.min() >= -MAX_LEVEL):
            return
        bad = np.argwhere(~(np.abs(block_TC) <= MAX_LEVEL))[0]
        value, frame = block_TC[tuple(bad)], self.num_frames + int(bad[0])
        raise AudioError(
            f"{self._what}: sample {frame:,} ({frame / self._rate_hz:.3f} s, channel {bad[1] + 1}) is {value:g}, "
            "which is no sound; expected finite numbers, nominally between -1 and 1"
        )

    def _account(self, block_TC: Float32, mono_T: Float32) -> None:
        self._sums[0, :-1] += block_TC.sum(axis=0, dtype=np.float64)
        self._sums[0, -1] += mono_T.sum(dtype=np.float64)
        self._sums[1, :-1] += np.einsum("tc,tc->c", block_TC, block_TC)
        self._sums[1, -1] += np.dot(mono_T, mono_T)


class Resampler:
    """Mono blocks in, blocks at another rate out; the first sample of both is of the same moment."""

    def __init__(self, rate_hz: int, target_rate_hz: int) -> None:
        self._stream: ResampleStream | None = None
        if rate_hz != target_rate_hz:
            import soxr

            self._stream = soxr.ResampleStream(rate_hz, target_rate_hz, 1, dtype="float32", quality="HQ")

    def add(self, mono_T: Float32) -> Float32:
        """What can be said so far of the result after one more block."""
        return mono_T if self._stream is None else self._stream.resample_chunk(mono_T)

    def finish(self) -> Float32:
        """The rest."""
        nothing = np.empty(0, np.float32)
        return nothing if self._stream is None else self._stream.resample_chunk(nothing, last=True)


class Mixer:
    """Takes blocks one after the other; keeps the mono, resampled result.

    Args:
        rate_hz: Rate of the blocks.
        channels: Number of channels C of the blocks.
        target_rate_hz: Rate of the result.
        max_duration_s: More than this is an AudioError.
        what: What is being read, for error messages.
        max_samples: More than this in all channels together is one, too; None for any number.
        channel: Take this channel alone instead of the mean of all.
    """

    def __init__(
        self,
        rate_hz: int,
        channels: int,
        *,
        target_rate_hz: int,
        max_duration_s: float,
        what: str,
        max_samples: int | None = None,
        channel: int | None = None,
    ) -> None:
        self._downmix = Downmix(rate_hz, channels, what=what, channel=channel)
        self._max_frames = None if max_samples is None else max_samples // channels
        self._resampler = Resampler(rate_hz, target_rate_hz)
        self._rate_hz, self._what, self._max_duration_s = rate_hz, what, max_duration_s
        self._result = np.empty(0, np.float32)
        self._length = 0

    def add(self, block_TC: Float32) -> None:
        """Append a block (T, C).

        Raises:
            AudioError: Samples that are no numbers, or more sound than allowed.
        """
        mono_T = self._downmix.mix(block_TC)
        num_frames = self._downmix.num_frames
        if num_frames > self._max_duration_s * self._rate_hz:
            check_duration(num_frames, self._rate_hz, self._max_duration_s, self._what)
        if self._max_frames is not None and num_frames > self._max_frames:
            raise AudioError(f"{self._what}: too much to be decoded; send fewer channels or a lower sample rate")
        self._append(self._resampler.add(mono_T))

    def finish(self) -> Float32:
        """The whole result (T,) float32.

        Raises:
            AudioError: There was nothing, or too little to be a sound.
        """
        check_duration(self._downmix.num_frames, self._rate_hz, self._max_duration_s, self._what)
        self._append(self._resampler.finish())
        if self._length < len(self._result):
            self._result.resize(self._length, refcheck=False)
        return self._result

    def loudest_if_cancelled(self) -> int | None:
        """The loudest channel if the mean of all is next to nothing beside them, else None."""
        return self._downmix.loudest_if_cancelled()

    def _append(self, part_T: Float32) -> None:
        if len(part_T) == 0:
            return
        if self._length == 0 and len(self._result) == 0:
            # The usual case, one block: nothing is copied.
            self._result, self._length = np.ascontiguousarray(part_T), len(part_T)
            return
        end = self._length + len(part_T)
        if end > len(self._result):
            if not self._result.flags.owndata:
                self._result = self._result.copy()
            # In place, so that the memory never holds the result twice.
            self._result.resize(end + end // 8, refcheck=False)
        self._result[self._length : end] = part_T
        self._length = end
