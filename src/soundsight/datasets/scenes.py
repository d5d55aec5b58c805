"""The scene data set's own layout: ``dataset.csv`` with a picture's path, 104 coefficients and two classes in each row.

Bird et al., *Look and Listen: A Multi-Modality Late Fusion Approach to Scene Classification for Autonomous Machines*,
2020. There are no sounds in it: the coefficients are all that is left of each second.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from soundsight.datasets.check import Report
from soundsight.datasets.check_pairs import check_pairs
from soundsight.datasets.info import DatasetInfo
from soundsight.datasets.pair_set import PairSet
from soundsight.datasets.pairs import inside, number, read_table
from soundsight.errors import DatasetError

__all__ = ["INFO", "check", "load"]

INFO = DatasetInfo(
    name="scenes",
    kind="pair",
    title="Scene Classification (Images and Audio)",
    licence="see its page",
    attribution="J. J. Bird, D. R. Faria, C. Premebida, A. Ekárt, G. Vogiatzis",
    homepage="https://github.com/jordan-bird/Scene-Classification-Images-and-Audio",
    files=(),
    classes=(),
)
TABLE = "dataset.csv"
COEFFICIENTS, WINDOWS = 13, 8
_COLUMNS = tuple(f"mfcc_{i}" for i in range(1, COEFFICIENTS * WINDOWS + 1))
_NUMBER = re.compile(r"(\d+)(?!.*\d)")


def load(folder: Path) -> PairSet:
    """The pairs, in the order of the table; features (P, 13, 8), the columns read window after window; both classes.

    A clip is what a picture's path says before its last number, and the time is that number: a frame for each second.

    Raises:
        DatasetError: The table is absent, lacks a column, or holds what is no number or no path below the folder.
    """
    file = folder / TABLE
    if not file.is_file():
        raise DatasetError(f"scenes: no {TABLE} in {folder}; see {INFO.homepage}, and point SOUNDSIGHT_DATA to it")
    rows = read_table(file, ("IMAGE", *_COLUMNS, "CLASS1", "CLASS2"))
    images, clips, times_s, classes = [], [], [], []
    features_PX = np.empty((len(rows), len(_COLUMNS)), np.float32)
    for i, (line, row) in enumerate(rows.items()):
        where = f"{file}, row {line}"
        images.append(inside(folder, row["IMAGE"], where))
        features_PX[i] = [number(row[name], f"{where}, {name}") for name in _COLUMNS]
        stem, found = images[i].stem, _NUMBER.search(images[i].stem)
        clips.append(f"{images[i].parent.name}/{stem[: found.start()] if found else stem}")
        times_s.append(float(found[1]) if found else 0.0)
        classes.append(frozenset((row["CLASS1"], row["CLASS2"])) - {""})
    features_PFN = features_PX.reshape(len(rows), WINDOWS, COEFFICIENTS).transpose(0, 2, 1)
    return PairSet(
        *(tuple(images), None, tuple(clips), np.array(times_s), np.ascontiguousarray(features_PFN)),
        classes=tuple(classes),
    )


def check(folder: Path) -> Report:
    """Counts, what is missing or damaged, what occurs twice, and how much a random split would leak."""
    return check_pairs(INFO, folder, load(folder))
