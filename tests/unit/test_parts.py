"""Recordings of places, cut into moments."""

from __future__ import annotations

import numpy as np
import pytest

from soundsight import registry
from soundsight.audio import Clip, split_evenly


def clip(num: int, rate_hz: int = 100) -> Clip:
    return Clip(np.arange(num, dtype=np.float32), rate_hz)


@pytest.mark.parametrize(
    ("num", "length_s", "parts"), [(50, 1.0, 1), (100, 1.0, 1), (199, 1.0, 1), (200, 1.0, 2), (730, 0.5, 14)]
)
def test_every_part_is_long_enough_and_nothing_is_lost(num, length_s, parts):
    found = split_evenly(clip(num), length_s)
    assert len(found) == parts
    np.testing.assert_array_equal(np.concatenate([part.samples for part in found]), np.arange(num))
    lengths = [len(part.samples) for part in found]
    assert max(lengths) - min(lengths) <= 1
    if parts > 1:
        assert min(lengths) >= 100 * length_s


def test_an_hour_is_an_hours_worth():
    assert len(split_evenly(Clip(np.zeros(3600 * 100, np.float32), 100), 1.0)) == 3600


@pytest.mark.parametrize("name", ["mfcc", "waveform", "vggish"])
def test_scenes_are_heard_moment_by_moment_and_silence_is_no_end(name):
    """A bark in the middle of four seconds of nothing: four moments, not one utterance."""
    front = registry.find("features", name)
    config = front.Config()
    samples = np.zeros(4 * config.sample_rate_hz, np.float32)
    samples[config.sample_rate_hz : config.sample_rate_hz + 1000] = 0.5
    sound = Clip(samples, config.sample_rate_hz)
    assert len(front.split(sound, config)) == 4
    assert front.prepare(sound) is sound


def test_speech_is_heard_word_by_word():
    front = registry.find("features", "logmel")
    rng = np.random.default_rng(0)
    samples = np.zeros(3 * 8000, np.float32)
    for start in (2000, 12000):
        samples[start : start + 3000] = 0.3 * rng.standard_normal(3000)
    assert len(front.split(Clip(samples, 8000), front.Config())) == 2
