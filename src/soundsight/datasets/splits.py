"""Which recordings train and which test: at random as in the paper, the publisher's own, or by speaker."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from soundsight.datasets.types import SoundSet
from soundsight.errors import DatasetError, UnknownNameError

__all__ = ["TEST_FRACTION", "Split", "make_split"]

Int64 = NDArray[np.int64]

# The 2021 paper's "random 90/10 split of recordings".
TEST_FRACTION = 0.1
_KNOWN = "'random', 'official' or 'speaker:NAME'"


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """Rows of a ``SoundSet``; every recording is in exactly one part.

    Attributes:
        train: (R_train,) int64, rising.
        test: (R_test,) int64, rising.
        name: The split's name as given to ``make_split``.
    """

    train: Int64
    test: Int64
    name: str


def make_split(sounds: SoundSet, name: str, *, seed: int) -> Split:
    """Divide recordings into a training and a test part.

    Args:
        sounds: The recordings.
        name: ``"random"``, 10 % of all recordings test; every speaker is in both parts, so that its scores say nothing
            about new speakers. ``"official"``, the publisher's test recordings. ``"speaker:NAME"``, all recordings of
            that speaker test.
        seed: Of the random split; the others do not depend on it.

    Returns:
        The split, disjoint and complete.

    Raises:
        UnknownNameError: No such split or no such speaker; the message lists the known ones.
        DatasetError: A part would lack a class, or the data set has no official split.
    """
    if name == "random":
        test_R = _random(len(sounds), seed)
    elif name == "official":
        if sounds.official_test is None:
            raise DatasetError("this data set has no official split; use 'random' or 'speaker:NAME'")
        test_R = sounds.official_test
    elif name.startswith("speaker:"):
        test_R = _speaker(sounds.speakers, name.removeprefix("speaker:"))
    else:
        raise UnknownNameError(f"no split '{name}'; expected {_KNOWN}")
    split = Split(np.flatnonzero(~test_R), np.flatnonzero(test_R), name)
    for part, rows in (("training", split.train), ("test", split.test)):
        missing = np.setdiff1d(sounds.labels, sounds.labels[rows])
        if len(missing) or not len(rows):
            which = f"class {', '.join(map(str, missing))}" if len(missing) else "every class"
            raise DatasetError(
                f"split '{name}' leaves the {part} part without a recording of {which} "
                f"({len(rows)} of {len(sounds)} recordings); use another split or seed, or more recordings"
            )
    return split


def _random(num: int, seed: int) -> NDArray[np.bool_]:
    rng = np.random.Generator(np.random.Philox(seed))
    test_R = np.zeros(num, np.bool_)
    test_R[rng.permutation(num)[: round(TEST_FRACTION * num)]] = True
    return test_R


def _speaker(speakers: Sequence[str], name: str) -> NDArray[np.bool_]:
    known = sorted(set(speakers))
    if name not in known:
        # Speech Commands has thousands of speakers; a line must stay a line.
        more = f" and {len(known) - 20} more" if len(known) > 20 else ""
        raise UnknownNameError(f"no speaker '{name}'; known: {', '.join(known[:20]) or 'none'}{more}")
    return np.array([speaker == name for speaker in speakers])
