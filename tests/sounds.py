"""Sounds whose content is known, encoded in any format, and their measurement."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

from soundsight.audio import Clip


def sine(rate_hz: int, *, hz: float = 440.0, level: float = 0.5, duration_s: float = 1.0) -> NDArray[np.float64]:
    return level * np.sin(2 * np.pi * hz * np.arange(round(rate_hz * duration_s)) / rate_hz)


def encoded(samples: NDArray[Any], rate_hz: int, container: str = "WAV", subtype: str | None = None) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate_hz, format=container, subtype=subtype)
    return buffer.getvalue()


def amplitude(clip: Clip, hz: float) -> float:
    """Amplitude of a tone in the middle of a clip, by projection on a sine and a cosine."""
    time_s = np.arange(len(clip.samples)) / clip.sample_rate_hz
    inner = (time_s > 0.1) & (time_s < time_s[-1] - 0.1)
    waves = np.stack([np.sin(2 * np.pi * hz * time_s), np.cos(2 * np.pi * hz * time_s)])[:, inner]
    solution = np.linalg.lstsq(waves.T, clip.samples[inner].astype(np.float64), rcond=None)[0]
    return float(np.hypot(*solution))


def check_sound(clip: Clip, rate_hz: int) -> None:
    assert clip.sample_rate_hz == rate_hz
    assert clip.samples.dtype == np.float32
    assert clip.samples.ndim == 1
    assert np.isfinite(clip.samples).all()
