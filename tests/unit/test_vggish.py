"""VGGish patches against librosa's spectra and scale, known values, and the laws that they keep."""

from __future__ import annotations

import math
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
from soundsight.features import vggish
from soundsight.features.vggish import Config, extract, patches

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
RATE_HZ = 16_000
PATCH = 15_360  # 0.96 s
NEEDED = 15_600  # 95 hops and a window
FFT_HZ = np.linspace(0, 8000, 257)


def reference_filters() -> Float64:
    """Each filter by linear interpolation over mel between its three points: (64, 257)."""
    points_mel = np.linspace(librosa.hz_to_mel(125, htk=True), librosa.hz_to_mel(7500, htk=True), 66)
    fft_mel = librosa.hz_to_mel(FFT_HZ, htk=True)
    return np.stack([np.interp(fft_mel, points_mel[i : i + 3], [0, 1, 0]) for i in range(64)])


def reference(samples_T: Float32) -> Float64:
    """The published patches (P, 96, 64), from librosa's magnitudes."""
    # librosa puts the window of 400 into the middle of the 512; zeros before it make it begin where frames begin.
    magnitude_KN = np.abs(
        librosa.stft(np.pad(samples_T.astype(np.float64), 56), n_fft=512, win_length=400, hop_length=160, center=False)
    )
    log_mel_NF = np.log(reference_filters() @ magnitude_KN + 0.01).T
    num_patches = len(log_mel_NF) // 96
    return log_mel_NF[: 96 * num_patches].reshape(num_patches, 96, 64)


def noise(num_samples: int, seed: int = 0) -> Float32:
    """Noise that falls by 100 dB, from far above the offset of the logarithm to far below."""
    decay = 10 ** np.linspace(-1, -6, num_samples)
    return (np.random.default_rng(seed).standard_normal(num_samples) * decay).astype(np.float32)


def tone(hz: float, num_samples: int = NEEDED, level: float = 1.0) -> Float32:
    return (level * np.sin(2 * np.pi * hz * np.arange(num_samples) / RATE_HZ)).astype(np.float32)


def patches_of(samples_T: Float32, **options: Any) -> Float32:
    return patches(Clip(samples_T, RATE_HZ), Config(**options))


def magnitudes(features: Float32) -> Float64:
    """Mel magnitudes before the logarithm."""
    return np.exp(features.astype(np.float64)) - 0.01


@pytest.mark.parametrize("num_samples", [NEEDED, 16_000, 40_001, 160_000])
def test_equals_librosas_spectra_through_the_published_filters(num_samples: int) -> None:
    samples_T = noise(num_samples)
    theirs_PNF = reference(samples_T)
    assert len(theirs_PNF) == {NEEDED: 1, 16_000: 1, 40_001: 2, 160_000: 10}[num_samples]
    ours_PNF = patches_of(samples_T)
    assert ours_PNF.dtype == np.float32
    assert ours_PNF.shape == theirs_PNF.shape
    np.testing.assert_allclose(ours_PNF, theirs_PNF, atol=1e-5)


def test_equals_librosas_spectra_on_recordings(data_root: Path) -> None:
    paths = sorted(data_root.glob("esc50/audio/*.flac"))[::20]
    assert len(paths) == 20
    for path in paths:
        samples_T, rate_hz = soundfile.read(path, dtype="float32")
        assert rate_hz == RATE_HZ
        np.testing.assert_allclose(patches_of(samples_T), reference(samples_T), atol=1e-4, err_msg=path.name)


def test_filters_lie_where_librosas_htk_filters_lie() -> None:
    theirs_FK = librosa.filters.mel(sr=RATE_HZ, n_fft=512, n_mels=64, fmin=125, fmax=7500, htk=True, norm=None)
    ours_FK = vggish.filters()
    np.testing.assert_array_equal(ours_FK > 0, theirs_FK > 0)
    np.testing.assert_allclose(ours_FK, reference_filters(), atol=1e-6)
    # Theirs are triangles over Hz, a little lower on the left and higher on the right.
    difference = np.abs(ours_FK - theirs_FK).max()
    assert 1e-3 < difference < 1e-2


