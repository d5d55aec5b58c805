"""Empty, short, long and very long sounds."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from sounds import encoded, sine
from soundsight.audio import decode
from soundsight.errors import AudioError

RATE_HZ = 8000


@pytest.mark.parametrize("num_samples", [1, 159])
def test_too_short(num_samples: int) -> None:
    with pytest.raises(AudioError, match=r"too short \(" + str(num_samples)):
        decode(encoded(np.full(num_samples, 0.5), RATE_HZ), sample_rate_hz=RATE_HZ)


def test_shortest_that_is_taken() -> None:
    assert len(decode(encoded(np.full(160, 0.5), RATE_HZ), sample_rate_hz=RATE_HZ).samples) == 160


@pytest.mark.parametrize("container", ["WAV", "FLAC", "AIFF"])
def test_no_samples(container: str) -> None:
    with pytest.raises(AudioError, match="empty"):
        decode(encoded(np.zeros(0), RATE_HZ, container), sample_rate_hz=RATE_HZ)


@pytest.mark.parametrize(("container", "subtype"), [("WAV", None), ("OGG", "OPUS"), ("FLAC", None)])
def test_longest_that_is_taken(container: str, subtype: str | None) -> None:
    data = encoded(sine(RATE_HZ, duration_s=2), RATE_HZ, container, subtype)
    assert decode(data, sample_rate_hz=RATE_HZ, max_duration_s=2.01).duration_s == pytest.approx(2, abs=0.02)
    with pytest.raises(AudioError, match=r"longer than 1\.5 s"):
        decode(data, sample_rate_hz=RATE_HZ, max_duration_s=1.5)


@pytest.mark.parametrize(("container", "channels"), [("WAV", 1), ("WAV", 8), ("FLAC", 2)])
def test_most_samples_that_are_taken(container: str, channels: int) -> None:
    sound_T = sine(RATE_HZ, duration_s=2)
    data = encoded(np.repeat(sound_T[:, None], channels, axis=1), RATE_HZ, container)
    most = channels * len(sound_T)
    assert decode(data, sample_rate_hz=RATE_HZ, max_samples=most).duration_s == 2
    with pytest.raises(AudioError, match="fewer channels or a lower sample rate"):
        decode(data, sample_rate_hz=RATE_HZ, max_samples=most - channels)


def test_the_limit_is_four_hours(tmp_path: Path) -> None:
    # 8-bit samples at 1 kHz, as a file with a hole: 4 hours are 14.4 MB that no disk holds.
    header = encoded(np.zeros(1000), 1000, "WAV", "PCM_U8")[:44]
    path = tmp_path / "long.wav"
    for seconds, fits in ((4 * 3600, True), (4 * 3600 + 1, False)):
        size = 1000 * seconds
        path.write_bytes(header[:40] + size.to_bytes(4, "little"))
        os.truncate(path, 44 + size)
        if fits:
            assert decode(path, sample_rate_hz=1000).duration_s == seconds
        else:
            with pytest.raises(AudioError, match="longer than 4 hours"):
                decode(path, sample_rate_hz=1000)


@pytest.mark.slow
def test_two_hours_of_eight_channels_need_the_memory_of_the_result(tmp_path: Path) -> None:
    rate_hz, channels, seconds = 16000, 8, 7200
    header = bytearray(encoded(np.zeros((160, channels)), rate_hz, "WAV", "PCM_16"))
    at = header.index(b"data")
    size = rate_hz * channels * 2 * seconds
    header[at + 4 : at + 8] = size.to_bytes(4, "little")
    path = tmp_path / "hours.wav"
    path.write_bytes(header[: at + 8])
    os.truncate(path, at + 8 + size)
    tone = (sine(rate_hz) * 32767).astype("<i2")
    with path.open("r+b") as file:
        file.seek(-rate_hz * channels * 2, os.SEEK_END)
        file.write(np.repeat(tone, channels).tobytes())
    program = (
        "import resource, sys, numpy, soxr, soundfile\n"
        "from soundsight.audio import decode\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "clip = decode(sys.argv[1], sample_rate_hz=8000)\n"
        "after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "end = clip.samples[-7000:-1000]\n"
        "print(len(clip.samples), float(numpy.abs(end).max()), (after - before) * 1024)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=True)
    num_samples, peak, grown_bytes = (float(word) for word in done.stdout.split())
    assert num_samples == 8000 * seconds
    assert peak == pytest.approx(0.5, rel=1e-2)
    # The result is 230 MB; all channels as float32 would be 3,700 MB.
    assert grown_bytes < 1.3 * 4 * 8000 * seconds
