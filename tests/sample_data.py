"""Small data sets in the layout of the real ones, made of tones and noise."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import soundfile

WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def write_tone(path: Path, *, sample_rate_hz: int, seed: int, duration_s: float = 0.12) -> None:
    """A tone in faint noise: no two seeds give the same samples."""
    rng = np.random.default_rng(seed)
    time_T = np.arange(round(duration_s * sample_rate_hz)) / sample_rate_hz
    samples_T = 0.3 * np.sin(2 * np.pi * (200 + seed % 1500) * time_T) + 0.01 * rng.standard_normal(len(time_T))
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples_T, sample_rate_hz, subtype="PCM_16")


def write_fsdd(folder: Path, *, speakers: Iterable[str] = ("ada", "bob"), repetitions: int = 6) -> None:
    """Ten digits by each speaker."""
    seed = 0
    for speaker in speakers:
        for digit in range(10):
            for index in range(repetitions):
                write_tone(folder / f"{digit}_{speaker}_{index}.wav", sample_rate_hz=8000, seed=seed)
                seed += 1


def write_speech_commands(folder: Path, *, speakers: Iterable[str] = ("0a1b2c3d", "4e5f6071")) -> None:
    """Each digit word twice by each speaker, another word, a noise, and the list of test recordings."""
    seed = 0
    for word in (*WORDS, "bed"):
        for speaker in speakers:
            for n in range(2):
                write_tone(folder / word / f"{speaker}_nohash_{n}.wav", sample_rate_hz=16000, seed=seed)
                seed += 1
    write_tone(folder / "_background_noise_" / "pink_noise.wav", sample_rate_hz=16000, seed=seed)
    lines = [f"{word}/{speaker}_nohash_0.wav" for word in (*WORDS, "bed") for speaker in speakers]
    (folder / "testing_list.txt").write_text("\n".join(lines) + "\n")


def idx_bytes(array: np.ndarray) -> bytes:
    """An array of bytes in IDX format, from the format's description and not from our reader."""
    assert array.dtype == np.uint8
    return struct.pack(">BBBB", 0, 0, 8, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def write_mnist(folder: Path, *, num_train: int = 40, num_test: int = 20, plain: bool = False) -> None:
    """Random images; labels run through the ten classes."""
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    for part, num in (("train", num_train), ("t10k", num_test)):
        files = {
            f"{part}-images-idx3-ubyte": rng.integers(0, 256, (num, 28, 28), dtype=np.uint8),
            f"{part}-labels-idx1-ubyte": (np.arange(num) % 10).astype(np.uint8),
        }
        for name, array in files.items():
            if plain:
                (folder / name).write_bytes(idx_bytes(array))
            else:
                (folder / f"{name}.gz").write_bytes(gzip.compress(idx_bytes(array)))


# Layouts of data sets that are too large, or not free enough, to be among the real data.
SAMPLES = {"speech_commands": write_speech_commands, "speech_commands_v2": write_speech_commands}
