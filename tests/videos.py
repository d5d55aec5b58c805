"""Small videos whose pictures and sounds tell their own time.

A frame shows its number as ten stripes, dark for 0 and bright for 1, lowest bit at the left. The sound is noise, in
which any piece is found again by correlation, to the sample.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

NUM_BITS = 10
RATE_HZ = 16_000
LAYOUTS = {1: "mono", 2: "stereo", 6: "5.1"}


def noise(duration_s: float, *, rate_hz: int = RATE_HZ, seed: int = 0) -> NDArray[np.float32]:
    """(T,) float32 in [-1, 1], of all frequencies."""
    return np.random.default_rng(seed).uniform(-0.5, 0.5, round(duration_s * rate_hz)).astype(np.float32)


def numbered(number: int, width: int, height: int) -> NDArray[np.uint8]:
    """(H, W, 3): the stripes fill the square in the middle; grey beside and above them."""
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    image = np.full((height, width, 3), 128, np.uint8)
    bits = (number >> (np.arange(side) * NUM_BITS // side)) & 1
    image[top : top + side, left : left + side] = np.where(bits, 235, 20)[None, :, None]
    return image


def number_of(image_HWC: NDArray[Any]) -> int:
    """What ``numbered`` wrote, from a square picture of any size."""
    side = image_HWC.shape[1]
    middles = ((np.arange(NUM_BITS) + 0.5) * side / NUM_BITS).astype(int)
    levels = image_HWC[side // 4 : -side // 4, middles].astype(float).mean(axis=(0, 2))
    assert (np.abs(levels - 128) > 40).all(), f"no clear stripes: {levels}"
    return int(((levels > 128) << np.arange(NUM_BITS)).sum())


def place_of(window_T: NDArray[Any], sound_T: NDArray[Any]) -> int:
    """Number of the sample of ``sound_T`` at which ``window_T`` begins."""
    size = 2 ** int(np.ceil(np.log2(len(sound_T) + len(window_T))))
    spectrum = np.fft.rfft(sound_T, size) * np.conj(np.fft.rfft(window_T.astype(float), size))
    place = int(np.argmax(np.fft.irfft(spectrum, size)))
    part_T = sound_T[place : place + len(window_T)]
    assert len(part_T) == len(window_T), "found at the very end only"
    assert np.corrcoef(part_T, window_T)[0, 1] > 0.7, "not found"
    return place


def steady(duration_s: float, frames_per_s: int = 25) -> list[int]:
    """Times in milliseconds of a constant frame rate."""
    return [round(1000 * i / frames_per_s) for i in range(round(duration_s * frames_per_s))]


def write_video(
    path: Path,
    times_ms: Sequence[int] | None = None,
    *,
    sound: NDArray[np.float32] | None = None,
    pieces: Iterable[tuple[int, NDArray[np.float32]]] = (),
    rate_hz: int = RATE_HZ,
    size: tuple[int, int] = (96, 64),
    images: Iterable[NDArray[np.uint8]] | None = None,
    video: str = "libx264",
    audio: str = "flac",
    pixels: str = "yuv420p",
    options: Mapping[str, str] | None = None,
    aspect: Fraction | None = None,
    container_options: Mapping[str, str] | None = None,
) -> Path:
    """Write a video; its container follows from the suffix.

    Args:
        path: Where to.
        times_ms: When each frame is shown; no picture track if None.
        sound: (T,) or (T, C), from 0 s on.
        pieces: Sound at other times: milliseconds and samples.
        rate_hz: Of the sound.
        size: Width and height.
        images: What to show instead of numbers.
        video: Codec of the pictures.
        audio: Codec of the sound.
        pixels: Format of the pictures.
        options: Of the picture codec.
        aspect: Width of a pixel in its heights.
        container_options: Of the container.
    """
    import av

    parts = [*pieces] if sound is None else [(0, sound), *pieces]
    path.parent.mkdir(parents=True, exist_ok=True)
    formats = {".mkv": "matroska", ".ts": "mpegts"}
    container: Any
    name = formats.get(path.suffix, path.suffix[1:])
    with av.open(str(path), "w", format=name, options=dict(container_options or {})) as container:
        packets: list[Any] = []
        if times_ms is not None:
            stream = container.add_stream(video, rate=25, options=dict(options or {}))
            stream.width, stream.height, stream.pix_fmt = *size, pixels
            stream.codec_context.time_base = stream.time_base = Fraction(1, 1000)
            if aspect is not None:
                stream.codec_context.sample_aspect_ratio = aspect
            images = images or (numbered(i, *size) for i in range(len(times_ms)))
            streams = [stream]
        if parts:
            num_channels = 1 if parts[0][1].ndim == 1 else parts[0][1].shape[1]
            track = container.add_stream(audio, rate=rate_hz, layout=LAYOUTS[num_channels])
        if times_ms is not None:
            for time_ms, image in zip(times_ms, images, strict=True):
                frame = av.VideoFrame.from_ndarray(image, format="rgb24")
                frame.pts, frame.time_base = time_ms, Fraction(1, 1000)
                packets += streams[0].encode(frame)
            packets += streams[0].encode(None)
        if parts:
            for start_ms, samples in parts:
                packets += _encode_sound(track, start_ms, samples, rate_hz)
            packets += track.encode(None)
        for packet in sorted(packets, key=lambda p: p.dts * p.time_base):
            container.mux(packet)
    return path


def _encode_sound(track: Any, start_ms: int, samples: NDArray[np.float32], rate_hz: int) -> list[Any]:
    import av

    packets = []
    converter = av.AudioResampler(format=track.codec_context.format)
    samples_TC = samples[:, None] if samples.ndim == 1 else samples
    block = track.codec_context.frame_size or 1024
    for first in range(0, len(samples_TC), block):
        part_TC = np.ascontiguousarray(samples_TC[first : first + block], np.float32)
        frame = av.AudioFrame.from_ndarray(part_TC.reshape(1, -1), format="flt", layout=LAYOUTS[part_TC.shape[1]])
        frame.sample_rate = rate_hz
        frame.pts, frame.time_base = start_ms * rate_hz // 1000 + first, Fraction(1, rate_hz)
        for converted in converter.resample(frame):
            packets += track.encode(converted)
    return packets
