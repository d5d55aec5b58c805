"""Sound out of video files and other containers, by PyAV (the extra ``video``)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from soundsight.audio.clip import Float32, check_format
from soundsight.audio.source import Source
from soundsight.errors import AudioError, require

__all__ = ["blocks"]

# Demuxers that hold sound themselves. Playlists (hls, concat, dash) are left out: they would make FFmpeg open whatever
# file or address they name.
_FORMATS = (
    "aac,ac3,aiff,amr,ape,asf,au,avi,caf,dsf,dts,eac3,flac,flv,gsm,matroska,webm,mov,mp4,m4a,3gp,3g2,mj2,mp3,mpeg,"
    "mpegts,mpegvideo,nut,ogg,oma,rm,tak,tta,voc,w64,wav,wv,xwma"
)


def blocks(source: Source, what: str) -> Iterator[tuple[Float32, int]]:
    """Decode the best sound track of a container.

    Yields:
        Blocks (T, C) float32 and their sample rate in Hz, the same for all.

    Raises:
        AudioError: FFmpeg does not know the format, there is no sound track, or the file is damaged or cut short.
        MissingExtraError: PyAV is not installed.
    """
    require("av", "video", f"{what}: reading this format")
    import av

    failures = (av.FFmpegError, OSError, ValueError, LookupError, RuntimeError, EOFError)
    try:
        source.seek(0)
        opened = av.open(source, "r", options={"format_whitelist": _FORMATS})
    except failures as error:
        raise AudioError(f"{what}: not a sound in a known format, or damaged ({_reason(error)})") from error
    with opened:
        try:
            stream = opened.streams.best("audio")
            if stream is None:
                raise AudioError(f"{what}: has no sound track; expected a file with sound")
            yield from _frames(opened, stream, what)
        except failures as error:
            raise AudioError(f"{what}: cannot be decoded: {_reason(error)}; is it damaged?") from error


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def _frames(container: Any, stream: Any, what: str) -> Iterator[tuple[Float32, int]]:
    import av

    rate_hz, channels, num_frames = 0, 0, 0
    # Only the number format changes here, to float32 in planes.
    converter = av.AudioResampler(format="fltp")
    for frame in container.decode(stream):
        if rate_hz == 0:
            rate_hz, channels = frame.sample_rate, frame.layout.nb_channels
            check_format(rate_hz, channels, what)
        elif (frame.sample_rate, frame.layout.nb_channels) != (rate_hz, channels):
            raise AudioError(f"{what}: its sample rate or number of channels changes midway; expected one for all")
        for part in converter.resample(frame):
            num_frames += part.samples
            yield np.ascontiguousarray(part.to_ndarray().T), rate_hz
    claimed_s = _claimed_s(container, stream)
    # Tracks of one file differ by a little; what is missing after a cut is more.
    if rate_hz > 0 and num_frames / rate_hz < 0.95 * claimed_s - 0.5:
        raise AudioError(
            f"{what}: ends early, after {num_frames / rate_hz:.1f} s of {claimed_s:.1f} s; is it cut short?"
        )


def _claimed_s(container: Any, stream: Any) -> float:
    """How long the sound should be by the file's own account; 0 if it does not say."""
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    # Matroska and WebM say it for the file as a whole, and a picture may go on after the sound.
    if container.duration is not None and len(container.streams) == 1:
        return float(container.duration / 1_000_000)
    return 0.0
