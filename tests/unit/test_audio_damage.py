"""Files that are cut, forged, of unknown length, or no sound at all."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from sounds import check_sound, encoded, sine
from soundsight.audio import decode
from soundsight.errors import AudioError

RATE_HZ = 8000


def forged_wav(data_size: int, riff_size: int | None = None) -> bytes:
    wav = bytearray(encoded(sine(RATE_HZ), RATE_HZ))
    at = wav.index(b"data")
    wav[at + 4 : at + 8] = data_size.to_bytes(4, "little")
    if riff_size is not None:
        wav[4:8] = riff_size.to_bytes(4, "little")
    return bytes(wav)


@pytest.mark.parametrize(
    ("data_size", "riff_size"),
    [(0xFFFFFFFF, 0xFFFFFFFF), (0x7FFFF000, 0x7FFFF024), (0x7FFFFFDB, 0x7FFFFFFF), (0, 0), (16000, 0), (16000, 99)],
)
def test_wav_written_into_a_pipe_is_whole(data_size: int, riff_size: int) -> None:
    clip = decode(forged_wav(data_size, riff_size), sample_rate_hz=RATE_HZ)
    np.testing.assert_allclose(clip.samples, sine(RATE_HZ), atol=2**-14)


@pytest.mark.parametrize("data_size", [16002, 100_000, 0x10000000])
def test_wav_that_promises_more_than_it_holds_is_cut(data_size: int) -> None:
    with pytest.raises(AudioError, match="ends early"):
        decode(forged_wav(data_size), sample_rate_hz=RATE_HZ)


@pytest.mark.parametrize(
    ("container", "subtype"),
    [("WAV", "PCM_16"), ("WAV", "FLOAT"), ("AIFF", "PCM_16"), ("AU", "PCM_16"), ("W64", "PCM_16"), ("RF64", "PCM_16"),
     ("CAF", "PCM_16"), ("FLAC", "PCM_16"), ("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", None)],
)  # fmt: skip
@pytest.mark.parametrize("share", [0.5, 0.93])
def test_cut_files_are_refused(container: str, subtype: str | None, share: float) -> None:
    data = encoded(sine(RATE_HZ, duration_s=20) + 0.01, RATE_HZ, container, subtype)
    with pytest.raises(AudioError, match=r"ends early|cannot be decoded"):
        decode(data[: int(len(data) * share)], sample_rate_hz=RATE_HZ)


@pytest.mark.parametrize("command", ["espeak-ng --stdout seven", "sox -n -t wav - synth 1 sine 440"])
def test_what_tools_write_into_a_pipe(command: str) -> None:
    words = command.split()
    if shutil.which(words[0]) is None:
        pytest.skip(f"{words[0]} is not installed")
    data = subprocess.run(words, capture_output=True, check=True).stdout
    check_sound(decode(data, sample_rate_hz=RATE_HZ), RATE_HZ)


def test_flac_of_unknown_length_is_whole() -> None:
    # The 36 bits of STREAMINFO that hold the number of samples, as ffmpeg leaves them when it writes into a pipe.
    data = bytearray(encoded(sine(RATE_HZ, duration_s=40), RATE_HZ, "FLAC"))
    data[21] &= 0xF0
    data[22:26] = bytes(4)
    data[26:42] = bytes(16)
    assert decode(bytes(data), sample_rate_hz=RATE_HZ).duration_s == 40


@pytest.mark.parametrize("num_frames", [2**35, 2**36 - 1])
def test_flac_that_claims_years_is_refused_at_once(num_frames: int) -> None:
    data = bytearray(encoded(sine(RATE_HZ), RATE_HZ, "FLAC"))
    data[21] = (data[21] & 0xF0) | (num_frames >> 32)
    data[22:26] = (num_frames & 0xFFFFFFFF).to_bytes(4, "big")
    with pytest.raises(AudioError, match="longer than 4 hours"):
        decode(bytes(data), sample_rate_hz=RATE_HZ)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        (24, (999).to_bytes(4, "little"), "999 Hz"),
        (24, (768_001).to_bytes(4, "little"), "768,001 Hz"),
        (24, (2**31 - 1).to_bytes(4, "little"), "Hz"),
        (24, bytes(4), "channels|damaged|0 Hz"),
        (22, (65).to_bytes(2, "little"), "channels|damaged|0 Hz"),
        (22, (65535).to_bytes(2, "little"), "channels|damaged|0 Hz"),
        (22, bytes(2), "channels|damaged|0 Hz"),
    ],
)
def test_forged_rate_or_channels(field: int, value: bytes, message: str) -> None:
    wav = bytearray(encoded(sine(RATE_HZ), RATE_HZ))
    wav[field : field + len(value)] = value
    with pytest.raises(AudioError, match=message):
        decode(bytes(wav), sample_rate_hz=RATE_HZ)


@pytest.mark.parametrize(
    "data", [b"\x00", b"RIFF", b"x" * 5000, b"#EXTM3U\n/etc/passwd\n", b"\xff", b"\xff\xfb", b"OggS"]
)
def test_not_a_sound(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "thing.wav"
    path.write_bytes(data)
    with pytest.raises(AudioError, match=re.escape(str(path))) as error:
        decode(path, sample_rate_hz=RATE_HZ)
    assert "\n" not in str(error.value)


def test_playlists_are_not_followed(tmp_path: Path) -> None:
    # FFmpeg would open what a playlist names: any file, any address.
    (tmp_path / "secret.wav").write_bytes(encoded(sine(RATE_HZ), RATE_HZ))
    lists = {
        "a.m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nsecret.wav\n#EXT-X-ENDLIST\n",
        "a.ffconcat": "ffconcat version 1.0\nfile secret.wav\n",
    }
    for name, text in lists.items():
        (tmp_path / name).write_text(text)
        with pytest.raises(AudioError, match="not a sound in a known format"):
            decode(tmp_path / name, sample_rate_hz=RATE_HZ)