def test_between_the_outer_points_the_filters_sum_to_one() -> None:
    points_hz = librosa.mel_to_hz(
        np.linspace(librosa.hz_to_mel(125, htk=True), librosa.hz_to_mel(7500, htk=True), 66), htk=True
    )
    inner = np.digitize(FFT_HZ, points_hz[[1, -2]]) == 1
    sums = vggish.filters().sum(axis=0)
    np.testing.assert_allclose(sums[inner], 1, atol=1e-6)
    assert not sums[(FFT_HZ <= 125) | (FFT_HZ >= 7500)].any()


def test_silence_is_the_logarithm_of_the_offset() -> None:
    np.testing.assert_allclose(patches_of(np.zeros(RATE_HZ, np.float32)), np.full((1, 96, 64), math.log(0.01)))


@pytest.mark.parametrize("hz", [500.0, 1000.0, 3000.0])
def test_a_tone_has_the_magnitude_of_the_window(hz: float) -> None:
    """On a bin of the FFT, all bands together hold the magnitudes of the zero-padded window, at half its level."""
    window = np.zeros(512)
    window[:400] = np.sin(np.pi * np.arange(400) / 400) ** 2
    expected = 0.3 / 2 * np.abs(np.fft.fft(window)).sum()
    total_PN = magnitudes(patches_of(tone(hz, level=0.3))).sum(axis=2)
    np.testing.assert_allclose(total_PN, expected, rtol=1e-3)


@pytest.mark.parametrize("hz", [200.0, 1000.0, 2345.0, 7000.0])
def test_a_tone_is_loudest_in_the_band_around_it(hz: float) -> None:
    (patch_NF,) = patches_of(tone(hz))
    loudest = set(patch_NF.argmax(axis=1).tolist())
    centres_mel = np.linspace(librosa.hz_to_mel(125, htk=True), librosa.hz_to_mel(7500, htk=True), 66)[1:-1]
    nearest = np.abs(librosa.mel_to_hz(centres_mel, htk=True) - hz).argmin()
    # Low bands are about as narrow as the window's main lobe: there the next one may win.
    assert loudest <= {nearest - 1, nearest, nearest + 1}


