"""Log-mel against librosa and against formulas written here, and the laws that it keeps."""

from __future__ import annotations

import math
import tracemalloc
from pathlib import Path
from typing import Any

import librosa
import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from soundsight.audio import Clip
from soundsight.features import logmel
from soundsight.features.logmel import Config, extract

Float32 = NDArray[np.float32]
RATE_HZ = 8000


def reference(samples_T: Float32, config: Config) -> NDArray[np.float64]:
    """librosa's mel spectrogram in decibels, then our scaling and resizing, written as sums: (F, N)."""
    mel_FN = librosa.feature.melspectrogram(
        y=samples_T,
        sr=config.sample_rate_hz,
        n_fft=config.window,
        hop_length=config.hop,
        window="hann",
        center=True,
        pad_mode="constant",
        power=2.0,
        n_mels=config.bins,
        fmin=config.low_hz,
        fmax=config.high_hz,
        htk=False,
        norm="slaney",
    )
    level_db_FN = librosa.power_to_db(mel_FN, ref=np.max, amin=1e-20, top_db=config.top_db)
    return resized(level_db_FN.astype(np.float64) / config.top_db + 1, config.frames)


def resized(values_FN: NDArray[np.float64], frames: int) -> NDArray[np.float64]:
    """Time-resizing by its definition: np.interp when stretching, a triangle as wide as the step when shrinking."""
    num = values_FN.shape[1]
    if num <= frames:
        where = np.linspace(0, num - 1, frames)
        return np.stack([np.interp(where, np.arange(num), row) for row in values_FN])
    step = (num - 1) / (frames - 1)
    columns = []
    for n in range(frames):
        weights = [max(0.0, 1 - abs(m - n * step) / step) for m in range(num)]
        columns.append(sum(w * values_FN[:, m] for m, w in enumerate(weights)) / math.fsum(weights))
    return np.stack(columns, axis=1)


def noise(num_samples: int, seed: int = 0) -> Float32:
    """Noise that falls by 60 dB, so that the whole range of levels occurs."""
    decay = 10 ** np.linspace(-1, -4, num_samples)
    return (np.random.default_rng(seed).standard_normal(num_samples) * decay).astype(np.float32)


def tone(hz: float, num_samples: int = RATE_HZ) -> Float32:
    return np.sin(2 * np.pi * hz * np.arange(num_samples) / RATE_HZ).astype(np.float32)


@pytest.mark.parametrize("num_samples", [300, 1700, 3759, 3760, 3839, 3840, 8000, 40_000, 400_000])
def test_equals_librosa_whatever_the_length(num_samples: int) -> None:
    samples_T = noise(num_samples)
    np.testing.assert_allclose(
        extract([Clip(samples_T, RATE_HZ)], Config())[0], reference(samples_T, Config()), atol=2e-4
    )


@pytest.mark.parametrize(
    "options",
    [
        {"top_db": 50.0},
        {"bins": 20, "frames": 100},
        {"window": 512, "hop": 100},
        {"window": 250, "hop": 300, "bins": 10},
        {"low_hz": 0.0, "high_hz": 3000.0},
        {"sample_rate_hz": 16_000, "window": 400, "hop": 160, "bins": 64, "high_hz": 7600.0},
    ],
)
def test_equals_librosa_whatever_the_options(options: dict[str, Any]) -> None:
    config = Config(**options)
    samples_T = noise(9000, seed=1)
    ours_FN = extract([Clip(samples_T, config.sample_rate_hz)], config)[0]
    np.testing.assert_allclose(ours_FN, reference(samples_T, config), atol=2e-4)


def test_equals_librosa_on_recordings(data_root: Path) -> None:
    paths = sorted(data_root.glob("fsdd/**/*.wav"))[::61]
    assert len(paths) > 20
    sounds = [soundfile.read(path, dtype="float32")[0] for path in paths]
    ours_BFN = extract([Clip(sound, RATE_HZ) for sound in sounds], Config())
    for path, sound, ours_FN in zip(paths, sounds, ours_BFN, strict=True):
        np.testing.assert_allclose(ours_FN, reference(sound, Config()), atol=2e-4, err_msg=path.name)


