"""Which sound goes with which image: the two pairings of Żelaszczyk & Mańdziuk (2021), section 4.

Labels are used here and nowhere else in training. Train and test recordings are paired in separate calls, each with its
own images and its own recordings, so that no recording can cross.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from soundsight.errors import DatasetError

__all__ = ["Pairs", "many_to_one", "one_to_one"]

Int64 = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Pairs:
    """P pairs, as positions in the two arrays of labels that were paired.

    Where the recordings are rows of a split, ``rows[pairs.sounds]`` are the rows of the data set.

    Attributes:
        images: (P,) int64.
        sounds: (P,) int64.
    """

    images: Int64
    sounds: Int64

    def __len__(self) -> int:
        return len(self.images)


def many_to_one(image_labels: ArrayLike, sound_labels: ArrayLike, rng: np.random.Generator) -> Pairs:
    """Every image once, each with a recording drawn with replacement among those of its label.

    Args:
        image_labels: (N,) whole numbers.
        sound_labels: (R,) whole numbers.
        rng: Source of the draws.

    Returns:
        N pairs in the order of the images.

    Raises:
        DatasetError: A label of the images has no recording.
    """
    images_N, sounds_R = _labels(image_labels), _labels(sound_labels)
    classes, class_N = np.unique(images_N, return_inverse=True)
    _refuse(classes, sounds_R, "recording")
    by_label_R = np.argsort(sounds_R, kind="stable")
    first = np.searchsorted(sounds_R[by_label_R], classes, side="left")
    beyond = np.searchsorted(sounds_R[by_label_R], classes, side="right")
    drawn_N = rng.integers(first[class_N], beyond[class_N])
    return Pairs(np.arange(len(images_N)), by_label_R[drawn_N])


def one_to_one(image_labels: ArrayLike, sound_labels: ArrayLike, rng: np.random.Generator) -> Pairs:
    """Images and recordings both drawn without replacement, as many of each label as the scarcer side has.

    Args:
        image_labels: (N,) whole numbers.
        sound_labels: (R,) whole numbers.
        rng: Source of the draws.

    Returns:
        The pairs in the order of the images; their number is the sum over labels of the smaller count.

    Raises:
        DatasetError: A label is on one side only.
    """
    images_N, sounds_R = _labels(image_labels), _labels(sound_labels)
    _refuse(np.unique(images_N), sounds_R, "recording")
    _refuse(np.unique(sounds_R), images_N, "image")
    images, sounds = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    for label in np.unique(images_N):
        of_images = rng.permutation(np.flatnonzero(images_N == label))
        of_sounds = rng.permutation(np.flatnonzero(sounds_R == label))
        num = min(len(of_images), len(of_sounds))
        images.append(of_images[:num])
        sounds.append(of_sounds[:num])
    images_P, sounds_P = np.concatenate(images), np.concatenate(sounds)
    order = np.argsort(images_P)
    return Pairs(images_P[order], sounds_P[order])


def _labels(labels: ArrayLike) -> Int64:
    array = np.asarray(labels)
    assert array.ndim == 1, f"labels must be (N,), not {array.shape}"
    assert array.size == 0 or np.issubdtype(array.dtype, np.integer), f"labels must be whole numbers, not {array.dtype}"
    return array.astype(np.int64)


def _refuse(classes: Int64, others: Int64, what: str) -> None:
    """Raise where one of ``classes`` has nothing among the ``others``."""
    missing = np.setdiff1d(classes, others)
    if len(missing):
        raise DatasetError(f"nothing to pair: no {what} of class {', '.join(map(str, missing))}")
