"""Damaged files of every format: finite samples or one clear line, quickly, and nothing else."""

from __future__ import annotations

import io
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from soundsight.audio import condition, decode, split_at_silences
from soundsight.errors import SoundsightError

RATE_HZ = 8000
NUM_DAMAGED = 80
# The slowest takes 0.2 s alone; the rest is for a busy machine.
LIMIT_S = 10.0

FORMATS = [
    ("WAV", "PCM_16"), ("WAV", "FLOAT"), ("WAV", "MS_ADPCM"), ("WAVEX", "PCM_24"), ("AIFF", "PCM_16"), ("AU", "ULAW"),
    ("FLAC", "PCM_16"), ("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", None), ("CAF", "ALAC_16"), ("W64", "PCM_16"),
    ("RF64", "PCM_16"), ("VOC", "PCM_16"), ("NIST", "PCM_16"), ("MAT5", "PCM_16"), ("PAF", "PCM_16"),
]  # fmt: skip

# Zero, the largest and the most negative numbers, and 2**62, in either byte order.
LIES = [bytes(8), b"\xff" * 8, b"\xff\xff\xff\x7f", b"\x00\x00\x00\x80", b"\x7f" + b"\xff" * 7, bytes(7) + b"\x40"]

MAGICS = [
    b"RIFF\xff\xff\xff\xffWAVEfmt ", b"RF64", b"FORM", b"fLaC", b"OggS\x00\x02", b"ID3\x04", b"\xff\xfb\x90", b".snd",
    b"caff", b"riff", b"MThd", b"\x1a\x45\xdf\xa3", b"\x00\x00\x00\x18ftypmp42", b"#EXTM3U\n", b"\xff\xf1",
]  # fmt: skip


def sound(container: str, subtype: str | None) -> bytes:
    """A second of a swelling tone in noise, stereo."""
    rng = np.random.default_rng(11)
    time_s = np.arange(16000) / 16000
    tone = 0.3 * np.sin(2 * np.pi * 300 * time_s) * np.hanning(16000) + 0.01 * rng.standard_normal(16000)
    buffer = io.BytesIO()
    soundfile.write(buffer, np.stack([tone, 0.5 * tone], axis=1), 16000, format=container, subtype=subtype)
    return buffer.getvalue()


def damaged(data: bytes, rng: np.random.Generator) -> bytes:
    """Cut, sprinkled with wrong bytes, with a header full of lies, with a piece doubled or missing."""
    changed = bytearray(data)
    match rng.integers(5):
        case 0:
            del changed[rng.integers(len(changed)) :]
        case 1:
            for at in rng.integers(0, len(changed), rng.integers(1, 30)):
                changed[at] = rng.integers(256)
        case 2:
            for at in rng.integers(0, min(len(changed), 120), rng.integers(1, 8)):
                changed[at] ^= 1 << rng.integers(8)
        case 3:
            at = int(rng.integers(0, min(len(changed) - 8, 120)))
            field = LIES[rng.integers(len(LIES))]
            changed[at : at + len(field)] = field
        case _:
            at, length = int(rng.integers(len(changed))), int(rng.integers(1, 2000))
            changed[at : at + length] = changed[at : at + length] * int(2 * rng.integers(2))
    return bytes(changed)


def check(data: bytes, source: bytes | Path) -> bool:
    """Whether ``source`` could be decoded; anything but finite samples or a told mistake fails."""
    start, message = time.perf_counter(), ""
    try:
        clip = decode(source, sample_rate_hz=RATE_HZ)
        assert np.isfinite(clip.samples).all()
        assert clip.samples.dtype == np.float32
        assert clip.samples.ndim == 1
        for part in split_at_silences(clip):
            assert np.abs(condition(part).samples).max() <= 1
    except SoundsightError as error:
        message = str(error)
    assert message.isprintable(), repr(message)
    assert len(message) < 500
    assert time.perf_counter() - start < LIMIT_S, f"{len(data)} bytes took too long"
    return message == "" or message.startswith("silent")


@pytest.mark.parametrize(("container", "subtype"), FORMATS)
def test_damaged_files(container: str, subtype: str | None, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    data = sound(container, subtype)
    assert check(data, data), "the undamaged file must decode"
    rng = np.random.default_rng([5, FORMATS.index((container, subtype))])
    path = tmp_path / "damaged.snd"
    num_refused = 0
    for i in range(NUM_DAMAGED):
        bad = damaged(data, rng)
        # Bytes and files go different ways into libsndfile.
        if i % 2:
            path.write_bytes(bad)
        num_refused += not check(bad, path if i % 2 else bad)
    assert num_refused > 0, "a fuzz test that damages nothing proves nothing"
    # Nothing is printed by the way. libmpg123, which prints notes about damaged frames itself, is the exception.
    if container != "MP3":
        assert capfd.readouterr() == ("", "")


def test_damaged_video(data_root: Path, tmp_path: Path) -> None:
    pytest.importorskip("av")
    data = next((data_root / "video").glob("*.mp4")).read_bytes()
    rng = np.random.default_rng(6)
    path = tmp_path / "damaged.mp4"
    for _ in range(20):
        path.write_bytes(damaged(data, rng))
        check(data, path)


def test_random_bytes_behind_every_magic_number() -> None:
    rng = np.random.default_rng(7)
    for magic in MAGICS:
        for _ in range(10):
            data = magic + rng.bytes(int(rng.integers(0, 3000)))
            check(data, data)