@pytest.mark.parametrize("config", [Config(), Config(bins=80, window=1024, low_hz=0.0), Config(high_hz=1000.0)])
def test_filters_equal_librosas(config: Config) -> None:
    theirs = librosa.filters.mel(
        sr=RATE_HZ, n_fft=config.window, n_mels=config.bins, fmin=config.low_hz, fmax=config.high_hz
    )
    np.testing.assert_allclose(logmel.mel_filters(config), theirs, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("hz", [200.0, 1000.0, 3000.0])
def test_a_tone_is_loudest_in_the_band_around_it(hz: float) -> None:
    config = Config()
    loudest = extract([Clip(tone(hz), RATE_HZ)], config)[0].mean(axis=1).argmax()
    fft_hz = np.linspace(0, RATE_HZ / 2, config.window // 2 + 1)
    band_hz = fft_hz[logmel.mel_filters(config)[loudest] > 0]
    step_hz = RATE_HZ / config.window
    assert band_hz.min() - step_hz <= hz <= band_hz.max() + step_hz


def test_time_runs_left_to_right_and_frequency_upwards() -> None:
    low_then_high = np.concatenate([tone(200, 4000), tone(3000, 4000)])
    picture_FN = extract([Clip(low_then_high, RATE_HZ)], Config())[0]
    quarters = picture_FN.reshape(2, 24, 2, 24).mean(axis=(1, 3))
    assert quarters[0, 0] > quarters[0, 1]
    assert quarters[1, 1] > quarters[1, 0]


@given(st.integers(-10, 10), st.integers(200, 20_000), st.integers(0, 1000))
@settings(max_examples=30, deadline=None)
def test_the_level_of_the_recording_does_not_matter(exponent: int, num_samples: int, seed: int) -> None:
    samples_T = noise(num_samples, seed)
    quiet_FN, loud_FN = extract(
        [Clip(samples_T, RATE_HZ), Clip(samples_T * np.float32(2**exponent), RATE_HZ)], Config()
    )
    np.testing.assert_allclose(quiet_FN, loud_FN, atol=1e-6)


@given(st.lists(st.integers(160, 60_000), min_size=1, max_size=12))
@settings(max_examples=20, deadline=None)
def test_neighbours_in_a_batch_do_not_matter(lengths: list[int]) -> None:
    clips = [Clip(noise(length, seed), RATE_HZ) for seed, length in enumerate(lengths)]
    together_BFN = extract(clips, Config())
    assert together_BFN.dtype == np.float32
    assert together_BFN.min() >= 0
    assert together_BFN.max() <= 1
    for clip, together_FN in zip(clips, together_BFN, strict=True):
        np.testing.assert_allclose(extract([clip], Config())[0], together_FN, atol=1e-6)


def test_silence_is_black_and_an_empty_batch_is_empty() -> None:
    assert not extract([Clip(np.zeros(4000, np.float32), RATE_HZ)], Config()).any()
    assert extract([], Config()).shape == (0, 48, 48)


def test_a_longer_decay_reaches_lower_with_more_range() -> None:
    clip = Clip(noise(8000), RATE_HZ)
    narrow, wide = (extract([clip], Config(top_db=top_db)) for top_db in (20.0, 80.0))
    assert (narrow == 0).mean() > (wide == 0).mean() + 0.2


def test_both_ways_of_resizing_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    clips = [Clip(noise(length), RATE_HZ) for length in (200, 3000, 3760, 50_000)]
    dense_BFN = extract(clips, Config())
    monkeypatch.setattr(logmel, "_DENSE_FRAMES", 0)
    np.testing.assert_allclose(extract(clips, Config()), dense_BFN, atol=1e-6)


@pytest.mark.slow
def test_an_hour_of_sound_stays_within_memory() -> None:
    clip = Clip(np.tile(noise(RATE_HZ), 3600), RATE_HZ)
    tracemalloc.start()
    extract([clip], Config())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # One padded copy of the samples and 48 numbers every 80 samples: 1.6 times the clip. All spectra would be 6 times.
    assert peak < 2 * clip.samples.nbytes


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"hop": 0}, "hop must be a whole number of at least 1, not 0"),
        ({"bins": 4.5}, "bins must be a whole number of at least 1, not 4.5"),
        ({"high_hz": 5000.0}, "within 0 and 4000 Hz, not 60 to 5000"),
        ({"low_hz": 4000.0}, "not 4000 to 4000"),
        ({"top_db": 0.0}, "top_db must be above 0 and finite, not 0"),
        ({"top_db": math.nan}, "top_db must be above 0 and finite, not nan"),
        ({"top_db": math.inf}, "top_db must be above 0 and finite, not inf"),
    ],
)
def test_wrong_options_are_told(options: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        Config(**options)
