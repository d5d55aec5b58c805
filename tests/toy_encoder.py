"""An encoder whose embeddings say what was heard, small enough to be loaded by many processes; also as a plug-in.

Its weights are a text file: a scale, and if need be ``dies``, ``deaf`` or ``counts``. With the option ``octaves`` it
hears so much higher. The environment's TOY_SLOW_S says how many seconds more each sound takes.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from soundsight.audio import Clip
from soundsight.encoders.embedding import Embedding
from soundsight.errors import ModelError

RATE_HZ = 8000
TOKEN_S = 0.5


@dataclass(frozen=True)
class Config:
    """Options of the toy."""

    octaves: int = 0

    def __post_init__(self) -> None:
        if not isinstance(self.octaves, int):
            raise ValueError(f"octaves must be a whole number, not {self.octaves!r}")


class Toy:
    """A token for each half second: its pitch in Hz times the scale, its level, and the sound's length in seconds."""

    name = "toy"
    size = 3
    sample_rate_hz = RATE_HZ

    def __init__(self, text: str, config: Config) -> None:
        scale, *self._words = text.split()
        self._scale = float(scale) * 2**config.octaves
        self.identity = hashlib.sha256(f"{text}{config.octaves or ''}".encode()).hexdigest()

    def encode(self, clips: Sequence[Clip]) -> list[Embedding]:
        return [self._encode(clip) for clip in clips]

    def _encode(self, clip: Clip) -> Embedding:
        time.sleep(float(os.environ.get("TOY_SLOW_S", "0")))
        if "dies" in self._words:
            os._exit(3)
        if "counts" in self._words:
            raise ModelError(f"process {os.getpid()} with {os.environ['OMP_NUM_THREADS']} thread")
        if "deaf" in self._words:
            raise ModelError("it hears nothing")
        width = round(TOKEN_S * RATE_HZ)
        num = max(1, len(clip.samples) // width)
        rows = [self._token(clip.samples[i * width : (i + 1) * width], clip.duration_s) for i in range(num)]
        tokens_LD = np.array(rows, np.float32)
        return Embedding(tokens_LD, tokens_LD.mean(axis=0))

    def _token(self, part_T: np.ndarray, duration_s: float) -> tuple[float, float, float]:
        spectrum = np.abs(np.fft.rfft(part_T * np.hanning(len(part_T))))
        pitch_hz = spectrum.argmax() * RATE_HZ / len(part_T)
        return pitch_hz * self._scale, float(np.sqrt(np.mean(part_T**2))), duration_s


def load(weights: str | Path, **options: Any) -> Toy:
    return Toy(Path(weights).read_text(encoding="utf-8"), Config(**options))


def write_tones(path: Path, *pitches_hz: float, seconds: float = 1.0, rate_hz: int = RATE_HZ) -> Path:
    """A sound with one tone after the other, each of so many seconds."""
    times_s = np.arange(round(seconds * rate_hz)) / rate_hz
    samples = np.concatenate([0.4 * np.sin(2 * np.pi * pitch_hz * times_s) for pitch_hz in pitches_hz])
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, rate_hz)
    return path


def write_plugin(folder: Path) -> Path:
    """What ``pip install`` of a package with this encoder would leave; the folder goes into PYTHONPATH."""
    metadata = folder / "toy_encoder-1.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: toy-encoder\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[soundsight.encoders]\ntoy = toy_encoder\n")
    return folder
