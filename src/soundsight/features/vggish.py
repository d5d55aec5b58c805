"""Log-mel patches of 0.96 s: what VGGish hears, and what V2D (2025) paints from.

Source: Hershey et al., CNN Architectures for Large-Scale Audio Classification (ICASSP 2017), section 3.1; the constants
are those of the code published with AudioSet (github.com/tensorflow/models, research/audioset/vggish). A network with
the published weights reads nothing else, so they are no options.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from soundsight.audio import Clip, split_evenly
from soundsight.features import mel, options

__all__ = ["BANDS", "PATCH_FRAMES", "SILENCE", "Config", "extract", "filters", "patches", "prepare", "split"]

Float32 = NDArray[np.float32]

PATCH_FRAMES = 96
BANDS = 64
_RATE_HZ = 16_000
_WINDOW = 400  # 25 ms
_HOP = 160  # 10 ms
_FFT_LENGTH = 512  # the next power of two
_LOW_HZ, _HIGH_HZ = 125.0, 7500.0
_LOG_OFFSET = 0.01
SILENCE = math.log(_LOG_OFFSET)
"""What a cell holds where nothing is heard."""

# Frames per FFT call, and groups of filters that are multiplied alone.
_BLOCK_FRAMES = 96
_FILTER_GROUPS = 4


@dataclass(frozen=True, slots=True)
class Config:
    """Options of the VGGish front end.

    Attributes:
        sample_rate_hz: Rate the clips must have; always 16,000.
        patches: How many patches ``extract`` takes of each clip.
        hop_s: From the beginning of one patch to that of the next, rounded to whole frames of 10 ms; by default patches
            follow one another without a gap or an overlap, as published.
    """

    sample_rate_hz: int = _RATE_HZ
    patches: int = 1
    hop_s: float = 0.96

    def __post_init__(self) -> None:
        options.check_whole(self, "sample_rate_hz", "patches")
        options.check_positive(self, "hop_s")
        if self.sample_rate_hz != _RATE_HZ:
            raise ValueError(f"sample_rate_hz must be {_RATE_HZ}, which VGGish listens at, not {self.sample_rate_hz}")
        if self.hop_frames < 1:
            raise ValueError(f"hop_s must be at least one frame, 0.01 s, not {self.hop_s:g} s")

    @property
    def hop_frames(self) -> int:
        """Frames from the beginning of one patch to that of the next."""
        return round(self.hop_s * _RATE_HZ / _HOP)


def prepare(clip: Clip) -> Clip:
    """A recording as it is: the published network was trained on absolute levels."""
    return clip


def split(clip: Clip, config: Config) -> list[Clip]:
    """The moments of a long recording, one after the other."""
    return split_evenly(clip, config.patches * config.hop_s)


def patches(clip: Clip, config: Config) -> Float32:
    """All patches of a clip of any length, as VGGish takes them.

    Frames lie wholly within the clip, so a patch needs 0.975 s of it: 95 steps of 10 ms and a window of 25 ms. What is
    left at the end is not heard, as published. A clip too short for one patch, of which the published code makes none,
    is filled up with zeros at its end.

    Args:
        clip: At 16,000 Hz, nominally in [-1, 1]; the levels are not relative to anything.
        config: Options; ``patches`` is of no account here.

    Returns:
        (P, 96, 64) float32, P at least 1: frames from start to end, bands from low to high; the natural logarithm of
        a magnitude and 0.01, so never below log(0.01) = -4.6.
    """
    assert clip.sample_rate_hz == config.sample_rate_hz, "resample before extracting"
    patches_PFN = _patches(clip.samples, 0, _num_patches(clip, config), config.hop_frames, _bank())
    return np.ascontiguousarray(patches_PFN.transpose(0, 2, 1))


def extract(clips: Sequence[Clip], config: Config) -> Float32:
    """The middle ``config.patches`` of all the patches of each clip, side by side.

    They are a run of those that ``patches`` makes; of two runs that are equally near to the middle, the earlier one. A
    clip too short for so many is filled up with zeros at its end.

    Args:
        clips: B clips at 16,000 Hz, nominally in [-1, 1].
        config: Options.

    Returns:
        (B, 64, 96 * ``patches``) float32, at least log(0.01); F runs from low to high, N from start to end of the first
        patch, then of the second.
    """
    assert all(clip.sample_rate_hz == config.sample_rate_hz for clip in clips), "resample before extracting"
    out_BFN = np.empty((len(clips), BANDS, PATCH_FRAMES * config.patches), np.float32)
    bank = _bank()
    for clip, out_FN in zip(clips, out_BFN, strict=True):
        first = max(0, (_num_patches(clip, config) - config.patches) // 2)
        patches_PFN = _patches(clip.samples, first, config.patches, config.hop_frames, bank)
        out_FN[:] = patches_PFN.transpose(1, 0, 2).reshape(BANDS, -1)
    return out_BFN


@cache
def filters() -> Float32:
    """The filters for magnitudes of an FFT of 512, (64, 257) float32 in [0, 1]."""
    return mel.htk_filters(_RATE_HZ, _FFT_LENGTH, BANDS, _LOW_HZ, _HIGH_HZ)


@cache
def _filter_groups() -> list[mel.FilterGroup]:
    return mel.grouped(filters(), _FILTER_GROUPS)


def _bank() -> mel.FilterBank:
    return mel.FilterBank(
        mel.hann(_WINDOW), _filter_groups(), fft_length=_FFT_LENGTH, block_frames=_BLOCK_FRAMES, magnitude=True
    )


def _num_patches(clip: Clip, config: Config) -> int:
    num_frames = 1 + (len(clip.samples) - _WINDOW) // _HOP
    return max(1, 1 + (num_frames - PATCH_FRAMES) // config.hop_frames)


def _patches(samples_T: Float32, first: int, num: int, hop_frames: int, bank: mel.FilterBank) -> Float32:
    """``num`` patches from the ``first`` on, (num, 64, 96); a view of their frames, which patches may share."""
    num_frames = (num - 1) * hop_frames + PATCH_FRAMES
    length = (num_frames - 1) * _HOP + _WINDOW
    part_T = samples_T[first * hop_frames * _HOP :][:length]
    if len(part_T) < length:
        part_T = np.concatenate([part_T, np.zeros(length - len(part_T), np.float32)])
    mel_NF = np.empty((num_frames, BANDS), np.float32)
    bank.analyse([mel.frames(part_T, num_frames, _WINDOW, _HOP)], mel_NF)
    np.add(mel_NF, np.float32(_LOG_OFFSET), out=mel_NF)
    np.log(mel_NF, out=mel_NF)
    return np.lib.stride_tricks.sliding_window_view(mel_NF, PATCH_FRAMES, axis=0)[::hop_frames]
