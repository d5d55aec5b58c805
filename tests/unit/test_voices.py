"""Synthetic speakers, spoken by the real engines."""

from __future__ import annotations

import shutil
from itertools import combinations

import numpy as np
import pytest

from soundsight.audio import condition
from soundsight.datasets import voices
from soundsight.datasets.voices import DIGIT_WORDS, Voice
from soundsight.errors import DatasetError

RATE_HZ = 8000
needs_espeak = pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="espeak-ng is not installed")
needs_flite = pytest.mark.skipif(shutil.which("flite") is None, reason="flite is not installed")

BRISK = Voice("espeak-ng", "en-us+m3", 1.2, 30)
CALM = Voice("espeak-ng", "en-us+m3", 0.75, 30)
HIGH = Voice("espeak-ng", "en-us+m3", 1.2, 80)
FEMALE = Voice("espeak-ng", "en-gb+f2", 1.0, 50)
SLT = Voice("flite", "slt", 1.0, 60)
KAL = Voice("flite", "kal16", 1.0, 20)


def generator(seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(seed))


def pitch_hz(samples_T: np.ndarray) -> float:
    """Strongest period between 70 and 400 Hz of the whole clip, by autocorrelation."""
    spectrum = np.abs(np.fft.rfft(samples_T, 4 * len(samples_T))) ** 2
    correlation = np.fft.irfft(spectrum)
    shortest, longest = RATE_HZ // 400, RATE_HZ // 70
    return RATE_HZ / (shortest + int(np.argmax(correlation[shortest:longest])))


@needs_espeak
def test_every_voice_says_every_word():
    rows = voices.speak([BRISK, FEMALE], DIGIT_WORDS, sample_rate_hz=RATE_HZ)
    assert [len(row) for row in rows] == [10, 10]
    samples = [clip.samples for row in rows for clip in row]
    assert len({x.tobytes() for x in samples}) == 20, "no two words, and no two voices, are alike"
    for row in rows:
        for clip in row:
            assert clip.sample_rate_hz == RATE_HZ
            assert 0.1 < clip.duration_s < 1.5
            assert float(np.sqrt(np.mean(clip.samples**2))) == pytest.approx(0.1, rel=0.02) or np.isclose(
                np.abs(clip.samples).max(), 1
            ), "levelled as every clip"
            again = condition(clip)
            assert len(again.samples) >= 0.8 * len(clip.samples), "trimmed as every clip"


@needs_espeak
def test_words_come_in_the_order_asked_for():
    (row,) = voices.speak([BRISK], ["seven", "one"], sample_rate_hz=RATE_HZ)
    (turned,) = voices.speak([BRISK], ["one", "seven"], sample_rate_hz=RATE_HZ)
    np.testing.assert_array_equal(row[0].samples, turned[1].samples)
    np.testing.assert_array_equal(row[1].samples, turned[0].samples)


@needs_espeak
@pytest.mark.parametrize("voice", [BRISK, pytest.param(SLT, marks=needs_flite)], ids=lambda voice: voice.engine)
def test_speech_is_deterministic(voice):
    first, second = (voices.speak([voice], ["three", "nine"], sample_rate_hz=RATE_HZ)[0] for _ in range(2))
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a.samples, b.samples)


@needs_espeak
def test_pace_and_pitch_are_heard():
    brisk, calm, high = (row[0] for row in voices.speak([BRISK, CALM, HIGH], ["nine"], sample_rate_hz=RATE_HZ))
    assert calm.duration_s > 1.2 * brisk.duration_s
    assert pitch_hz(high.samples) > 1.2 * pitch_hz(brisk.samples)


@needs_flite
def test_pace_and_pitch_of_flite_are_heard():
    brisk, calm = (Voice("flite", "slt", pace, 50) for pace in (1.2, 0.75))
    low, high = (Voice("flite", "kal16", 1.0, pitch) for pitch in (20, 80))
    rows = voices.speak([brisk, calm, low, high], ["nine"], sample_rate_hz=RATE_HZ)
    clip_of = {voice: row[0] for voice, row in zip((brisk, calm, low, high), rows, strict=True)}
    assert clip_of[calm].duration_s > 1.2 * clip_of[brisk].duration_s
    assert pitch_hz(clip_of[high].samples) > 1.4 * pitch_hz(clip_of[low].samples)


@needs_flite
def test_the_voices_of_flite_differ():
    rows = voices.speak([SLT, KAL], ["one"], sample_rate_hz=RATE_HZ)
    assert rows[0][0].samples.tobytes() != rows[1][0].samples.tobytes()


@needs_espeak
@needs_flite
def test_drawn_speakers_are_those_of_their_generator_and_differ():
    first, second, other = (voices.draw(24, generator(seed)) for seed in (0, 0, 1))
    assert first == second != other
    assert len(set(first)) == 24
    assert all(0.7 <= voice.pace <= 1.25 and 15 <= voice.pitch < 85 for voice in first)
    assert len({voice.name for voice in first}) > 10
    assert [voice.engine for voice in first] == ["espeak-ng", "espeak-ng", "espeak-ng", "flite"] * 6


@needs_espeak
@needs_flite
def test_drawn_speakers_can_speak_and_sound_different():
    rows = voices.speak(voices.draw(8, generator(3)), ["eight"], sample_rate_hz=RATE_HZ)
    spectra = []
    for row in rows:
        power = np.abs(np.fft.rfft(row[0].samples, 16384)) ** 2
        bands = np.log(np.array([band.mean() for band in np.array_split(power, 32)]) + 1e-9)
        spectra.append((bands - bands.mean()) / bands.std())
    for a, b in combinations(spectra, 2):
        assert np.mean(a * b) < 0.999


@needs_espeak
def test_every_accent_and_variant_speaks():
    """One word each, so that no recipe fails because of the dice."""
    names = [f"{accent}+m1" for accent in voices._ACCENTS] + [f"en-us+{variant}" for variant in voices._VARIANTS]
    rows = voices.speak([Voice("espeak-ng", name, 1.0, 50) for name in names], ["two"], sample_rate_hz=RATE_HZ)
    assert len({row[0].samples.tobytes() for row in rows}) > 0.8 * len(names)


def test_without_espeak_the_line_says_how_to_go_on(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(DatasetError, match=r"need espeak-ng: apt install espeak-ng.*data\.voices=0"):
        voices.draw(1, generator(0))
    assert voices.draw(0, generator(0)) == []


def test_without_flite_nobody_is_replaced_in_silence(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: "/bin/espeak-ng" if name == "espeak-ng" else None)
    assert len(voices.draw(3, generator(0))) == 3
    with pytest.raises(DatasetError, match=r"need flite: apt install espeak-ng flite"):
        voices.draw(4, generator(0))


def test_an_engine_that_is_gone_is_one_line(monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(DatasetError, match=r"espeak-ng could not speak 'one' as en-us\+m3"):
        voices.speak([BRISK], ["one"], sample_rate_hz=RATE_HZ)


@needs_espeak
def test_an_engine_that_says_nothing_is_one_line():
    with pytest.raises(DatasetError, match="could not speak"):
        voices.speak([BRISK], ["."], sample_rate_hz=RATE_HZ)
