"""Which recordings train and which test: at random as in the paper, the publisher's own, by speaker, clip or fold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from soundsight.datasets.types import SoundSet
from soundsight.errors import DatasetError, UnknownNameError

__all__ = ["CLIP_FRACTION", "TEST_FRACTION", "Split", "make_split"]

Int64 = NDArray[np.int64]
Bool = NDArray[np.bool_]
Column = TypeVar("Column")

# The 2021 paper's "random 90/10 split of recordings".
TEST_FRACTION = 0.1
# ESC-50 has one to eight source clips in each class and fold: of four, a tenth would be none.
CLIP_FRACTION = 0.25


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
        name: One of

            - ``"random"``: 10 % of all recordings test. Every speaker is in both parts, so that its scores say nothing
              about new speakers. Refused where recordings are takes of source clips: a model that knows one take of a
              clip by its room and microphone knows the others, and its score says nothing about new sounds.
            - ``"official"``: the publisher's test recordings.
            - ``"speaker:NAME"``: all recordings of that speaker test.
            - ``"clip"``: about a quarter of the source clips of each class test, with all of their takes.
            - ``"fold:N"``: the publisher's fold N tests. The folds are taken as they are, for the sake of comparison.
        seed: Of the random split and of the one by clip; the others do not depend on it.

    Returns:
        The split, disjoint and complete.

    Raises:
        UnknownNameError: No such split, speaker or fold; the message lists the known ones.
        DatasetError: A part would lack a class, or the data set does not have what the split needs.
    """
    test_R = _test(sounds, name, seed)
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


def _test(sounds: SoundSet, name: str, seed: int) -> Bool:
    """(R,) which recordings test."""
    kind, _, value = name.partition(":")
    if name == "random":
        if sounds.source_clips is not None:
            raise DatasetError(
                f"split 'random' would put takes of one source clip on both sides; use {_splits_of(sounds)}"
            )
        return _random(len(sounds), seed)
    if name == "official":
        return _has(sounds, sounds.official_test, "no official split")
    if name == "clip":
        return _clips(sounds.labels, _has(sounds, sounds.source_clips, "no source clips"), seed)
    if kind == "speaker" and name != kind:
        speakers = _has(sounds, sounds.speakers, "no speakers")
        return _equal("speaker", value, speakers)
    if kind == "fold" and name != kind:
        return _equal("fold", value, [str(fold) for fold in _has(sounds, sounds.folds, "no folds")])
    raise UnknownNameError(f"no split '{name}'; expected {_splits_of(sounds)}")


def _has(sounds: SoundSet, column: Column | None, lack: str) -> Column:
    """The column that a split needs."""
    if column is None:
        raise DatasetError(f"this data set has {lack}; use {_splits_of(sounds)}")
    return column


def _splits_of(sounds: SoundSet) -> str:
    """The splits that make sense for a data set."""
    fitting = {
        "random": sounds.source_clips is None,
        "official": sounds.official_test is not None,
        "speaker:NAME": sounds.speakers is not None,
        "clip": sounds.source_clips is not None,
        "fold:N": sounds.folds is not None,
    }
    *others, last = (f"'{name}'" for name, fits in fitting.items() if fits)
    return f"{', '.join(others)} or {last}" if others else last


def _random(num: int, seed: int) -> Bool:
    rng = np.random.Generator(np.random.Philox(seed))
    test_R = np.zeros(num, np.bool_)
    test_R[rng.permutation(num)[: round(TEST_FRACTION * num)]] = True
    return test_R


def _clips(labels_R: Int64, source_clips: Sequence[str], seed: int) -> Bool:
    """Draw clips class by class; one that has takes in two classes goes where the first of them put it."""
    rng = np.random.Generator(np.random.Philox(seed))
    names, clip_R = np.unique(np.array(source_clips), return_inverse=True)
    tests_S, drawn_S = np.zeros(len(names), np.bool_), np.zeros(len(names), np.bool_)
    for label in np.unique(labels_R):
        clips = np.unique(clip_R[labels_R == label])
        if len(clips) < 2:
            raise DatasetError(
                f"split 'clip' cannot put class {label} on both sides: all of its recordings come from source clip "
                f"{names[clips[0]]}; leave the class out, or use more recordings"
            )
        num_test = max(1, round(CLIP_FRACTION * len(clips)))
        free = rng.permutation(clips[~drawn_S[clips]])
        tests_S[free[: max(0, num_test - int(tests_S[clips].sum()))]] = True
        drawn_S[clips] = True
    return tests_S[clip_R]


def _equal(what: str, name: str, names: Sequence[str]) -> Bool:
    """Where the name stands; it must be one of them."""
    known = sorted(set(names))
    if name not in known:
        # Speech Commands has thousands of speakers; a line must stay a line.
        more = f" and {len(known) - 20} more" if len(known) > 20 else ""
        raise UnknownNameError(f"no {what} '{name}'; known: {', '.join(known[:20]) or 'none'}{more}")
    return np.array([other == name for other in names])
