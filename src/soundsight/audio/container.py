"""Sound out of video files and other containers, by PyAV (the extra ``video``)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from soundsight.audio.clip import Float32, check_format
from soundsight.audio.source import Source
from soundsight.errors import AudioError, require

__all__ = ["blocks", "open_container", "timed_blocks"]

# Demuxers that hold sound themselves, and many of them pictures. Playlists (hls, concat, dash) are left out: they would
# make FFmpeg open whatever file or address they name.
_FORMATS = (
    "aac,ac3,aiff,amr,ape,asf,au,avi,caf,dsf,dts,eac3,flac,flv,gsm,matroska,webm,mov,mp4,m4a,3gp,3g2,mj2,mp3,mpeg,"
    "mpegts,mpegvideo,nut,ogg,oma,rm,tak,tta,voc,w64,wav,wv,xwma"
)

# Samples of each channel in a block, and what times may differ within one: Matroska rounds them to milliseconds.
_BLOCK_FRAMES = 1 << 14
_JITTER_S = 0.002


def blocks(source: Source, what: str) -> Iterator[tuple[Float32, int]]:
    """Decode the best sound track of a container.

    Yields:
        Blocks (T, C) float32 and their sample rate in Hz, the same for all.

    Raises:
        AudioError: FFmpeg does not know the format, there is no sound track, or the file is damaged or cut short.
        MissingExtraError: PyAV is not installed.
    """
    for _, block_TC, rate_hz in _track(source, what, gaps=False):
        yield block_TC, rate_hz


def timed_blocks(source: Source, what: str) -> Iterator[tuple[float | None, Float32, int]]:
    """As ``blocks``, with the time at which each block is heard; there may be gaps between them.

    Yields:
        Seconds on the clock that all tracks of the file share, or None for what follows the block before it at once;
        (T, C); Hz.
    """
    yield from _track(source, what, gaps=True)


def _track(source: Source, what: str, *, gaps: bool) -> Iterator[tuple[float | None, Float32, int]]:
    with open_container(source, what) as opened:
        stream = opened.streams.best("audio")
        if stream is None:
            raise AudioError(f"{what}: has no sound track; expected a file with sound")
        yield from _joined(_frames(opened, stream, what, gaps))


@contextmanager
def open_container(source: Source, what: str, kind: str = "sound") -> Iterator[Any]:
    """Open a container with PyAV; its failures, also those of what is done with it, become one kind of error.

    Args:
        source: What to read.
        what: Its name, for messages.
        kind: What it was expected to be, for messages.

    Raises:
        AudioError: FFmpeg does not know the format, or the file is damaged.
        MissingExtraError: PyAV is not installed.
    """
    require("av", "video", f"{what}: reading this format")
    import av

    failures = (av.FFmpegError, OSError, ValueError, LookupError, RuntimeError, EOFError)
    try:
        source.seek(0)
        # Titles and names of artists in old encodings are no reason to refuse a file.
        opened = av.open(source, "r", options={"format_whitelist": _FORMATS}, metadata_errors="replace")
    except failures as error:
        raise AudioError(f"{what}: not a {kind} in a known format, or damaged ({_reason(error)})") from error
    with opened:
        try:
            yield opened
        except failures as error:
            raise AudioError(f"{what}: cannot be decoded: {_reason(error)}; is it damaged?") from error


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def _joined(frames: Iterator[tuple[float | None, Float32, int]]) -> Iterator[tuple[float | None, Float32, int]]:
    """Frames (C, T) to blocks (T, C): one of a codec holds some 20 ms, and most of the work on it is Python's."""
    kept: list[Float32] = []
    begin_s, length, rate_hz = None, 0, 1
    for time_s, frame_CT, rate_hz in frames:
        follows = time_s is None or (begin_s is not None and abs(time_s - begin_s - length / rate_hz) < _JITTER_S)
        if kept and (length >= _BLOCK_FRAMES or not follows):
            yield begin_s, np.ascontiguousarray(np.concatenate(kept, axis=1).T), rate_hz
            kept, length = [], 0
        if not kept:
            begin_s = time_s
        kept.append(frame_CT)
        length += frame_CT.shape[1]
    if kept:
        yield begin_s, np.ascontiguousarray(np.concatenate(kept, axis=1).T), rate_hz


def _frames(container: Any, stream: Any, what: str, gaps: bool) -> Iterator[tuple[float | None, Float32, int]]:
    """What the decoder gives: when it is heard, (C, T), and its rate."""
    import av

    rate_hz, channels, num_frames, end_s = 0, 0, 0, 0.0
    start_s = float((stream.start_time or 0) * stream.time_base)
    # Only the number format changes here, to float32 in planes.
    converter = av.AudioResampler(format="fltp")
    for frame in container.decode(stream):
        if rate_hz == 0:
            rate_hz, channels = frame.sample_rate, frame.layout.nb_channels
            check_format(rate_hz, channels, what)
        elif (frame.sample_rate, frame.layout.nb_channels) != (rate_hz, channels):
            raise AudioError(f"{what}: its sample rate or number of channels changes midway; expected one for all")
        time_s = frame.time
        for part in converter.resample(frame):
            num_frames += part.samples
            end_s = (end_s if time_s is None else time_s - start_s) + part.samples / rate_hz
            samples_CT: Any = part.to_ndarray()
            yield time_s, samples_CT, rate_hz
            time_s = None  # what follows in the same frame follows at once
    claimed_s = _claimed_s(container, stream)
    there_s = end_s if gaps else num_frames / max(1, rate_hz)
    # Tracks of one file differ by a little; what is missing after a cut is more.
    if rate_hz > 0 and there_s < 0.95 * claimed_s - 0.5:
        raise AudioError(f"{what}: ends early, after {there_s:.1f} s of {claimed_s:.1f} s; is it cut short?")


def _claimed_s(container: Any, stream: Any) -> float:
    """How long the sound should be by the file's own account; 0 if it does not say."""
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    # Matroska and WebM say it for the file as a whole, and a picture may go on after the sound.
    if container.duration is not None and len(container.streams) == 1:
        return float(container.duration / 1_000_000)
    return 0.0
