"""Pairs out of videos, made and read back."""

from __future__ import annotations

import csv
import wave
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from soundsight.datasets.from_video import Outcome, Settings, extract
from videos import noise, number_of, steady, write_video

PNG = Settings(suffix="png", size=64)


def run(video: Path | list[Path], folder: Path, settings: Settings = PNG, **options: int) -> list[Outcome]:
    return list(extract(video if isinstance(video, list) else [video], folder, settings, **options))


def one(video: Path, folder: Path, settings: Settings = PNG) -> Outcome:
    (outcome,) = run(video, folder, settings)
    assert outcome.error == ""
    return outcome


def why_not(video: Path, settings: Settings = PNG) -> str:
    """The reason for which nothing is taken from a video; nothing may be left of it."""
    folder = video.parent / "pairs"
    (outcome,) = run(video, folder, settings)
    assert outcome.num_pairs == 0
    assert outcome.error.startswith(f"{video}: ")
    assert "\n" not in outcome.error
    assert sorted(entry.name for entry in folder.iterdir()) == ["from-video.json", "pairs.csv"]
    assert rows(folder) == []
    return outcome.error


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "pairs.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def read_wav(path: Path) -> tuple[NDArray[np.float64], int]:
    with wave.open(str(path)) as file:
        assert (file.getnchannels(), file.getsampwidth()) == (1, 2)
        return np.frombuffer(file.readframes(file.getnframes()), "<i2") / 32768, file.getframerate()


def pairs(folder: Path) -> list[tuple[float, int, NDArray[np.float64]]]:
    """Time, number in the picture, and samples of every pair that the table lists."""
    found = []
    for row in rows(folder):
        with Image.open(folder / row["image"]) as image:
            number = number_of(np.asarray(image.convert("RGB")))
        found.append((float(row["time_s"]), number, read_wav(folder / row["sound"])[0]))
    return found


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def write_some(folder: Path, num: int = 4) -> list[Path]:
    return [write_video(folder / f"{i}.mkv", steady(2 + i), sound=noise(2 + i, seed=i)) for i in range(num)]
