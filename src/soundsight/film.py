"""Pictures one after another: animated GIF, and MP4 for players and the web."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from fractions import Fraction
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from soundsight.errors import require
from soundsight.picture import to_pil

__all__ = ["encode_gif", "encode_mp4"]

UInt8 = NDArray[np.uint8]
_FASTEST = 50.0


def encode_gif(frames_THWC: UInt8, frames_per_s: float, metadata: Mapping[str, str | float]) -> bytes:
    """An animated GIF that repeats for ever.

    GIF counts in hundredths of a second, so that frames last longer and shorter by turns where that keeps the pace.
    Browsers slow down whatever is faster than 50 frames a second: this is the most.

    Args:
        frames_THWC: (T, H, W, 1 or 3) uint8.
        frames_per_s: Above 0.
        metadata: Where it comes from; kept as JSON in the comment.
    """
    first, *others = (_few_levels(frame) for frame in frames_THWC)
    buffer = io.BytesIO()
    first.save(
        buffer,
        format="GIF",
        save_all=True,
        append_images=others,
        duration=_durations_ms(len(frames_THWC), min(frames_per_s, _FASTEST)),
        loop=0,
        optimize=False,
        comment=json.dumps(dict(metadata)).encode(),
    )
    return buffer.getvalue()


def _durations_ms(num_frames: int, frames_per_s: float) -> list[int]:
    """How long each frame is shown: whole hundredths of a second that never fall behind."""
    ends = [round(100 * i / frames_per_s) for i in range(num_frames + 1)]
    return [10 * (end - start) for start, end in pairwise(ends)]


def _few_levels(frame_HWC: UInt8) -> Image.Image:
    """64 greys, of which nobody sees the steps in motion, and a smaller file; of colours the 256 that suit."""
    if frame_HWC.shape[2] == 1:
        return to_pil(frame_HWC & np.uint8(0xFC))
    return to_pil(frame_HWC).convert("P", palette=Image.Palette.ADAPTIVE)


def encode_mp4(frames_THWC: UInt8, frames_per_s: float, metadata: Mapping[str, str | float]) -> bytes:
    """A silent MP4 with H.264, in colours that every player knows.

    Args:
        frames_THWC: (T, H, W, 1 or 3) uint8; odd sides get a black line.
        frames_per_s: Above 0.
        metadata: Where it comes from; kept as JSON in the comment.

    Raises:
        MissingExtraError: PyAV is not installed.
    """
    require("av", "video", "MP4")
    import av

    height, width, channels = frames_THWC.shape[1:]
    buffer = io.BytesIO()
    container: Any
    with av.open(buffer, "w", format="mp4") as container:
        container.metadata["comment"] = json.dumps(dict(metadata))
        stream = container.add_stream("libx264", rate=Fraction(frames_per_s).limit_denominator(1000))
        stream.height, stream.width = height + height % 2, width + width % 2
        stream.pix_fmt = "yuv420p"
        stream.options = {"crf": "16", "preset": "medium"}
        for frame_HWC in frames_THWC:
            padded = np.pad(frame_HWC, ((0, height % 2), (0, width % 2), (0, 0)))
            rgb = np.repeat(padded, 3, axis=2) if channels == 1 else padded
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format="rgb24")))
        container.mux(stream.encode(None))
    return buffer.getvalue()
