"""Sounds like words, and what became of them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile
from PIL import Image

COMMAND = Path(sys.executable).with_name("soundsight")
RATE_HZ = 8000
Generate = Callable[..., tuple[int, list[str], list[str]]]


def word(seed: int = 0, seconds: float = 0.5) -> np.ndarray:
    """A swelling tone with overtones, another pitch for each seed."""
    t = np.arange(int(seconds * RATE_HZ)) / RATE_HZ
    tone = sum(np.sin(2 * np.pi * (110 + 50 * seed) * k * t) / k for k in range(1, 9))
    return (0.2 * tone * np.hanning(len(t))).astype(np.float32)


def phrase(num_words: int) -> np.ndarray:
    """Words with half a second of silence around each."""
    gap = np.zeros(RATE_HZ // 2, np.float32)
    return np.concatenate([gap, *(part for i in range(num_words) for part in (word(i), gap))])


def write(path: Path, samples: np.ndarray | None = None) -> Path:
    """A sound in the format of its suffix; a word if nothing is given."""
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = word() if samples is None else samples
    form = {".opus": ("OGG", "OPUS")}.get(path.suffix, (None, None))
    soundfile.write(path, samples, RATE_HZ, format=form[0], subtype=form[1])
    return path


def files(folder: Path) -> list[str]:
    """Every file below a folder."""
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def pixels(path: Path) -> np.ndarray:
    """A picture in grey."""
    with Image.open(path) as image:
        return np.asarray(image.convert("L"))
