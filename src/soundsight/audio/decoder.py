"""Any file, bytes or stream to a mono clip at the wanted rate."""

from __future__ import annotations

import io
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from soundsight.audio import container
from soundsight.audio.clip import MAX_DURATION_S, Clip, Float32, check_duration, check_format, check_rate
from soundsight.audio.header import ends_early, is_container, log_says_short, with_known_size
from soundsight.audio.mixer import Mixer
from soundsight.audio.source import Source, open_source
from soundsight.errors import AudioError

if TYPE_CHECKING:
    from soundfile import SoundFile

__all__ = ["decode"]

# Samples, frames times channels, decoded at once: 1 MiB.
_BLOCK_SAMPLES = 1 << 18
# libsndfile's number of frames where the header gives none.
_UNKNOWN_FRAMES = 2**63 - 1
# What a decoder of MP3 may hold back or cut off: its own delay, and the encoder's padding.
_MP3_PADDING_FRAMES = 4 * 1152


def decode(
    source: str | Path | bytes | BinaryIO,
    *,
    sample_rate_hz: int,
    max_duration_s: float = MAX_DURATION_S,
    max_samples: int | None = None,
) -> Clip:
    """Read a sound of any kind as mono.

    Channels are averaged; where they cancel, the loudest is taken. The sound is decoded in blocks, so the memory needed
    is that of the mono result, whatever the file's length, rate, or number of channels.

    Args:
        source: A path to a regular file, the bytes of one, or a binary stream, read to its end (2 GiB at most).
        sample_rate_hz: The rate wanted, 1 kHz to 768 kHz.
        max_duration_s: Longer sounds are refused, without decoding more than that.
        max_samples: The same for samples, frames times channels, at the sound's own rate: a few bytes of FLAC can hold
            a minute of eight channels at 655 kHz.

    Returns:
        The clip; peaks above full scale, which floating-point and lossy files have, are kept.

    Raises:
        AudioError: The source is missing or unreadable, no sound, damaged, cut short, empty, shorter than 20 ms, longer
            than ``max_duration_s``, has numbers that are not finite, or rates or channels out of range. Whether it is
            silent is for ``condition`` to say.
        MissingExtraError: Only PyAV, of the extra ``video``, could read the format.
    """
    check_rate(sample_rate_hz, "the rate asked for")
    file, what = open_source(source)
    with file:
        start = file.read(64)
        if ends_early(file, start):
            raise _cut(what)
        limits = _Limits(max_duration_s, max_samples)
        samples, loudest = _mono(file, start, what, sample_rate_hz, limits, None)
        if loudest is not None:
            samples, _ = _mono(file, start, what, sample_rate_hz, limits, loudest)
    return Clip(samples, sample_rate_hz)


class _Limits(NamedTuple):
    max_duration_s: float
    max_samples: int | None


def _mono(
    file: Source, start: bytes, what: str, target_rate_hz: int, limits: _Limits, channel: int | None
) -> tuple[Float32, int | None]:
    """One pass over the file: the mix, or one channel, and which channel to take instead if the mix cancelled."""
    mixer: Mixer | None = None
    for block_TC, rate_hz in _blocks(file, start, what, limits.max_duration_s):
        if mixer is None:
            mixer = Mixer(
                rate_hz,
                block_TC.shape[1],
                target_rate_hz=target_rate_hz,
                max_duration_s=limits.max_duration_s,
                max_samples=limits.max_samples,
                what=what,
                channel=channel,
            )
        mixer.add(block_TC)
    if mixer is None:
        raise AudioError(f"{what}: empty, there is no sound in it; expected a sound")
    return mixer.finish(), mixer.loudest_if_cancelled()


def _blocks(file: Source, start: bytes, what: str, max_duration_s: float) -> Iterator[tuple[Float32, int]]:
    """Blocks (T, C) and their rate, from whichever library knows the format."""
    import soundfile

    if is_container(start):
        yield from container.blocks(file, what)
        return
    try:
        yield from _soundfile_blocks(file, what, max_duration_s)
    except soundfile.LibsndfileError as error:
        if error.code != 1:  # known, but damaged
            raise AudioError(f"{what}: cannot be decoded: {error.error_string.rstrip('. ')}; is it damaged?") from error
        yield from _foreign_blocks(file, what, error)
    except (RuntimeError, ValueError, TypeError, OSError) as error:
        raise AudioError(f"{what}: cannot be decoded: {error}; is it damaged?") from error


def _foreign_blocks(file: Source, what: str, cause: Exception) -> Iterator[tuple[Float32, int]]:
    """What libsndfile does not know: PyAV may, where it is installed; most likely it is no sound at all."""
    from importlib.util import find_spec

    if find_spec("av") is None:
        raise AudioError(
            f"{what}: not a sound in a known format; expected wav, flac, ogg, opus, mp3 or aiff "
            "(more formats with the extra 'video': pip install 'soundsight[video]')"
        ) from cause
    yield from container.blocks(file, what)


def _soundfile_blocks(file: Source, what: str, max_duration_s: float) -> Iterator[tuple[Float32, int]]:
    with _open(file) as sound:
        rate_hz, channels, num_frames = sound.samplerate, sound.channels, sound.frames
        check_format(rate_hz, channels, what)
        if num_frames == 0 and (patched := with_known_size(file)) is not None:
            yield from _soundfile_blocks(patched, what, max_duration_s)
            return
        if num_frames != _UNKNOWN_FRAMES and num_frames > max_duration_s * rate_hz:
            check_duration(num_frames, rate_hz, max_duration_s, what)
        if log_says_short(sound.extra_info):
            raise _cut(what)
        block_frames = max(1, _BLOCK_SAMPLES // channels)
        done = 0
        while done < num_frames:
            # Never more than a block at once, whatever the header claims.
            block_TC = sound.read(min(block_frames, num_frames - done), dtype="float32", always_2d=True)
            if len(block_TC) == 0:
                break
            done += len(block_TC)
            yield block_TC, rate_hz
        missing = num_frames - done
        if num_frames != _UNKNOWN_FRAMES and missing > (_MP3_PADDING_FRAMES if sound.format == "MP3" else 0):
            raise _cut(what)


def _open(file: Source) -> SoundFile:
    file.seek(0)
    # By its descriptor, a file is read without calls back into Python, and its name cannot suggest a format.
    return _forward_reader()(file.fileno() if isinstance(file, io.FileIO) else file, closefd=False)


@cache
def _forward_reader() -> type[SoundFile]:
    import soundfile

    class Forward(soundfile.SoundFile):  # type: ignore[misc]
        """Reads from start to end; the seek after each read would fail where the length is not known."""

        def seekable(self) -> bool:
            return False

    return Forward


def _cut(what: str) -> AudioError:
    return AudioError(f"{what}: ends early, the file is cut short; expected all that its header announces")
