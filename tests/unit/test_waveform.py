"""The waveform: the middle of what is long, zeros around what is short."""

from __future__ import annotations

import numpy as np
import pytest

from soundsight.audio import Clip
from soundsight.features.waveform import Config, extract


def clip(num: int) -> Clip:
    return Clip(np.arange(1, num + 1, dtype=np.float32), 10)


def heard(num: int) -> list[float]:
    return extract([clip(num)], Config(sample_rate_hz=10, duration_s=0.5))[0, 0].tolist()


def test_the_middle_of_a_long_clip():
    assert heard(11) == [4, 5, 6, 7, 8]
    assert heard(5) == [1, 2, 3, 4, 5]


def test_a_short_clip_lies_in_the_middle_of_zeros():
    assert heard(3) == [0, 1, 2, 3, 0]
    assert heard(2) == [0, 0, 1, 2, 0]


def test_a_batch_of_different_lengths():
    features = extract([clip(3), clip(20)], Config(sample_rate_hz=10, duration_s=0.5))
    assert features.shape == (2, 1, 5)
    assert features.dtype == np.float32


@pytest.mark.parametrize("options", [{"sample_rate_hz": 0}, {"duration_s": 0.0}, {"duration_s": float("inf")}])
def test_options_that_are_none_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        Config(**options)
