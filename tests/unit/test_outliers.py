"""Sounds that are no digit: as many and as different as asked for, the same on every machine."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from soundsight.audio import Clip, condition
from soundsight.datasets import non_speech, outliers, voices
from soundsight.errors import AudioError
from soundsight.features import logmel

RATE_HZ = 8000
needs_voices = pytest.mark.skipif(
    not (shutil.which("espeak-ng") and shutil.which("flite")), reason="speech synthesisers are not installed"
)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(seed))


def test_sounds_are_clips_as_every_front_end_gets_them():
    made = outliers.sounds(60, rng(), sample_rate_hz=RATE_HZ)
    assert len(made) == 60
    for clip in made:
        assert clip.sample_rate_hz == RATE_HZ
        assert clip.samples.dtype == np.float32
        assert 0.02 <= len(clip.samples) / RATE_HZ <= 2
        again = condition(Clip(clip.samples.copy(), RATE_HZ))
        assert len(again.samples) <= len(clip.samples)
        assert np.abs(clip.samples).max() <= 1


@pytest.mark.parametrize("rate_hz", [8000, 16000])
def test_a_seed_decides_all(rate_hz):
    first, again, other = (outliers.sounds(12, rng(seed), sample_rate_hz=rate_hz) for seed in (1, 1, 2))
    for a, b, c in zip(first, again, other, strict=True):
        np.testing.assert_array_equal(a.samples, b.samples)
        assert len(a.samples) != len(c.samples) or not np.allclose(a.samples, c.samples)


def test_kinds_differ_from_each_other_more_than_within():
    """By the rhythm and the shape of the spectrum that a front end sees."""
    num_kinds = len(non_speech.KINDS)
    made = outliers.sounds(40 * num_kinds, rng(3), sample_rate_hz=RATE_HZ)
    features = logmel.extract(made, logmel.Config())
    seen = np.stack(
        [
            features.std(1).mean(1),
            features.std(2).mean(1),
            features.mean((1, 2)),
            np.abs(np.diff(features)).mean((1, 2)),
        ],
        axis=1,
    )
    kinds = np.arange(len(made)) % num_kinds
    between = np.stack([seen[kinds == kind].mean(0) for kind in range(num_kinds)]).var(0)
    assert (between > 0.0005).any()
    assert np.unique(np.round(seen, 3), axis=0).shape[0] > 0.95 * len(made)


def test_no_word_is_a_digit_or_sounds_like_one():
    assert len(set(outliers.WORDS)) == len(outliers.WORDS) > 100
    homophones = {"won", "to", "too", "for", "fore", "ate", "oh", "nought", "nil", "tree", "sicks", "niner"}
    assert not set(outliers.WORDS) & (set(voices.DIGIT_WORDS) | homophones)


@needs_voices
def test_words_are_spoken_by_many_voices():
    spoken = outliers.words(12, rng(5), sample_rate_hz=RATE_HZ)
    assert len(spoken) == 12
    lengths = [len(clip.samples) / RATE_HZ for clip in spoken]
    assert min(lengths) > 0.1
    assert max(lengths) < 2
    again = outliers.words(12, rng(5), sample_rate_hz=RATE_HZ)
    assert all(np.array_equal(a.samples, b.samples) for a, b in zip(spoken, again, strict=True))


def test_near_words_are_none_of_the_others_and_no_digits():
    assert len(outliers.NEAR_WORDS) > 80
    homophones = {"won", "to", "too", "for", "fore", "ate", "oh", "tree", "free", "fife", "niner", "sicks", "once"}
    assert not set(outliers.NEAR_WORDS) & (set(voices.DIGIT_WORDS) | homophones)


def test_moments_are_short_cuts_of_the_recordings():
    words = [
        Clip(np.sin(np.arange(size) * (0.1 + i / 10)).astype(np.float32), RATE_HZ)
        for i, size in enumerate((RATE_HZ // 8, RATE_HZ // 2, RATE_HZ))
    ]
    cuts = outliers.moments(300, words, rng(4))
    lengths = np.array([len(clip.samples) for clip in cuts]) / RATE_HZ
    assert lengths.max() <= 0.13
    assert lengths.min() >= 0.02
    assert np.unique(lengths).size > 50
    assert all(
        a.samples.tobytes() == b.samples.tobytes()
        for a, b in zip(cuts, outliers.moments(300, words, rng(4)), strict=True)
    )


def test_moments_of_silence_are_refused():
    with pytest.raises(AudioError, match="silent or too short"):
        outliers.moments(1, [Clip(np.zeros(RATE_HZ, np.float32), RATE_HZ)], rng())
