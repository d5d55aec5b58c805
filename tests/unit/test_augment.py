"""Laws of the changes that are drawn for training recordings."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from soundsight.audio import Clip, condition
from soundsight.config import Augment
from soundsight.datasets import augment, non_speech

RATE_HZ = 8000
ALL = Augment(
    copies=3, formant=0.2, tempo=0.2, reverb_s=0.4, tilt_db=20.0, noise_snr_db=(0.0, 20.0), time_warp=0.3
)  # masks are drawn per batch, elsewhere


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(seed))


def sine(frequency_hz: float, duration_s: float = 0.5) -> np.ndarray:
    time_T = np.arange(round(duration_s * RATE_HZ)) / RATE_HZ
    return (0.3 * np.sin(2 * np.pi * frequency_hz * time_T)).astype(np.float32)


def pitch_hz(samples_T: np.ndarray) -> float:
    """Frequency of the highest peak of the spectrum, interpolated."""
    padded = 16 * len(samples_T)
    spectrum = np.abs(np.fft.rfft(samples_T * np.hanning(len(samples_T)), padded))
    return float(np.argmax(spectrum)) * RATE_HZ / padded


def rms(samples_T: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(samples_T, dtype=np.float64))))


def db(ratio: float) -> float:
    return 20 * float(np.log10(ratio))


@pytest.mark.parametrize("factor", [0.8, 0.93, 1.0, 1.1, 1.25])
def test_stretch_changes_length_and_pitch_by_its_factor(factor):
    samples_T = sine(700)
    changed = augment.stretch(samples_T, factor)
    assert changed.dtype == np.float32
    assert len(changed) == pytest.approx(factor * len(samples_T), abs=5)
    assert pitch_hz(changed) == pytest.approx(700 / factor, rel=0.005)
    assert rms(changed) == pytest.approx(rms(samples_T), rel=0.03)


@pytest.mark.parametrize("factor", [0.75, 0.9, 1.0, 1.15, 1.33])
@pytest.mark.parametrize("frequency_hz", [180, 700, 2100])
def test_change_tempo_changes_the_length_and_keeps_the_pitch(factor, frequency_hz):
    samples_T = sine(frequency_hz)
    changed = augment.change_tempo(samples_T, RATE_HZ, factor)
    assert changed.dtype == np.float32
    assert len(changed) == int(len(samples_T) * factor)
    assert pitch_hz(changed) == pytest.approx(frequency_hz, rel=0.005)
    # Windows that fit leave no beat: the level stays, the fade at the ends aside.
    middle = changed[RATE_HZ // 20 : -RATE_HZ // 20]
    levels = [rms(part) for part in np.array_split(middle, 10)]
    assert min(levels) > 0.9 * rms(samples_T)
    assert max(levels) < 1.1 * rms(samples_T)


def test_change_tempo_keeps_the_order_of_what_is_said():
    samples_T = np.concatenate([sine(400, 0.4), sine(1600, 0.4)])
    changed = augment.change_tempo(samples_T, RATE_HZ, 1.3)
    half = len(changed) // 2
    assert pitch_hz(changed[: half - 400]) == pytest.approx(400, rel=0.01)
    assert pitch_hz(changed[half + 400 :]) == pytest.approx(1600, rel=0.01)


@pytest.mark.parametrize("slope_db", [-20.0, -6.0, 0.0, 12.0])
def test_tilt_is_a_line_in_decibels_from_the_lowest_to_the_highest_frequency(slope_db):
    samples_T = generator().standard_normal(RATE_HZ).astype(np.float32)
    changed = augment.tilt(samples_T, slope_db)
    gain_db = 20 * np.log10(np.abs(np.fft.rfft(changed.astype(float))) / np.abs(np.fft.rfft(samples_T.astype(float))))
    wanted = np.linspace(-slope_db / 2, slope_db / 2, len(gain_db))
    np.testing.assert_allclose(gain_db[10:-10], wanted[10:-10], atol=0.02)
    # The same at two tones near the edges, in time.
    low, high = (augment.tilt(sine(hz), slope_db) for hz in (40, 3960))
    assert db(rms(high) / rms(sine(3960))) - db(rms(low) / rms(sine(40))) == pytest.approx(0.98 * slope_db, abs=0.1)


def test_tilt_of_nothing_changes_nothing():
    samples_T = generator().standard_normal(777).astype(np.float32)
    np.testing.assert_allclose(augment.tilt(samples_T, 0.0), samples_T, atol=1e-6)


@pytest.mark.parametrize("exponent", [0.0, 1.0, 2.0])
def test_coloured_noise_has_its_slope_and_level(exponent):
    noise_T = non_speech.coloured_noise(1 << 17, exponent, generator(1))
    assert rms(noise_T) == pytest.approx(1, rel=1e-5)
    power = np.abs(np.fft.rfft(noise_T.astype(float))) ** 2
    edges = 2 ** np.arange(5, 16)
    octave = np.array([power[a:b].mean() for a, b in pairwise(edges)])
    slope = np.polyfit(np.log2(edges[:-1]), np.log2(octave), 1)[0]
    assert slope == pytest.approx(-exponent, abs=0.1)


@pytest.mark.parametrize("snr_db", [0.0, 10.0, 30.0])
def test_noise_is_added_at_the_ratio_asked_for(snr_db):
    samples_T = sine(500, 2.0)
    config = Augment(copies=1, noise_snr_db=(snr_db, snr_db))
    seen = 0
    for seed in range(12):
        added = augment.change(samples_T, RATE_HZ, config, generator(seed)) - samples_T
        if added.any():  # half of the copies stay clean
            seen += 1
            assert db(rms(samples_T) / rms(added)) == pytest.approx(snr_db, abs=0.05)
    assert 2 <= seen <= 10


def test_reverberation_keeps_the_direct_sound_and_adds_a_tail_that_falls():
    decay_s = 0.4
    click = np.zeros(RATE_HZ // 10, np.float32)
    click[0] = 1
    response = augment.reverberate(click, RATE_HZ, decay_s, generator())
    assert len(response) == len(click) + int(decay_s * RATE_HZ) - 1
    assert response[0] == pytest.approx(1, abs=1e-5)
    tail = response[1 : int(decay_s * RATE_HZ)].astype(float)
    assert (tail**2).sum() == pytest.approx(0.25, rel=0.05), "6 dB below the direct sound"
    levels_db = np.array([db(rms(part)) for part in np.array_split(tail, 16)])
    slope_db = np.polyfit(np.arange(16) / 16, levels_db, 1)[0]
    assert slope_db == pytest.approx(-60, abs=4), "60 dB within decay_s"


def test_reverberation_of_noise_adds_a_quarter_of_its_energy():
    noise_T = generator(2).standard_normal(4 * RATE_HZ).astype(np.float32)
    ratios = [rms(augment.reverberate(noise_T, RATE_HZ, 0.2, generator(seed))) / rms(noise_T) for seed in range(8)]
    assert np.mean(np.square(ratios)) == pytest.approx(1.25, rel=0.08)


def test_what_is_not_switched_on_changes_nothing():
    samples_T = sine(500)
    assert augment.change(samples_T, RATE_HZ, Augment(copies=1), generator()) is samples_T


@pytest.mark.parametrize(
    "config",
    [Augment(formant=0.2), Augment(tempo=0.2), Augment(tilt_db=10.0), Augment(reverb_s=0.3), Augment(time_warp=0.2)],
    ids=lambda config: ",".join(config.model_fields_set),
)
def test_each_switch_changes_something_and_differs_between_draws(config):
    samples_T = sine(500) + 0.01 * generator().standard_normal(RATE_HZ // 2).astype(np.float32)
    results = {augment.change(samples_T, RATE_HZ, config, generator(seed)).tobytes() for seed in range(8)}
    assert len(results - {samples_T.tobytes()}) >= 3


@pytest.mark.parametrize("option", ["formant", "tempo"])
def test_lengths_stay_within_the_share_asked_for_both_ways(option):
    samples_T = sine(500)
    rng = generator()
    factors = [
        len(augment.change(samples_T, RATE_HZ, Augment(**{option: 0.25}), rng)) / len(samples_T) for _ in range(200)
    ]
    assert 1 / 1.25 - 0.01 <= min(factors) < 0.85
    assert 1.15 < max(factors) <= 1.25 + 0.01
    assert np.median(factors) == pytest.approx(1, abs=0.05)


def test_ends_move_by_no_more_than_their_share():
    samples_T = sine(500)
    lengths = [len(augment.change(samples_T, RATE_HZ, Augment(time_warp=0.1), generator(s))) for s in range(60)]
    assert 0.8 * len(samples_T) <= min(lengths) < 0.95 * len(samples_T)
    assert 1.05 * len(samples_T) < max(lengths) <= 1.2 * len(samples_T)


def clips(num: int = 3) -> list[Clip]:
    rng = generator(9)
    shape_T = np.hanning(RATE_HZ // 2).astype(np.float32)
    return [
        condition(
            Clip(sine(300 + 200 * i) * shape_T + 1e-3 * rng.standard_normal(len(shape_T)).astype(np.float32), RATE_HZ)
        )
        for i in range(num)
    ]


def test_copies_are_those_of_their_generator():
    first, second, other = (augment.copies(clips(), ALL, generator(seed)) for seed in (1, 1, 2))
    assert [len(row) for row in first] == [3, 3, 3]
    flat = [clip.samples.tobytes() for row in first for clip in row]
    assert flat == [clip.samples.tobytes() for row in second for clip in row]
    assert flat != [clip.samples.tobytes() for row in other for clip in row]
    assert len(set(flat)) == 9, "no two copies are alike"


def test_copies_are_conditioned_like_every_clip():
    for row in augment.copies(clips(), ALL, generator(3)):
        for clip in row:
            assert clip.sample_rate_hz == RATE_HZ
            assert abs(float(clip.samples.mean())) < 1e-4
            assert float(np.abs(clip.samples).max()) <= 1
            np.testing.assert_allclose(rms(clip.samples), 0.1, rtol=0.02)


def test_without_copies_the_recordings_are_taken_as_they_are():
    originals = clips()
    rows = augment.copies(originals, Augment(formant=0.2), generator())
    assert [row[0] for row in rows] == originals
    assert all(len(row) == 1 for row in rows)


def test_copies_do_not_change_the_originals():
    originals = clips()
    before = [clip.samples.copy() for clip in originals]
    augment.copies(originals, ALL, generator())
    for clip, samples_T in zip(originals, before, strict=True):
        np.testing.assert_array_equal(clip.samples, samples_T)


@pytest.mark.parametrize("num_samples", [160, 161, 239, 480, 1000])
def test_the_shortest_clips_stay_finite(num_samples):
    """20 ms is the least that is a sound."""
    samples_T = 0.3 * generator(4).standard_normal(num_samples).astype(np.float32)
    rows = augment.copies([Clip(samples_T, RATE_HZ)], ALL.model_copy(update={"copies": 40}), generator(5))
    for clip in rows[0]:
        assert len(clip.samples) > 0
        assert np.isfinite(clip.samples).all()
    for size in (1, 2, 3, num_samples):
        for result in (
            augment.tilt(samples_T[:size], 10.0),
            augment.reverberate(samples_T[:size], RATE_HZ, 1e-5, generator()),
            augment.change_tempo(samples_T[:size], RATE_HZ, 0.7),
            non_speech.coloured_noise(size, 2.0, generator()),
        ):
            assert np.isfinite(result).all()


def test_a_margin_is_filled_with_the_noise_of_the_word():
    """Its level is set by the word alone, not by the word and its pauses."""
    word_T = sine(700, 0.4)
    config = Augment(copies=1, noise_snr_db=(10.0, 10.0), margin_s=1.0)
    noisy = [
        x for seed in range(40) if len(x := augment.change(word_T, RATE_HZ, config, generator(seed))) > len(word_T)
    ]
    assert 10 < len(noisy) < 30, "half of the copies stay clean, and as short as they were"
    lengths = np.array([len(x) for x in noisy]) / RATE_HZ - 0.4
    assert lengths.max() < 2
    assert lengths.mean() == pytest.approx(1, abs=0.25)
    for samples_T in noisy:
        noise_rms = rms(word_T) * 10 ** (-10 / 20)
        total = rms(samples_T) ** 2 * len(samples_T) - rms(word_T) ** 2 * len(word_T)
        assert np.sqrt(total / len(samples_T)) == pytest.approx(noise_rms, rel=0.25)


def test_without_noise_there_is_no_margin():
    word_T = sine(700, 0.4)
    changed = augment.change(word_T, RATE_HZ, Augment(copies=1, margin_s=1.0), generator())
    np.testing.assert_array_equal(changed, word_T)


def test_events_take_the_place_of_standing_noise_at_its_level():
    word_T = sine(700, 0.4)
    unsteady = {}
    for events in (0.0, 1.0):
        config = Augment(copies=1, noise_snr_db=(10.0, 10.0), events=events)
        noises = [augment.change(word_T, RATE_HZ, config, generator(seed)) - word_T for seed in range(60)]
        noises = [noise_T for noise_T in noises if np.abs(noise_T).max() > 0]
        assert 15 < len(noises) < 45, "half of the copies stay clean"
        for noise_T in noises:
            assert 10 * np.log10(np.mean(word_T**2) / np.mean(noise_T**2)) == pytest.approx(10, abs=0.1)
        blocks = [np.sqrt(np.mean(np.reshape(noise_T[: len(noise_T) // 8 * 8], (8, -1)) ** 2, 1)) for noise_T in noises]
        unsteady[events] = np.mean([block.std() / block.mean() for block in blocks])
    assert unsteady[1.0] > 1.5 * unsteady[0.0]