@given(st.floats(0.01, 4), st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_magnitudes_are_proportional_to_the_level(gain: float, seed: int) -> None:
    samples_T = noise(NEEDED, seed)
    louder = magnitudes(patches_of(samples_T * np.float32(gain)))
    np.testing.assert_allclose(louder, gain * magnitudes(patches_of(samples_T)), rtol=1e-4, atol=1e-5)


def test_time_runs_along_frames_and_frequency_along_bands() -> None:
    low_then_high = np.concatenate([tone(300, NEEDED // 2), tone(5000, NEEDED // 2)])
    quarters = patches_of(low_then_high)[0].reshape(2, 48, 2, 32).mean(axis=(1, 3))
    assert quarters[0, 0] > quarters[0, 1]
    assert quarters[1, 1] > quarters[1, 0]


@pytest.mark.parametrize(
    ("num_samples", "expected"), [(320, 1), (NEEDED - 1, 1), (NEEDED, 1), (2 * PATCH + 239, 1), (2 * PATCH + 240, 2)]
)
def test_patches_lie_wholly_within_a_clip_of_one_or_more(num_samples: int, expected: int) -> None:
    assert patches_of(noise(num_samples)).shape == (expected, 96, 64)


def test_patches_follow_one_another_without_overlap() -> None:
    samples_T = noise(5 * RATE_HZ)
    all_PNF = patches_of(samples_T)
    for i, patch_NF in enumerate(all_PNF):
        alone_PNF = patches_of(samples_T[i * PATCH :][:NEEDED])
        np.testing.assert_allclose(alone_PNF, patch_NF[None], atol=1e-6)


def test_what_is_left_at_the_end_is_not_heard() -> None:
    samples_T = noise(2 * PATCH)
    heard_PNF = patches_of(samples_T)
    samples_T[NEEDED:] = 1
    np.testing.assert_array_equal(patches_of(samples_T), heard_PNF)
    samples_T[NEEDED - 50 :] = 1
    assert not np.array_equal(patches_of(samples_T), heard_PNF)


@pytest.mark.parametrize(("hop_s", "step"), [(0.48, 48), (0.01, 1), (1.44, 144), (0.3161, 32)])
def test_patches_may_overlap_or_leave_gaps(hop_s: float, step: int) -> None:
    samples_T = noise(3 * RATE_HZ)
    frames_NF = np.concatenate(reference(np.pad(samples_T, (0, PATCH))))[: 1 + (3 * RATE_HZ - 400) // 160]
    starts = range(0, len(frames_NF) - 95, step)
    expected_PNF = np.stack([frames_NF[start : start + 96] for start in starts])
    np.testing.assert_allclose(patches_of(samples_T, hop_s=hop_s), expected_PNF, atol=1e-5)


@pytest.mark.parametrize("num_samples", [320, 8000, NEEDED - 1])
def test_a_clip_too_short_for_a_patch_ends_in_zeros(num_samples: int) -> None:
    short_T = noise(num_samples)
    padded_T = np.concatenate([short_T, np.zeros(NEEDED - num_samples, np.float32)])
    np.testing.assert_allclose(patches_of(short_T), reference(padded_T), atol=1e-5)


@pytest.mark.parametrize(
    ("total", "taken", "first"), [(1, 1, 0), (2, 1, 0), (3, 1, 1), (10, 1, 4), (5, 5, 0), (7, 5, 1), (8, 5, 1)]
)
def test_features_are_the_middle_patches_side_by_side(total: int, taken: int, first: int) -> None:
    clip = Clip(noise((total - 1) * PATCH + NEEDED + 100), RATE_HZ)
    (features_FN,) = extract([clip], Config(patches=taken))
    all_PNF = patches(clip, Config())
    assert len(all_PNF) == total
    expected_NF = np.concatenate(all_PNF[first : first + taken])
    np.testing.assert_allclose(features_FN, expected_NF.T, atol=1e-6)


def test_a_clip_too_short_for_all_patches_ends_in_zeros() -> None:
    samples_T = noise(NEEDED + 5000)
    (features_FN,) = extract([Clip(samples_T, RATE_HZ)], Config(patches=3))
    padded_T = np.concatenate([samples_T, np.zeros(2 * PATCH - 5000, np.float32)])
    np.testing.assert_allclose(features_FN, np.concatenate(reference(padded_T)).T, atol=1e-5)


@given(st.lists(st.integers(320, 60_000), min_size=1, max_size=6), st.integers(1, 3))
@settings(max_examples=15, deadline=None)
def test_neighbours_in_a_batch_do_not_matter(lengths: list[int], taken: int) -> None:
    config = Config(patches=taken)
    clips = [Clip(noise(length, seed), RATE_HZ) for seed, length in enumerate(lengths)]
    together_BFN = extract(clips, config)
    assert together_BFN.dtype == np.float32
    assert together_BFN.shape == (len(clips), 64, 96 * taken)
    for clip, together_FN in zip(clips, together_BFN, strict=True):
        np.testing.assert_allclose(extract([clip], config)[0], together_FN, atol=1e-6)


def test_an_empty_batch_is_empty() -> None:
    assert extract([], Config()).shape == (0, 64, 96)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"sample_rate_hz": 8000}, "sample_rate_hz must be 16000, which VGGish listens at, not 8000"),
        ({"sample_rate_hz": "16 kHz"}, "sample_rate_hz must be a whole number of at least 1, not '16 kHz'"),
        ({"patches": 0}, "patches must be a whole number of at least 1, not 0"),
        ({"patches": 1.5}, "patches must be a whole number of at least 1, not 1.5"),
        ({"hop_s": 0.0}, "hop_s must be above 0 and finite, not 0"),
        ({"hop_s": math.nan}, "hop_s must be above 0 and finite, not nan"),
        ({"hop_s": 0.004}, "hop_s must be at least one frame, 0.01 s, not 0.004 s"),
    ],
)
def test_wrong_options_are_told(options: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        Config(**options)
