"""Small data sets in the layout of the real ones, made of tones and noise."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Iterable, Sequence
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


def write_scenes(folder: Path, rows: list[tuple[str, str]], *, values: str = "") -> None:
    """``dataset.csv`` of the scene data set for pictures (path, class); ``values`` replaces mfcc_8 of the second."""
    columns = ",".join(f"mfcc_{i}" for i in range(1, 105))
    text = f"IMAGE,{columns},CLASS1,CLASS2\n"
    for i, (image, name) in enumerate(rows):
        numbers = [f"{100 * i + j}.5" for j in range(104)]
        if values and i == 1:
            numbers[7] = values
        text += f"{image},{','.join(numbers)},{name},{name.title()}\n"
    (folder / "dataset.csv").write_text(text)


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


def write_esc50(
    folder: Path,
    classes: Sequence[str],
    *,
    official: bool = True,
    folds: Iterable[int] = (1, 2),
    here: Iterable[int] | None = None,
) -> None:
    """Eight recordings of each class in each fold, from five source clips; only the folds ``here`` have files.

    The official layout, or that of the real data in these tests: the list beside ``audio/``, and FLAC.
    """
    folds, suffix, seed = tuple(folds), ".wav" if official else ".flac", 0
    lines = ["filename,fold,target,category,esc10"]
    for fold in folds:
        for target, name in enumerate(classes):
            for clip, take in ((0, "A"), (0, "B"), (0, "C"), (1, "A"), (1, "B"), (2, "A"), (3, "A"), (4, "A")):
                stem = f"{fold}-{1000 * fold + 10 * target + clip}-{take}-{target}"
                lines.append(f"{stem}.wav,{fold},{target},{name},False")
                seed += 1
                if here is None or fold in here:
                    write_tone(folder / "audio" / f"{stem}{suffix}", sample_rate_hz=8000, seed=seed)
    path = folder / "meta" / "esc50.csv" if official else folder / "esc50.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")


def cifar10_bytes(labels: Sequence[int], images_NCHW: np.ndarray) -> bytes:
    """CIFAR-10's binary format, from its description: a label, then the red, the green and the blue plane."""
    parts = []
    for label, (red, green, blue) in zip(labels, images_NCHW, strict=True):
        parts += [bytes([label]), *(plane.tobytes() for plane in (red, green, blue))]
    return b"".join(parts)


def write_cifar10(folder: Path, *, per_batch: int = 20) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Random images in the official binary layout; returns labels and images of each part as they were written."""
    rng = np.random.default_rng(0)
    names = {"train": [f"data_batch_{i}.bin" for i in range(1, 6)], "test": ["test_batch.bin"]}
    written = {}
    for part, files in names.items():
        labels = np.concatenate([rng.permutation(np.arange(per_batch) % 10) for _ in files])
        images = rng.integers(0, 256, (len(labels), 3, 32, 32), dtype=np.uint8)
        for i, name in enumerate(files):
            path = folder / "cifar-10-batches-bin" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            rows = slice(i * per_batch, (i + 1) * per_batch)
            path.write_bytes(cifar10_bytes(labels[rows].tolist(), images[rows]))
        written[part] = (labels, images)
    return written


# Layouts of data sets that are too large, or not free enough, to be among the real data.
SAMPLES = {"speech_commands": write_speech_commands, "speech_commands_v2": write_speech_commands}
