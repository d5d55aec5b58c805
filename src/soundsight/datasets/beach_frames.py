"""Frames of two beaches, one a second: the pictures of Vuruma's experiment (2025), whose sounds are not to be had.

``{clip}/{name}{n}.png``, n the second. They show what a model of these scenes must beat: its baselines need no sound.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from soundsight.datasets.check import Report
from soundsight.datasets.check_pairs import check_pairs
from soundsight.datasets.info import DatasetInfo, absent
from soundsight.datasets.pair_set import PairSet

__all__ = ["INFO", "check", "load"]

INFO = DatasetInfo(
    name="beach_frames",
    kind="pair",
    title="Frames of the class BEACH of Scene Classification (Images and Audio)",
    licence="see its page",
    attribution="J. J. Bird, D. R. Faria, C. Premebida, A. Ekárt, G. Vogiatzis",
    homepage="https://github.com/jordan-bird/Scene-Classification-Images-and-Audio",
    files=(),
    classes=(),
)
_NUMBER = re.compile(r"(\d+)$")


def load(folder: Path) -> PairSet:
    """The frames by clip and time, without sounds.

    Raises:
        DatasetError: There are none.
    """
    numbered = ((path, _NUMBER.search(path.stem)) for path in folder.glob("*/*.png"))
    found = sorted((path.parent.name, int(number[1]), path) for path, number in numbered if number)
    if not found:
        raise absent("beach_frames", folder, "no frames {clip}/{name}{n}.png")
    times_s = np.array([n for _, n, _ in found], np.float64)
    return PairSet(tuple(path for *_, path in found), None, tuple(clip for clip, *_ in found), times_s)


def check(folder: Path) -> Report:
    """Counts, what is missing or damaged, what occurs twice, and how much a random split would leak."""
    return check_pairs(INFO, folder, load(folder))
