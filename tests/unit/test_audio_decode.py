"""Files and bytes to clips: rates, formats, bit depths, channels and levels."""

from __future__ import annotations

import numpy as np
import pytest

from sounds import amplitude, check_sound, encoded, sine
from soundsight.audio import decode
from soundsight.errors import AudioError

RATE_HZ = 8000


@pytest.mark.parametrize("rate_hz", [1000, 5512, 8000, 11025, 44100, 48000, 192000, 768000])
def test_resampling_keeps_level_and_length(rate_hz: int) -> None:
    clip = decode(encoded(sine(rate_hz, hz=330), rate_hz), sample_rate_hz=RATE_HZ)
    check_sound(clip, RATE_HZ)
    assert amplitude(clip, 330) == pytest.approx(0.5, rel=2e-3)
    assert clip.duration_s == pytest.approx(1, abs=2 / RATE_HZ)


def test_resampling_removes_what_the_new_rate_cannot_hold() -> None:
    clip = decode(encoded(sine(48000, hz=5000), 48000), sample_rate_hz=RATE_HZ)
    # Unfiltered, 5 kHz would appear at 3 kHz with the full level.
    assert amplitude(clip, 3000) < 1e-3


def test_blocks_join_without_a_seam() -> None:
    # Longer than one block; the independent reference resamples all at once.
    import soxr

    samples = np.random.default_rng(3).uniform(-0.5, 0.5, 700_000)
    clip = decode(encoded(samples, 44100, "WAV", "FLOAT"), sample_rate_hz=16000)
    reference = soxr.resample(samples.astype(np.float32), 44100, 16000, quality="HQ")
    np.testing.assert_allclose(clip.samples, reference, atol=1e-5)


@pytest.mark.parametrize(
    ("subtype", "step"),
    [
        ("PCM_U8", 2**-7),
        ("PCM_16", 2**-15),
        ("PCM_24", 2**-23),
        ("PCM_32", 2**-24),
        ("FLOAT", 2**-24),
        ("DOUBLE", 2**-24),
    ],
)
def test_every_bit_depth_gives_the_same_numbers(subtype: str, step: float) -> None:
    samples = sine(RATE_HZ, level=0.9)
    clip = decode(encoded(samples, RATE_HZ, "WAV", subtype), sample_rate_hz=RATE_HZ)
    np.testing.assert_allclose(clip.samples, samples, atol=step)


def test_flac_equals_wav_and_aiff_exactly() -> None:
    # Integers, as libsndfile rounds floats differently for each format.
    samples = (32767 * sine(44100, duration_s=0.3)).astype(np.int16)
    wav, flac, aiff = (
        decode(encoded(samples, 44100, kind, "PCM_16"), sample_rate_hz=RATE_HZ) for kind in ("WAV", "FLAC", "AIFF")
    )
    np.testing.assert_array_equal(wav.samples, flac.samples)
    np.testing.assert_array_equal(wav.samples, aiff.samples)


@pytest.mark.parametrize(("container", "subtype"), [("MP3", None), ("OGG", "VORBIS"), ("OGG", "OPUS")])
def test_lossy_formats_keep_the_sound(container: str, subtype: str | None) -> None:
    clip = decode(encoded(sine(48000, duration_s=2), 48000, container, subtype), sample_rate_hz=RATE_HZ)
    check_sound(clip, RATE_HZ)
    assert amplitude(clip, 440) == pytest.approx(0.5, rel=0.05)
    assert clip.duration_s == pytest.approx(2, abs=0.06)


@pytest.mark.parametrize("channels", [2, 3, 6, 8, 64])
def test_channels_are_averaged(channels: int) -> None:
    tones = [sine(RATE_HZ, hz=200 + 50 * c, level=0.4) for c in range(min(channels, 8))]
    samples = np.zeros((RATE_HZ, channels))
    samples[:, : len(tones)] = np.stack(tones, axis=1)
    clip = decode(encoded(samples, RATE_HZ, "WAV", "FLOAT"), sample_rate_hz=RATE_HZ)
    np.testing.assert_allclose(clip.samples, samples.mean(axis=1), atol=1e-6)


def test_one_speaking_channel_of_eight_is_heard() -> None:
    samples = np.zeros((RATE_HZ, 8))
    samples[:, 2] = sine(RATE_HZ)
    clip = decode(encoded(samples, RATE_HZ), sample_rate_hz=RATE_HZ)
    assert amplitude(clip, 440) == pytest.approx(0.5 / 8, rel=1e-2)


@pytest.mark.parametrize("offset", [0.0, 0.2])
def test_channels_that_cancel_give_the_loudest(offset: float) -> None:
    loud = sine(48000, duration_s=7, level=0.5)
    samples = np.stack([-0.95 * loud, loud], axis=1) + offset
    clip = decode(encoded(samples, 48000, "WAV", "FLOAT"), sample_rate_hz=48000)
    np.testing.assert_allclose(clip.samples, samples[:, 1], atol=1e-6)


def test_peaks_above_full_scale_are_kept() -> None:
    samples = sine(RATE_HZ, level=7.0)
    clip = decode(encoded(samples, RATE_HZ, "WAV", "FLOAT"), sample_rate_hz=RATE_HZ)
    np.testing.assert_allclose(clip.samples, samples, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("value", "word"), [(np.nan, "nan"), (np.inf, "inf"), (-np.inf, "-inf"), (1e30, r"1e\+30")])
@pytest.mark.parametrize("at", [0, 123, 299_999])
def test_numbers_that_are_no_sound_are_refused_with_their_place(value: float, word: str, at: int) -> None:
    samples = np.zeros((300_000, 2))
    samples[at, 1] = value
    with pytest.raises(AudioError, match=rf"sample {at:,} \(.* s, channel 2\) is {word}"):
        decode(encoded(samples, RATE_HZ, "WAV", "DOUBLE"), sample_rate_hz=RATE_HZ)


@pytest.mark.parametrize("rate_hz", [0, -1, 999, 768_001])
def test_impossible_target_rate(rate_hz: int) -> None:
    with pytest.raises(AudioError, match="the rate asked for"):
        decode(encoded(sine(RATE_HZ), RATE_HZ), sample_rate_hz=rate_hz)
