"""Offset, silence at the ends, level: the same sound comes out however it was recorded."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sounds import sine
from soundsight.audio import Clip, activity, condition, decode
from soundsight.errors import AudioError

RATE_HZ = 8000


def clip_of(samples: np.ndarray, rate_hz: int = RATE_HZ) -> Clip:
    return Clip(samples.astype(np.float32), rate_hz)


def word(rate_hz: int = RATE_HZ) -> np.ndarray:
    """0.4 s that swell and fade like a vowel."""
    return sine(rate_hz, hz=300, duration_s=0.4) * np.hanning(round(0.4 * rate_hz))


def rms(samples: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(samples, dtype=np.float64))))


def energy(samples: np.ndarray) -> float:
    return float(np.sum(np.square(samples, dtype=np.float64)))


def found(whole: np.ndarray, part: np.ndarray) -> int:
    """Where a scaled part lies in the whole: where they correlate best."""
    size = 2 * len(whole)
    return int(np.fft.irfft(np.fft.rfft(whole, size) * np.conj(np.fft.rfft(part, size)))[: len(whole)].argmax())


@pytest.fixture(scope="module")
def fsdd(data_root: Path) -> dict[str, Clip]:
    paths = sorted((data_root / "fsdd").rglob("*.wav"))
    assert len(paths) == 2000
    return {path.stem: decode(path, sample_rate_hz=RATE_HZ) for path in paths}


@pytest.mark.parametrize("gain", [1e-3, 0.03, 1, 200, 30_000])
def test_gain_does_not_matter(gain: float) -> None:
    reference = condition(clip_of(word()))
    np.testing.assert_allclose(condition(clip_of(gain * word())).samples, reference.samples, atol=2e-6)


@pytest.mark.parametrize("offset", [-0.5, 0.01, 3.0])
def test_offset_does_not_matter(offset: float) -> None:
    padded = np.pad(word(), 4000)
    reference, shifted = condition(clip_of(padded)), condition(clip_of(padded + offset))
    assert abs(shifted.samples.mean()) < 1e-6
    np.testing.assert_allclose(shifted.samples, reference.samples, atol=1e-5)


def test_rms_is_fixed_and_the_sign_is_kept() -> None:
    clip = condition(clip_of(word()))
    assert rms(clip.samples) == pytest.approx(0.1, rel=1e-4)
    assert np.corrcoef(clip.samples, word()[: len(clip.samples)])[0, 1] > -0.99


def test_peak_stays_within_full_scale() -> None:
    # A pulse in a faint tone: at an RMS of 0.1 it would reach far above 1.
    samples = sine(RATE_HZ, level=0.02)
    samples[4000:4010] += 0.9
    result = condition(clip_of(samples)).samples
    assert 0.999 < np.abs(result).max() <= 1
    assert rms(result) < 0.05


@pytest.mark.parametrize("rate_hz", [1000, 8000, 16000, 48000])
def test_silence_at_the_ends_is_trimmed_to_a_margin(rate_hz: int) -> None:
    time_s = np.arange(round(0.5 * rate_hz)) / rate_hz
    samples = np.concatenate([np.zeros(rate_hz), 0.5 * np.sin(2 * np.pi * 120 * time_s), np.zeros(2 * rate_hz)])
    assert condition(clip_of(samples, rate_hz)).duration_s == pytest.approx(0.54, abs=0.021)


def test_a_click_before_the_word_is_trimmed_but_the_burst_after_a_stop_is_not() -> None:
    samples = np.pad(word(), 6000)
    samples[100:102] = 0.9
    samples[-1000:-900] = 0.4
    alone = condition(clip_of(np.pad(word(), 6000)))
    assert condition(clip_of(samples)).duration_s == pytest.approx(alone.duration_s, abs=0.011)
    # "eight": 80 ms after the vowel, 20 ms of noise.
    eight = np.pad(word(), (6000, 12000))
    start = 6000 + len(word()) + 640
    eight[start : start + 160] = 0.1 * np.random.default_rng(0).uniform(-1, 1, 160)
    assert condition(clip_of(eight)).duration_s == pytest.approx(alone.duration_s + 0.1, abs=0.05)


@pytest.mark.parametrize("samples", [np.zeros(800), np.full(800, 0.7), 2**-15 * (np.arange(800) % 3 - 1)])
def test_silence_is_refused(samples: np.ndarray) -> None:
    with pytest.raises(AudioError, match="silent"):
        condition(clip_of(samples))


@pytest.mark.parametrize("num_samples", [0, 1, 100])
def test_too_short_is_refused(num_samples: int) -> None:
    with pytest.raises(AudioError, match="empty|too short"):  # noqa: RUF043
        condition(clip_of(np.ones(num_samples)))


def test_the_input_is_left_alone() -> None:
    clip = clip_of(word() + 0.1)
    before = clip.samples.copy()
    condition(clip)
    np.testing.assert_array_equal(clip.samples, before)


def test_every_real_recording_survives(fsdd: dict[str, Clip]) -> None:
    for name, clip in fsdd.items():
        result = condition(clip)
        assert np.isfinite(result.samples).all(), name
        assert np.abs(result.samples).max() <= 1, name
        assert 0.14 <= result.duration_s <= 1.5, name
        centred = clip.samples - clip.samples.mean()
        at = found(centred, result.samples)
        assert energy(centred[at : at + len(result.samples)]) > 0.98 * energy(centred), name


def test_trimming_is_idempotent_on_real_recordings(fsdd: dict[str, Clip]) -> None:
    for name in list(fsdd)[::20]:
        once = condition(fsdd[name])
        twice = condition(once)
        assert abs(twice.duration_s - once.duration_s) < 0.1, name


@pytest.mark.parametrize("snr_db", [20, 10])
def test_noise_around_a_word_goes_and_the_word_stays(data_root: Path, fsdd: dict[str, Clip], snr_db: float) -> None:
    rng = np.random.default_rng(0)
    noise = decode(data_root / "background_noise" / "white_noise.wav", sample_rate_hz=RATE_HZ).samples
    kept, silence_s, names = [], [], list(fsdd)[::10]
    for name in names:
        speech = fsdd[name].samples - fsdd[name].samples.mean()
        padding = RATE_HZ // 2
        start = rng.integers(0, len(noise) - len(speech) - 2 * padding)
        around = noise[start : start + len(speech) + 2 * padding].copy()
        around *= rms(speech) / rms(around) * 10 ** (-snr_db / 20)
        around[padding : padding + len(speech)] += speech
        result = condition(Clip(around, RATE_HZ)).samples
        at = found(around, result) - padding
        first, end = max(at, 0), min(at + len(result), len(speech))
        kept.append(energy(speech[first:end]) / energy(speech))
        silence_s.append((len(result) - (end - first)) / RATE_HZ)
    assert min(kept) > (0.9 if snr_db == 10 else 0.98)
    assert np.mean(kept) > 0.99
    # Of the second of noise around it, a tenth is left at most, in the usual case.
    assert np.median(silence_s) < 0.1


@pytest.mark.parametrize("num_levels", [25, 26, 51, 1000])
def test_the_percentile_of_levels_is_numpys(num_levels: int) -> None:
    levels_db = np.random.default_rng(num_levels).normal(-60, 20, num_levels).astype(np.float32)
    for percent in (0, 2, 50, 100):
        found = activity._percentile(levels_db, percent)
        assert found == pytest.approx(float(np.percentile(levels_db, percent)), abs=1e-4)
