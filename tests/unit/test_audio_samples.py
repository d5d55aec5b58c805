"""Samples in memory to clips."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from sounds import amplitude, sine
from soundsight.audio import from_array
from soundsight.errors import AudioError, SoundsightError

RATE_HZ = 8000


@pytest.mark.parametrize(
    ("dtype", "zero", "full"),
    [("int8", 0, 2**7), ("int16", 0, 2**15), (">i2", 0, 2**15), ("int32", 0, 2**31), ("uint8", 128, 2**7)],
)
def test_integers_are_scaled_by_their_full_scale(dtype: str, zero: int, full: int) -> None:
    samples = np.full(200, zero, dtype)
    samples[1], samples[2] = zero + full // 2, zero - full
    clip = from_array(samples, RATE_HZ)
    np.testing.assert_array_equal(clip.samples[:3], np.array([0, 0.5, -1], np.float32))


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "longdouble"])
def test_floats_are_taken_as_they_are(dtype: str) -> None:
    clip = from_array(np.linspace(-3, 3, 201).astype(dtype), RATE_HZ)
    assert clip.samples.dtype == np.float32
    assert (clip.samples[0], clip.samples[100], clip.samples[200]) == (-3, 0, 3)


def test_lists_of_floats_and_non_contiguous_views() -> None:
    samples = sine(RATE_HZ)
    np.testing.assert_allclose(from_array(samples.tolist(), RATE_HZ).samples, samples, atol=1e-7)
    np.testing.assert_allclose(from_array(samples[::-2], RATE_HZ).samples, samples[::-2], atol=1e-7)


@pytest.mark.parametrize("dtype", ["float32", "float64", "int16"])
def test_the_samples_are_copied(dtype: str) -> None:
    samples = np.zeros(400, dtype)
    clip = from_array(samples, RATE_HZ)
    samples[:] = 7
    assert not clip.samples.any()


def test_resampled_to_the_rate_wanted() -> None:
    clip = from_array(sine(44100), 44100, target_rate_hz=RATE_HZ)
    assert clip.sample_rate_hz == RATE_HZ
    assert amplitude(clip, 440) == pytest.approx(0.5, rel=2e-3)


def test_channels_are_averaged_unless_they_cancel() -> None:
    left, right = sine(RATE_HZ), sine(RATE_HZ, hz=700)
    np.testing.assert_allclose(from_array(np.stack([left, right], 1), RATE_HZ).samples, (left + right) / 2, atol=1e-6)
    np.testing.assert_allclose(from_array(np.stack([left, -left], 1), RATE_HZ).samples, left, atol=1e-6)


@pytest.mark.parametrize(
    ("samples", "rate_hz", "message"),
    [
        (np.zeros((2, 8000)), 8000, "transpose"),
        (np.zeros((8000, 65)), 8000, "transpose"),
        (np.zeros((10, 10, 2)), 8000, "shape"),
        (np.float32(1), 8000, "shape"),
        ([[0.0, 1.0], [0.0]], 8000, "not an array"),
        (np.zeros(8000, np.int64), 8000, "type int64"),
        (np.zeros(8000, np.uint16), 8000, "type uint16"),
        (np.zeros(8000, bool), 8000, "type bool"),
        (np.zeros(8000, complex), 8000, "type complex"),
        ("seven.wav", 8000, "shape"),
        (["a"] * 300, 8000, "type <U1"),
        (np.zeros(0), 8000, "empty"),
        (np.zeros(1), 8000, "too short"),
        (np.zeros(8000), 0, "0 Hz"),
        (np.zeros(8000), -8000, "-8,000 Hz"),
        (np.zeros(8000), 10**400, "Hz"),
        (np.zeros(8000), 8000.5, "whole number"),
        (np.zeros(8000), float("nan"), "whole number"),
        (np.zeros(8000), float("inf"), "whole number"),
        (np.zeros(8000), "8000", "whole number"),
        (np.array([0.0] * 300 + [np.nan]), 8000, r"sample 300 .* is nan"),
        (np.array([0.0] * 300 + [1e300]), 8000, r"sample 300 .* is inf"),
        (np.zeros(1000 * 4 * 3600 + 1, np.int8), 1000, "longer than 4 hours"),
    ],
)
def test_what_is_refused(samples: Any, rate_hz: Any, message: str) -> None:
    with pytest.raises(AudioError, match=message):
        from_array(samples, rate_hz)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(
    samples=hnp.arrays(
        st.one_of(hnp.floating_dtypes(), hnp.integer_dtypes(), hnp.unsigned_integer_dtypes(), hnp.boolean_dtypes()),
        hnp.array_shapes(min_dims=1, max_dims=3, max_side=400),
    ),
    rate_hz=st.one_of(st.sampled_from([8000, 44100]), st.integers(), st.floats()),
    target_rate_hz=st.one_of(st.none(), st.sampled_from([8000, 16000]), st.integers(-10, 10**7)),
)
def test_any_array_is_a_finite_clip_or_a_mistake_told(samples: Any, rate_hz: Any, target_rate_hz: int | None) -> None:
    try:
        clip = from_array(samples, rate_hz, target_rate_hz=target_rate_hz)
    except SoundsightError as error:
        message = str(error)
    else:
        message = ""
        assert clip.samples.dtype == np.float32
        assert np.isfinite(clip.samples).all()
        assert clip.duration_s == pytest.approx(len(samples) / rate_hz, abs=1 / clip.sample_rate_hz)
    assert "\n" not in message
