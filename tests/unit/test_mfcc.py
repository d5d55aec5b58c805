"""Cepstral coefficients against librosa, and the laws that they keep."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import librosa
import numpy as np
import pytest
import scipy.fft
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from soundsight.audio import Clip
from soundsight.features import mfcc
from soundsight.features.mfcc import Config, as_row, extract

Float32 = NDArray[np.float32]
RATE_HZ = 16_000
HOP = 2000


def reference(samples_T: Float32, config: Config) -> NDArray[np.float64]:
    """librosa's coefficients of the middle second and of what the last window reaches beyond it."""
    num_heard = round(config.duration_s * config.sample_rate_hz)
    hop, window = round(num_heard / config.windows), round(config.window_s * config.sample_rate_hz)
    from_middle_T = samples_T[max(0, len(samples_T) - num_heard) // 2 :].astype(np.float64)
    mel_options = {
        "y": librosa.util.fix_length(from_middle_T, size=(config.windows - 1) * hop + window),
        "sr": config.sample_rate_hz,
        "n_fft": window,
        "hop_length": hop,
        "center": False,
        "n_mels": config.bands,
    }
    if config.top_db == 80:
        return librosa.feature.mfcc(n_mfcc=config.coefficients, **mel_options)
    # librosa.feature.mfcc passes no other dynamic range on.
    level_db_FN = librosa.power_to_db(librosa.feature.melspectrogram(**mel_options), top_db=config.top_db)
    return librosa.feature.mfcc(S=level_db_FN, n_mfcc=config.coefficients)


def check_close(actual: NDArray[Any], expected: NDArray[Any], err_msg: str = "") -> None:
    """Equal but for the rounding of sums of single floats: the first coefficient reaches -1,131."""
    np.testing.assert_allclose(actual, expected, rtol=4e-6, atol=1e-3, err_msg=err_msg)


def noise(num_samples: int, seed: int = 0, decay_db: float = 0.0) -> Float32:
    decay = 10 ** np.linspace(-1, -1 - decay_db / 20, num_samples)
    return (np.random.default_rng(seed).standard_normal(num_samples) * decay).astype(np.float32)


def features(samples_T: Float32, **options: Any) -> Float32:
    return extract([Clip(samples_T, RATE_HZ)], Config(**options))[0]


@pytest.mark.parametrize("num_samples", [320, 7999, 16_000, 16_001, 17_777, 18_000, 20_001, 160_000])
def test_equals_librosa_whatever_the_length(num_samples: int) -> None:
    samples_T = noise(num_samples, decay_db=100)
    ours_FN = features(samples_T)
    assert ours_FN.shape == (13, 8)
    check_close(ours_FN, reference(samples_T, Config()))


@pytest.mark.parametrize(
    "options",
    [
        {"coefficients": 20, "bands": 40},
        {"coefficients": 64, "bands": 64},
        {"coefficients": 1},
        {"windows": 4},
        {"windows": 1},
        {"windows": 100, "window_s": 0.03, "bands": 26},
        {"duration_s": 2.0, "windows": 10},
        {"top_db": 30.0},
        {"sample_rate_hz": 8000},
        {"sample_rate_hz": 22_050},
        {"sample_rate_hz": 22_050, "window_s": 0.1001},
    ],
)
def test_equals_librosa_whatever_the_options(options: dict[str, Any]) -> None:
    config = Config(**options)
    samples_T = noise(45_001, seed=1, decay_db=100)
    ours_FN = extract([Clip(samples_T, config.sample_rate_hz)], config)[0]
    check_close(ours_FN, reference(samples_T, config))


def test_equals_librosa_on_recordings(data_root: Path) -> None:
    paths = sorted(data_root.glob("esc50/audio/*.flac"))[::20]
    assert len(paths) == 20
    sounds = [soundfile.read(path, dtype="float32") for path in paths]
    assert {rate_hz for _, rate_hz in sounds} == {RATE_HZ}
    ours_BFN = extract([Clip(sound, RATE_HZ) for sound, _ in sounds], Config())
    for path, (sound, _), ours_FN in zip(paths, sounds, ours_BFN, strict=True):
        check_close(ours_FN, reference(sound, Config()), err_msg=path.name)


def test_there_are_104_numbers_for_a_second_with_the_published_windows() -> None:
    config = Config()
    assert (config.window, config.hop) == (4000, 2000)
    assert as_row(extract([Clip(noise(RATE_HZ), RATE_HZ)], config)).shape == (1, 104)


def test_silence_is_at_the_lowest_level_in_all_bands() -> None:
    silence_FN = features(np.zeros(RATE_HZ, np.float32))
    np.testing.assert_allclose(silence_FN[0], -100 * math.sqrt(128), rtol=1e-5)
    np.testing.assert_allclose(silence_FN[1:], 0, atol=1e-3)


@given(st.floats(-40, 40), st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_a_gain_moves_the_first_coefficient_alone(gain_db: float, seed: int) -> None:
    samples_T = noise(RATE_HZ, seed)
    louder_FN = features(samples_T * np.float32(10 ** (gain_db / 20)))
    moved_FN = louder_FN - features(samples_T)
    np.testing.assert_allclose(moved_FN[0], gain_db * math.sqrt(128), atol=2e-3)
    np.testing.assert_allclose(moved_FN[1:], 0, atol=2e-3)


def test_a_sound_that_comes_an_eighth_of_a_second_later_is_one_window_later() -> None:
    samples_T = noise(RATE_HZ)
    later_T = np.concatenate([noise(HOP, seed=1), samples_T[:-HOP]])
    sooner_FN, later_FN = features(samples_T), features(later_T)
    # The last window hears half of what the last but one hears, and zeros.
    check_close(later_FN[:, 1:7], sooner_FN[:, :6])
    assert np.abs(later_FN - sooner_FN).max() > 5


def test_the_middle_second_is_heard_and_the_last_window_hears_on() -> None:
    second_T, before_T, after_T = noise(RATE_HZ), noise(5000, seed=1), noise(5000, seed=2)
    alone_FN = features(second_T)
    within_FN = features(np.concatenate([before_T, second_T, after_T]))
    check_close(within_FN[:, :7], alone_FN[:, :7])
    assert np.abs(within_FN[:, 7] - alone_FN[:, 7]).max() > 5
    # It hears an eighth of a second beyond, and no more.
    after_T[HOP:] = 0
    np.testing.assert_array_equal(features(np.concatenate([before_T, second_T, after_T])), within_FN)


@pytest.mark.parametrize("num_samples", [400, 9000, 15_999])
def test_a_shorter_clip_ends_in_zeros(num_samples: int) -> None:
    short_T = noise(num_samples)
    padded_T = np.concatenate([short_T, np.zeros(RATE_HZ - num_samples, np.float32)])
    np.testing.assert_array_equal(features(short_T), features(padded_T))


@pytest.mark.parametrize("top_db", [20.0, 60.0])
def test_no_cell_is_further_below_the_loudest_of_the_clip(top_db: float) -> None:
    coefficients_FN = features(noise(RATE_HZ, decay_db=100), top_db=top_db, coefficients=128)
    level_db_FN = scipy.fft.idct(coefficients_FN, axis=0, norm="ortho")
    peak_db = level_db_FN[:, 0].max()
    np.testing.assert_allclose(level_db_FN[:, -1], peak_db - top_db, atol=1e-3)
    assert level_db_FN.min() > peak_db - top_db - 1e-3


@given(st.lists(st.integers(320, 40_000), min_size=1, max_size=40), st.integers(0, 1000))
@settings(max_examples=10, deadline=None)
def test_neighbours_in_a_batch_do_not_matter(lengths: list[int], seed: int) -> None:
    # Loud and quiet ones side by side: each is held against its own loudest cell.
    clips = [
        Clip(noise(length, seed + i, decay_db=100) * np.float32(10 ** -(i % 4)), RATE_HZ)
        for i, length in enumerate(lengths)
    ]
    together_BFN = extract(clips, Config())
    assert together_BFN.dtype == np.float32
    for clip, together_FN in zip(clips, together_BFN, strict=True):
        check_close(extract([clip], Config())[0], together_FN)


def test_a_batch_of_many_groups_is_in_order() -> None:
    clips = [Clip(noise(RATE_HZ, seed), RATE_HZ) for seed in range(3 * mfcc._GROUP_FRAMES // 8 + 5)]
    together_BFN = extract(clips, Config())
    for i in (0, 15, 16, 31, 32, len(clips) - 1):
        check_close(extract([clips[i]], Config())[0], together_BFN[i])


def test_an_empty_batch_is_empty() -> None:
    assert extract([], Config()).shape == (0, 13, 8)
    assert as_row(extract([], Config())).shape == (0, 104)


def test_a_row_is_window_after_window() -> None:
    features_BFN = np.random.default_rng(0).standard_normal((3, 13, 8)).astype(np.float32)
    rows = as_row(features_BFN)
    assert rows.shape == (3, 104)
    for number in range(1, 105):
        window, coefficient = divmod(number - 1, 13)
        np.testing.assert_array_equal(rows[:, number - 1], features_BFN[:, coefficient, window])


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"sample_rate_hz": 0}, "sample_rate_hz must be a whole number of at least 1, not 0"),
        ({"windows": 8.0}, "windows must be a whole number of at least 1, not 8.0"),
        ({"coefficients": -1}, "coefficients must be a whole number of at least 1, not -1"),
        ({"bands": "many"}, "bands must be a whole number of at least 1, not 'many'"),
        ({"bands": 12}, "coefficients must be at most as many as the 12 bands, not 13"),
        ({"duration_s": 0.0}, "duration_s must be above 0 and finite, not 0"),
        ({"duration_s": math.inf}, "duration_s must be above 0 and finite, not inf"),
        ({"window_s": -0.25}, "window_s must be above 0 and finite, not -0.25"),
        ({"window_s": 0.00005}, "window_s must be at least 2 samples at 16000 Hz, not 5e-05 s"),
        ({"windows": 40_000}, "windows must begin at least 1 sample apart, not 40000 in 1 s"),
        ({"top_db": math.nan}, "top_db must be above 0 and finite, not nan"),
    ],
)
def test_wrong_options_are_told(options: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        Config(**options)
