"""Give data sets whose classes have other names the same labels, so that sounds of one can be paired with images of
another: ``chirping_birds`` and ``crow`` here, ``bird`` there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np

from soundsight.datasets.types import ImageSet, SoundSet
from soundsight.errors import DatasetError, UnknownNameError
from soundsight.registry import unknown

__all__ = ["Groups", "relabel"]

Items = TypeVar("Items", SoundSet, ImageSet)

Groups = Sequence[tuple[str, Sequence[str]]]
"""Name of each new class, and the classes of the data set that it takes in."""


def relabel(items: Items, classes: Sequence[str], groups: Groups) -> Items:
    """Keep the items of some classes, with the places of their groups as labels.

    Args:
        items: Recordings or images.
        classes: Names of their classes, in the order of their labels.
        groups: The new classes, in the order of the new labels.

    Returns:
        The items whose class is in a group, in their order; labels count the groups from 0.

    Raises:
        UnknownNameError: A group names a class that the data set does not have; the message lists those it has.
        DatasetError: Groups share a class or a name, a group is empty, or there is no item of it.
    """
    label_of = _labels(classes, groups)
    new_C = np.array([label_of.get(name, -1) for name in classes], np.int64)
    labels_N = new_C[items.labels]
    for label, (name, members) in enumerate(groups):
        if not (labels_N == label).any():
            raise DatasetError(f"this data set has nothing of class '{name}' ({', '.join(members)}); leave it out")
    rows = np.flatnonzero(labels_N >= 0)
    return replace(items.select(rows), labels=labels_N[rows])


def _labels(classes: Sequence[str], groups: Groups) -> dict[str, int]:
    """The new label of each class that is in a group."""
    if not groups:
        raise DatasetError("no classes to make; expected at least one name with the classes that it takes in")
    label_of: dict[str, int] = {}
    names: list[str] = []
    for name, members in groups:
        if name in names:
            raise DatasetError(f"class '{name}' is made twice; give each a name of its own")
        if not members:
            raise DatasetError(f"class '{name}' takes in no class; expected at least one")
        for member in members:
            if member not in classes:
                raise UnknownNameError(unknown("the classes of this data set", member, list(classes)))
            if member in label_of:
                other = [*names, name][label_of[member]]
                raise DatasetError(f"'{member}' is in class '{other}' and again in '{name}'; leave one of them out")
            label_of[member] = len(names)
        names.append(name)
    return label_of
