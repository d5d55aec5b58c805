"""Simple models of what else than speech a microphone hears: of what is no digit, and of what a digit is heard in.

Noise that stands, swells or pulses; tones, chords and melodies; sweeps; knocks; calls of animals. No recording is
needed, and no recording's licence touches what is trained on them.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

__all__ = ["KINDS", "coloured_noise", "draw"]

Float32 = NDArray[np.float32]


def draw(length: int, rate_hz: int, rng: np.random.Generator, kind: int | None = None) -> Float32:
    """(length,) samples of one of ``KINDS``, a random one if none is named, at any level."""
    which = int(rng.integers(len(KINDS))) if kind is None else kind % len(KINDS)
    return KINDS[which](length, rate_hz, rng)


def coloured_noise(num_samples: int, exponent: float, rng: np.random.Generator) -> Float32:
    """Noise of RMS 1 whose power falls as 1/f**exponent: 0 is white, 1 pink, 2 brown."""
    spectrum = np.fft.rfft(rng.standard_normal(num_samples))
    spectrum *= np.maximum(np.arange(len(spectrum)), 1) ** (-exponent / 2)
    noise = np.fft.irfft(spectrum, num_samples)
    return (noise / max(float(np.sqrt(np.mean(noise**2))), 1e-9)).astype(np.float32)


def _noise(length: int, rate_hz: int, rng: np.random.Generator) -> Float32:
    """Standing, swelling or pulsing, of any colour."""
    noise_T = coloured_noise(length, float(rng.uniform(-0.5, 2.5)), rng)
    return noise_T * _envelope(length, rate_hz, rng)


def _band(length: int, rate_hz: int, rng: np.random.Generator) -> Float32:
    """A band of noise: wind, steam, a hiss."""
    spectrum = np.fft.rfft(rng.standard_normal(length))
    hz = np.fft.rfftfreq(length, 1 / rate_hz)
    centre_hz, width = _pitch_hz(rng, 100, rate_hz / 2), float(rng.uniform(0.05, 0.6))
    spectrum *= np.exp(-0.5 * ((np.log(np.maximum(hz, 1)) - np.log(centre_hz)) / width) ** 2)
    return np.fft.irfft(spectrum, length).astype(np.float32) * _envelope(length, rate_hz, rng)


def _tones(length: int, rate_hz: int, rng: np.random.Generator) -> Float32:
    """One to four notes together, each with overtones that fade, one chord after another: music of sorts."""
    samples_T = np.zeros(length, np.float32)
    num_chords = int(rng.integers(1, 6))
    borders = np.linspace(0, length, num_chords + 1).astype(int)
    for start, end in pairwise(borders):
        base_hz = _pitch_hz(rng, 80, 1000)
        for _ in range(int(rng.integers(1, 5))):
            note_hz = base_hz * 2 ** (int(rng.integers(0, 13)) / 12)
            samples_T[start:end] += _note(end - start, rate_hz, note_hz, float(rng.uniform(0.3, 3)), rng)
    return samples_T


def _sweep(length: int, rate_hz: int, rng: np.random.Generator) -> Float32:
    """A siren, a chirp, a whistle: one pitch that moves."""
    octaves = np.cumsum(rng.standard_normal(length // 80 + 2)) * float(rng.uniform(0.02, 0.4))
    moving_T = np.interp(np.arange(length) / 80, np.arange(len(octaves)), octaves)
    hz_T = np.clip(_pitch_hz(rng, 150, 2500) * 2**moving_T, 60, 0.45 * rate_hz)
    phase_T = 2 * np.pi * np.cumsum(hz_T) / rate_hz
    harmonics = int(rng.integers(1, 4))
    samples_T = sum(np.sin((k + 1) * phase_T) * float(rng.uniform(0, 1)) ** k for k in range(harmonics))
    return np.asarray(samples_T * _envelope(length, rate_hz, rng), np.float32)


def _knocks(length: int, rate_hz: int, rng: np.random.Generator) -> Float32:
    """Bursts that ring for a moment: steps, claps, a keyboard, a clock."""
    samples_T = np.zeros(length, np.float32)
    ring = max(16, int(rate_hz * rng.uniform(0.005, 0.15)))
    decay = np.exp(-6.9 * np.arange(ring) / ring)
    hz = _pitch_hz(rng, 100, 3000)
    body = np.sin(2 * np.pi * hz * np.arange(ring) / rate_hz)
    for start in rng.integers(0, max(1, length - ring), int(rng.integers(1, 12))):
        burst = decay * (rng.standard_normal(ring) * rng.uniform(0, 1) + body * rng.uniform(0, 1))
        end = min(length, int(start) + ring)
        samples_T[start:end] += burst[: end - start].astype(np.float32)
    samples_T[0] += np.float32(1e-3)
    return samples_T


def _calls(length: int, rate_hz: int, rng: np.random.Generator) -> Float32:
    """Barks, meows, caws: a rough voice whose pitch rises and falls, once or several times."""
    samples_T = np.zeros(length, np.float32)
    num_calls = int(rng.integers(1, 5))
    borders = np.linspace(0, length, num_calls + 1).astype(int)
    low_hz, span = _pitch_hz(rng, 150, 1200), float(rng.uniform(0.1, 1.2))
    rough, formant_hz = float(rng.uniform(0, 1.5)), _pitch_hz(rng, 500, 3000)
    for start, end in pairwise(borders):
        size = max(8, int((end - start) * rng.uniform(0.3, 0.9)))
        arc = np.sin(np.pi * np.arange(size) / size)
        phase = 2 * np.pi * np.cumsum(low_hz * 2 ** (span * arc)) / rate_hz
        voice = sum(np.sin(k * phase) / (1 + abs(k * low_hz / formant_hz - 1)) for k in range(1, 12))
        call = (voice + rough * rng.standard_normal(size)) * arc ** rng.uniform(0.3, 2)
        samples_T[start : start + size] += call.astype(np.float32)[: length - start]
    return samples_T


KINDS: tuple[Callable[[int, int, np.random.Generator], Float32], ...] = (
    _noise,
    _band,
    _tones,
    _sweep,
    _knocks,
    _calls,
)


def _note(length: int, rate_hz: int, hz: float, fade: float, rng: np.random.Generator) -> Float32:
    time_T = np.arange(length) / rate_hz
    brightness = float(rng.uniform(0.2, 0.9))
    partials = (
        brightness**k * np.sin(2 * np.pi * (k + 1) * hz * time_T) for k in range(6) if (k + 1) * hz < rate_hz / 2
    )
    attack = np.minimum(1, np.arange(length) / max(1, rate_hz * rng.uniform(0.002, 0.05)))
    return np.asarray(sum(partials) * attack * np.exp(-fade * time_T / max(time_T[-1], 1e-3)), np.float32)


def _envelope(length: int, rate_hz: int, rng: np.random.Generator) -> Float32:
    """Steady, swelling, fading, or pulsing 1 to 15 times a second, as speech does."""
    time_T = np.arange(length) / rate_hz
    kind = int(rng.integers(4))
    if kind == 0:
        return np.ones(length, np.float32)
    if kind == 1:
        return np.linspace(0.05, 1, length, dtype=np.float32)
    if kind == 2:
        return np.exp(-np.linspace(0, float(rng.uniform(1, 6)), length)).astype(np.float32)
    pulses = 0.5 + 0.5 * np.sin(2 * np.pi * (rng.uniform(1, 15) * time_T + rng.uniform(0, 1)))
    return (0.02 + pulses ** rng.uniform(0.5, 4)).astype(np.float32)


def _pitch_hz(rng: np.random.Generator, low_hz: float, high_hz: float) -> float:
    return float(np.exp(rng.uniform(np.log(low_hz), np.log(high_hz))))
