"""Small data sets cut from the real ones, and systems small enough that a law of the trainer can be seen in them."""

from __future__ import annotations

import gzip
import sys
from collections.abc import Iterable
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import BaseModel, ConfigDict

from sample_data import idx_bytes
from soundsight.config import Recipe, parse_recipe


def real_images(data_root: Path, num: int) -> tuple[np.ndarray, np.ndarray]:
    """The first training images (num, 28, 28) of MNIST and their labels, read past the headers."""
    with gzip.open(data_root / "mnist" / "train-images-idx3-ubyte.gz") as file:
        images = np.frombuffer(file.read(16 + num * 784)[16:], np.uint8).reshape(num, 28, 28)
    with gzip.open(data_root / "mnist" / "train-labels-idx1-ubyte.gz") as file:
        labels = np.frombuffer(file.read(8 + num)[8:], np.uint8)
    return images, labels


def small_root(
    folder: Path, data_root: Path, *, num_images: int = 96, repetitions: Iterable[int] = (0, 5, 6, 7)
) -> Path:
    """A data root with the first images of MNIST and some repetitions of every speaker of FSDD."""
    (folder / "mnist").mkdir(parents=True)
    images, labels = real_images(data_root, num_images)
    for part in ("train", "t10k"):
        (folder / "mnist" / f"{part}-images-idx3-ubyte").write_bytes(idx_bytes(images))
        (folder / "mnist" / f"{part}-labels-idx1-ubyte").write_bytes(idx_bytes(labels))
    (folder / "fsdd").mkdir()
    for path in (data_root / "fsdd").glob("*.wav"):
        if int(path.stem.split("_")[2]) in set(repetitions):
            (folder / "fsdd" / path.name).symlink_to(path)
    return folder


def recipe_for(system: str, **tables: Any) -> Recipe:
    """A recipe over the small data sets: batches of 16, official split; tables are merged one level deep."""
    base: dict[str, dict[str, Any]] = {
        "data": {"images": "mnist", "split": "official"} | ({} if system == "lenet5" else {"sounds": "fsdd"}),
        "model": {"system": system},
        "train": {"batch_size": 16, "epochs": 2, "precision": "fp32"},
    }
    merged = {name: base.get(name, {}) | tables.get(name, {}) for name in base.keys() | tables.keys()}
    return parse_recipe({"name": "small", **merged})


class NoOptions(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


def register(monkeypatch: pytest.MonkeyPatch, name: str, system: type) -> None:
    """Let ``model.system = name`` find ``system``, as if its file lay among the models."""
    module = ModuleType(f"soundsight.models.{name}")
    module.__spec__ = ModuleSpec(module.__name__, None)
    module.Config, module.System = NoOptions, system  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)


class Toy(torch.nn.Module):
    """What all toys share: they read pictures only, and one number is all they learn."""

    phases: tuple[str, ...] = ("only",)
    latent_size = 0
    features_shape = None
    image_shape = (1, 28, 28)

    def __init__(self, config: NoOptions, num_labels: int) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(()))

    def parameters_of(self, phase: str) -> list[torch.nn.Parameter]:
        return list(self.parameters())
