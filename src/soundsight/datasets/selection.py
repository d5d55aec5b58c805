"""The data that a recipe's ``[data]`` names, for training and for evaluation alike."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from soundsight import registry
from soundsight.config import DataConfig
from soundsight.datasets import pairs, scenes
from soundsight.datasets.classes import Groups, relabel
from soundsight.datasets.info import DatasetInfo
from soundsight.datasets.pair_set import PairSet
from soundsight.datasets.sketch import sketch
from soundsight.datasets.types import ImageSet, SoundSet
from soundsight.errors import DatasetError, RecipeError

__all__ = [
    "images_of",
    "infos_of",
    "is_folder_of_pairs",
    "labels_of",
    "num_labels",
    "others_of",
    "pairs_of",
    "reader_of",
    "sounds_of",
]


def images_of(data: DataConfig, root: Path, *, train: bool) -> ImageSet:
    """The labelled images, of the classes that are wanted, as the pictures or sketches that are to be painted.

    Args:
        data: What is wanted.
        root: Folder of the data sets.
        train: The publisher's training images, or the test images.

    Raises:
        DatasetError: They are absent or damaged.
        RecipeError: The name is not that of a data set of images.
        UnknownNameError: There is no such data set or class.
    """
    component = _component(data.images, "image")
    images: ImageSet = component.load(root / data.images, train=train)
    if data.classes:
        images = relabel(images, component.INFO.classes, _groups(data, "images"))
    return replace(images, images_NCHW=sketch(images.images_NCHW)) if data.target == "sketch" else images


def sounds_of(data: DataConfig, root: Path) -> SoundSet:
    """The labelled recordings, of the classes that are wanted; arguments and errors as for ``images_of``."""
    assert data.sounds is not None
    component = _component(data.sounds, "sound")
    sounds: SoundSet = component.load(root / data.sounds)
    return relabel(sounds, component.INFO.classes, _groups(data, "sounds")) if data.classes else sounds


def others_of(data: DataConfig, root: Path) -> SoundSet:
    """The recordings of all classes that are left out, labelled from 0 in the data set's order.

    Arguments and errors are as for ``images_of``.

    Raises:
        RecipeError: No class is left out.
    """
    assert data.sounds is not None
    component = _component(data.sounds, "sound")
    sounds: SoundSet = component.load(root / data.sounds)
    wanted = {name for joined in data.classes.values() for name in joined.sounds}
    there = [component.INFO.classes[label] for label in np.unique(sounds.labels)]
    left = [(name, (name,)) for name in there if data.classes and name not in wanted]
    if not left:
        raise RecipeError(f"recipe key 'data.others': 'data.classes' leaves out no class of {data.sounds}")
    return relabel(sounds, component.INFO.classes, left)


def pairs_of(data: DataConfig, root: Path) -> PairSet:
    """The pairs of a data set by its name, or of a folder, and of the classes that are wanted.

    Arguments and errors are as for ``images_of``.

    A folder that is called as a data set is ``./scenes``. Files that are not there are an error now, and not in the
    middle of a training or at the end of an evaluation.
    """
    assert data.pairs is not None
    known = data.pairs in registry.names("datasets")
    folder = root / data.pairs if known else Path(data.pairs)
    found: PairSet = (_component(data.pairs, "pair") if known else reader_of(folder)).load(folder)
    if data.only:
        found = found.of_classes(data.only)
    if absent := found.absent():
        told = "1 file is" if len(absent) == 1 else f"{len(absent):,} files are"
        raise DatasetError(
            f"{folder}: {told} not there that its pairs name (first: {absent[0]}); "
            f"'soundsight datasets check {data.pairs}' lists them"
        )
    return found


def reader_of(folder: Path) -> ModuleType:
    """The module that reads a folder of pairs: the scene data set's layout is told by its table."""
    is_scenes = (folder / scenes.TABLE).is_file() and not (folder / pairs.TABLE).exists()
    return scenes if is_scenes else pairs


def is_folder_of_pairs(folder: Path) -> bool:
    """Whether a folder has a table of pairs, or files that make one."""
    if (folder / pairs.TABLE).is_file() or (folder / scenes.TABLE).is_file():
        return True
    try:
        return len(pairs.load(folder)) > 0
    except DatasetError:
        return False


def labels_of(data: DataConfig) -> tuple[str, ...] | None:
    """Names of the classes, in the order of the labels; None for pairs, which have none.

    Raises:
        RecipeError: Sounds and images have other classes, and nothing says which belong together.
        UnknownNameError: There is no such data set.
    """
    if data.pairs is not None:
        return None
    if data.classes:
        return tuple(data.classes)
    infos = infos_of(data)
    counts = {len(info.classes) for info in infos}
    if len(counts) > 1:
        has = ", ".join(f"{info.name} has {len(info.classes)}" for info in infos)
        raise RecipeError(f"recipe key 'data.classes' is empty, and {has} classes; say which belong together")
    return infos[0].classes


def num_labels(data: DataConfig) -> int:
    """Number of classes, for the size of a system; errors as for ``labels_of``. Pairs count as one class."""
    labels = labels_of(data)
    return 1 if labels is None else len(labels)


def infos_of(data: DataConfig) -> list[DatasetInfo]:
    """Papers of the data sets, sounds before images; none for a folder of one's own, which has none.

    Raises:
        RecipeError: A name is that of a data set of another kind.
        UnknownNameError: There is no such data set.
    """
    if data.pairs is not None:
        return [_component(data.pairs, "pair").INFO] if data.pairs in registry.names("datasets") else []
    sounds = [] if data.sounds is None else [_component(data.sounds, "sound").INFO]
    return [*sounds, _component(data.images, "image").INFO]


def _groups(data: DataConfig, side: str) -> Groups:
    return [(name, getattr(joined, side)) for name, joined in data.classes.items()]


def _component(name: str, kind: str) -> Any:
    component = registry.find("datasets", name)
    if component.INFO.kind != kind:
        known = [other for other in registry.names("datasets") if registry.find("datasets", other).INFO.kind == kind]
        raise RecipeError(
            f"recipe key 'data.{kind}s': {name} is a data set of {component.INFO.kind}s; known here: {', '.join(known)}"
        )
    return component
