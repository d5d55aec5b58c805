"""What answers are made of: facts about sounds and pictures as JSON, lines of it, and ZIPs."""

from __future__ import annotations

import io
import json
import time
import zipfile
from base64 import b64encode
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from soundsight import picture
from soundsight.audio import Clip
from soundsight.result import Heard

__all__ = ["end_line", "line", "picture_facts", "sound_facts", "whole_number", "zipped"]

Float32 = NDArray[np.float32]
UInt8 = NDArray[np.uint8]

_NUM_PEAKS = 200


def sound_facts(clip: Clip, features_FN: Float32 | None, heard: Heard | None) -> dict[str, Any]:
    """A part as a page shows it: the sound's outline and what the network sees, if that can be shown."""
    edges = np.linspace(0, len(clip.samples), min(_NUM_PEAKS, len(clip.samples)) + 1).astype(np.intp)[:-1]
    peaks = np.maximum.reduceat(np.abs(clip.samples), edges)
    return {
        "duration_s": round(clip.duration_s, 4),
        "peaks": [round(peak, 3) for peak in (peaks / max(float(peaks.max()), 1e-9)).tolist()],
        "features": None if features_FN is None else _features_facts(features_FN),
        "heard": None if heard is None else heard.to_json(),
    }


def _features_facts(features_FN: Float32) -> dict[str, Any]:
    grey_HWC = picture.to_uint8(_unit(features_FN)[None, ::-1])
    return {
        "bins": features_FN.shape[0],
        "frames": features_FN.shape[1],
        "png": b64encode(picture.encode(grey_HWC, "png", {})).decode(),
    }


def _unit(features_FN: Float32) -> Float32:
    """Features in [0, 1], whatever their front end's range."""
    low, high = float(features_FN.min()), float(features_FN.max())
    if low >= 0 and high <= 1:
        return features_FN
    return ((features_FN - low) / max(high - low, 1e-9)).astype(np.float32)


def picture_facts(part: int, index: int, image_HWC: UInt8, origin: Mapping[str, str | float]) -> dict[str, Any]:
    """A picture (H, W, C) as a page shows it; ``origin`` is written into its PNG."""
    return {
        "part": part,
        "index": index,
        "width": image_HWC.shape[1],
        "height": image_HWC.shape[0],
        "png": b64encode(picture.encode(image_HWC, "png", origin)).decode(),
    }


def whole_number(number: int) -> int | str:
    """As a number where every reader of JSON can hold it, else as text."""
    return number if number <= 2**53 else str(number)


def line(values: Mapping[str, Any]) -> bytes:
    """A line of JSON."""
    return json.dumps(values).encode() + b"\n"


def end_line(num_images: int, began: float) -> bytes:
    """The last line of what has begun then, of ``time.monotonic``."""
    return line({"type": "end", "num_images": num_images, "seconds": round(time.monotonic() - began, 4)})


def zipped(names: list[str], files: list[bytes]) -> bytes:
    """A ZIP, the same of the same files."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:  # stored: PNG does not shrink
        for name, content in zip(names, files, strict=True):
            archive.writestr(zipfile.ZipInfo(name), content)
    return buffer.getvalue()
