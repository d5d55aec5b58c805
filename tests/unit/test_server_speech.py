"""The listener: words in a stream are where they were put, however the stream is cut into pieces."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import soundfile

from soundsight.server.speech import Listener, Speech

PHONE = Path(__file__).parents[2] / "examples" / "phone-number.wav"
RATES_HZ = [8_000, 11_025, 16_000, 22_050, 44_100, 48_000, 96_000]
WORDS = ((1.5, 1.9), (2.6, 3.5), (4.2, 4.35))
MARGIN_S, PAUSE_S, FRAME_S = 0.12, 0.24, 0.01
Found = list[tuple[float, np.ndarray]]


def _stream(
    rate_hz: int, words: tuple[tuple[float, float], ...] = WORDS, *, seconds: float = 5.5, noise_db: float = -65.0
) -> np.ndarray:
    """Tones of amplitude 0.2 in white noise."""
    rng = np.random.default_rng(rate_hz)
    samples_T = rng.normal(0, 10 ** (noise_db / 20), round(seconds * rate_hz))
    time_s = np.arange(len(samples_T)) / rate_hz
    for start_s, end_s in words:
        samples_T += 0.2 * np.sin(2 * np.pi * 300 * time_s) * ((time_s >= start_s) & (time_s < end_s))
    return samples_T.clip(-1, 1).astype(np.float32)


def _pieces(samples_T: np.ndarray, sizes: list[int]) -> list[np.ndarray]:
    """A stream cut into pieces of these sizes, again and again."""
    cuts = np.cumsum(np.resize(sizes, -(-len(samples_T) // min(sizes))))
    return [piece for piece in np.split(samples_T, cuts[cuts < len(samples_T)]) if len(piece)]


def _hear(samples_T: np.ndarray, rate_hz: int, *sizes: int) -> Found:
    """Words, each with the time by which its end was known."""
    listener, found, num = Listener(rate_hz), Found(), 0
    for piece in _pieces(samples_T, list(sizes)):
        num += len(piece)
        *ended, now = listener.hear(piece)
        assert not now.has_ended
        for speech in ended:
            assert speech.has_ended
            found.append((num / rate_hz, speech.samples))
    return found


@pytest.mark.parametrize("rate_hz", RATES_HZ)
def test_words_are_where_they_were_put(rate_hz: int) -> None:
    samples_T = _stream(rate_hz)
    found = _hear(samples_T, rate_hz, rate_hz // 100)
    assert len(found) == len(WORDS)
    for (known_s, word_T), (start_s, end_s) in zip(found, WORDS, strict=True):
        assert word_T.dtype == np.float32
        assert known_s == pytest.approx(end_s + PAUSE_S, abs=3 * FRAME_S)
        assert len(word_T) / rate_hz == pytest.approx(MARGIN_S + end_s - start_s + PAUSE_S, abs=3 * FRAME_S)
        # The very samples that were sent, and those of this word.
        first = round((start_s - MARGIN_S) * rate_hz)
        near_T = samples_T[first - round(0.03 * rate_hz) : first + round(0.03 * rate_hz) + len(word_T)]
        places = np.flatnonzero(near_T[: len(near_T) - len(word_T) + 1] == word_T[0])
        assert any(np.array_equal(near_T[place : place + len(word_T)], word_T) for place in places)


@pytest.mark.parametrize("rate_hz", [8_000, 11_025, 48_000])
def test_pieces_of_any_size_give_the_same_words(rate_hz: int) -> None:
    """A second at once, a browser's 128 samples, odd numbers, and bits of everything."""
    samples_T = _stream(rate_hz)
    whole = _hear(samples_T, rate_hz, rate_hz)
    for sizes in ([rate_hz // 10], [128], [rate_hz // 50 + 1], [997], [1, rate_hz, 7, 333, rate_hz // 3]):
        other = _hear(samples_T, rate_hz, *sizes)
        assert len(whole) == len(other) == len(WORDS)
        for (_, one_T), (_, other_T) in zip(whole, other, strict=True):
            np.testing.assert_array_equal(one_T, other_T)


def test_single_samples_give_the_same_words() -> None:
    samples_T = _stream(8_000, ((0.7, 1.0), (1.5, 1.7)), seconds=2.2)
    whole, single = _hear(samples_T, 8_000, 8_000), _hear(samples_T, 8_000, 1)
    assert len(whole) == len(single) == 2
    for (_, one_T), (_, other_T) in zip(whole, single, strict=True):
        np.testing.assert_array_equal(one_T, other_T)


def test_nothing_is_something_that_can_be_sent() -> None:
    [now] = Listener(8_000).hear(np.zeros(0, np.float32))
    assert (len(now.samples), now.has_ended, now.is_speaking) == (0, False, False)


@pytest.mark.parametrize("level", [0.0, 1e-4])
def test_silence_is_no_word(level: float) -> None:
    samples_T = (level * np.random.default_rng(0).standard_normal(10 * 16_000)).astype(np.float32)
    listener = Listener(16_000)
    for piece in _pieces(samples_T, [1600]):
        [now] = listener.hear(piece)
        assert not now.is_speaking
        assert now.level_db < -60
        assert len(now.samples) == 0


@pytest.mark.parametrize("noise_db", [-50, -40, -30, -20])
def test_a_fan_that_starts_is_no_word_for_long(noise_db: float) -> None:
    """Five seconds of quiet, then of the fan: whatever is taken for words ends, and later words are still found."""
    rate_hz = 8_000
    quiet_T = _stream(rate_hz, (), seconds=5, noise_db=-80)
    fan_T = _stream(rate_hz, ((12.0, 12.5),), seconds=15, noise_db=noise_db)
    if noise_db == -20:  # a word must be above the noise
        fan_T[12 * rate_hz : round(12.5 * rate_hz)] *= 3
    found = _hear(np.concatenate([quiet_T, fan_T]).clip(-1, 1), rate_hz, rate_hz // 10)
    times_s = [known_s for known_s, _ in found]
    assert all(known_s < 10.5 or known_s > 17 for known_s in times_s)
    assert sum(known_s > 17 for known_s in times_s) == 1
    assert times_s[-1] == pytest.approx(5 + 12.5 + PAUSE_S, abs=0.15)


def test_what_never_ends_is_ended() -> None:
    """A vowel of eight seconds comes in parts of at most three, none of it lost."""
    rate_hz = 16_000
    samples_T = _stream(rate_hz, ((2.0, 10.0),), seconds=11)
    found = _hear(samples_T, rate_hz, 1600)
    lengths_s = [len(word_T) / rate_hz for _, word_T in found]
    assert max(lengths_s) <= 3.0 + 2 * FRAME_S
    assert len(lengths_s) == 3
    assert found[0][0] == pytest.approx(2.0 - MARGIN_S + 3.0, abs=0.11)
    # Parts overlap by their margins at most; together they hold the vowel.
    assert 8.0 <= sum(lengths_s) <= 8.0 + 3 * MARGIN_S + PAUSE_S + 6 * FRAME_S


def test_clicks_are_no_words() -> None:
    rate_hz = 16_000
    samples_T = _stream(rate_hz, tuple((2 + i / 2, 2.03 + i / 2) for i in range(6)), seconds=6)
    assert _hear(samples_T, rate_hz, 1600) == []


def test_a_short_pause_is_inside_a_word_and_a_long_one_between_two() -> None:
    rate_hz = 16_000
    assert len(_hear(_stream(rate_hz, ((2.0, 2.2), (2.38, 2.6)), seconds=4), rate_hz, 160)) == 1
    assert len(_hear(_stream(rate_hz, ((2.0, 2.2), (2.48, 2.7)), seconds=4), rate_hz, 160)) == 2


def test_a_word_grows_until_it_ends() -> None:
    rate_hz = 16_000
    samples_T, listener = _stream(rate_hz, ((1.0, 1.8),), seconds=3), Listener(rate_hz)
    told = list[tuple[float, Speech]]()
    for i, piece in enumerate(_pieces(samples_T, [rate_hz // 50])):
        told += [((i + 1) / 50, speech) for speech in listener.hear(piece)]
    during = [(at_s, speech) for at_s, speech in told if speech.is_speaking]
    assert during[0][0] == pytest.approx(1.06, abs=0.03)  # known after six loud frames
    assert during[-1][0] == pytest.approx(1.8 + PAUSE_S, abs=0.04)
    lengths = [len(speech.samples) for _, speech in during]
    assert lengths == sorted(lengths)
    for at_s, speech in during:
        end = round(at_s * rate_hz)
        np.testing.assert_array_equal(speech.samples, samples_T[end - len(speech.samples) : end])
        if 1.15 < at_s < 1.8:
            assert speech.level_db == pytest.approx(20 * np.log10(0.2) - 3.01, abs=0.1)
    assert [speech.has_ended for _, speech in told].count(True) == 1
    for _, speech in told:
        assert not (speech.has_ended and speech.is_speaking)
        assert (len(speech.samples) > 0) == (speech.has_ended or speech.is_speaking)


def test_what_was_said_stays_as_it_was() -> None:
    """Later samples change nothing in an answer that was given."""
    rate_hz = 8_000
    samples_T = _stream(rate_hz)
    found = _hear(samples_T, rate_hz, 800)
    copies = [word_T.copy() for _, word_T in found]
    listener = Listener(rate_hz)
    kept = [speech for piece in _pieces(samples_T, [800]) for speech in listener.hear(piece) if speech.has_ended]
    for speech, copy_T in zip(kept, copies, strict=True):
        np.testing.assert_array_equal(speech.samples, copy_T)


def test_memory_does_not_grow_with_the_stream() -> None:
    """Minutes of silence, words and noise: what is kept after them is a few seconds at most."""
    rate_hz = 16_000
    cycle_T = np.concatenate([_stream(rate_hz, seconds=6), _stream(rate_hz, (), seconds=6, noise_db=-45)])
    listener, held, num_words = Listener(rate_hz), list[int](), 0
    tracemalloc.start()
    try:
        for _ in range(5):
            for piece in _pieces(cycle_T, [rate_hz]):
                num_words += sum(speech.has_ended for speech in listener.hear(piece))
            held.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
    assert num_words >= 5 * len(WORDS)
    assert max(held) < 5 * rate_hz * 4 + (1 << 17)
    assert held[-1] < held[1] + (1 << 16)


@pytest.mark.parametrize("piece_s", [0.01, 0.128, 1.0])
def test_a_phone_number_has_seven_words(piece_s: float) -> None:
    samples_T, rate_hz = soundfile.read(PHONE, dtype="float32")
    noise_T = np.random.default_rng(0).normal(0, 1e-4, rate_hz).astype(np.float32)
    found = _hear(np.concatenate([noise_T, samples_T, noise_T]), rate_hz, round(piece_s * rate_hz))
    assert len(found) == 7
    assert all(0.3 < len(word_T) / rate_hz < 1.2 for _, word_T in found)


def test_a_word_that_is_cut_off_by_the_end_is_not_lost() -> None:
    rate_hz = 16_000
    tone_T = (0.3 * np.sin(2 * np.pi * 300 * np.arange(rate_hz // 2) / rate_hz)).astype(np.float32)
    listener = Listener(rate_hz)
    assert listener.finish() is None
    listener.hear(np.zeros(rate_hz // 2, np.float32))
    assert listener.finish() is None
    listener.hear(tone_T)
    last = listener.finish()
    assert last is not None
    assert last.has_ended
    assert len(tone_T) <= len(last.samples) <= len(tone_T) + rate_hz // 4
