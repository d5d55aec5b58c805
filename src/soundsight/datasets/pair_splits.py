"""Which pairs train and which test: by blocks of time, by clip, or at random, which leaks."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from soundsight.datasets.pair_set import PairSet
from soundsight.datasets.splits import Split
from soundsight.errors import DatasetError, UnknownNameError

__all__ = ["TEST_FRACTION", "Leak", "leak", "nearest_in_time", "split_pairs", "usual_split"]

Int64 = NDArray[np.int64]

TEST_FRACTION = 0.25
"""As in the experiment of Vuruma (2025): 360 train, 120 test."""
_LEAST = 4
"""Pairs that a clip needs for a block of it to test."""
_GAP_S = 1.0
"""Between training and test block at least; as long as a sound, where these are longer."""
_OTHER = "use 'clip' (--split clip, or in training --set data.split=clip)"
_KNOWN = "'block', 'clip', 'clip:NAME' or 'random'"


def split_pairs(pairs: PairSet, name: str, *, seed: int) -> Split:
    """Divide pairs into a training and a test part.

    Args:
        pairs: The pairs.
        name: ``"block"``, the last quarter of each clip tests; what is nearer to it than a second, or than a sound is
            long, does not train, nor what shares a file with it.
            ``"clip"``, a quarter of the clips test, at least one. ``"clip:NAME"``, that clip; again what shares a file
            with them does not train. ``"random"``, a quarter of all pairs: neighbours of test frames train, and the
            nearest training frame nearly is the test frame.
        seed: Of ``clip`` and ``random``; the others do not depend on it.

    Returns:
        The split; both parts have pairs, and no pair is in both.

    Raises:
        UnknownNameError: No such split or no such clip; the message lists the known ones.
        DatasetError: A part would be empty.
    """
    rng = np.random.Generator(np.random.Philox(seed))
    clips_P = np.array(pairs.clips)
    known = sorted(set(pairs.clips))
    near_P = np.zeros(len(pairs), np.bool_)
    if name == "random":
        test_P = np.zeros(len(pairs), np.bool_)
        test_P[rng.permutation(len(pairs))[: round(TEST_FRACTION * len(pairs))]] = True
    elif name == "block":
        test_P, near_P = _blocks(pairs, clips_P)
    elif name == "clip":
        if len(known) < 2:
            raise DatasetError(f"split 'clip' needs two clips, here there is one ({known[0]}); use 'block'")
        held = rng.permutation(len(known))[: max(1, round(TEST_FRACTION * len(known)))]
        test_P = np.isin(clips_P, np.array(known)[held])
    elif name.startswith("clip:"):
        wanted = name.removeprefix("clip:")
        if wanted not in known:
            more = f" and {len(known) - 20} more" if len(known) > 20 else ""
            raise UnknownNameError(f"no clip '{wanted}'; known: {', '.join(known[:20])}{more}")
        test_P = clips_P == wanted
    else:
        raise UnknownNameError(f"no split '{name}' of pairs; expected {_KNOWN}")
    if name != "random":
        near_P |= _shares(pairs, test_P)
    split = Split(np.flatnonzero(~test_P & ~near_P), np.flatnonzero(test_P), name)
    for part, rows in (("training", split.train), ("test", split.test)):
        if not len(rows):
            raise DatasetError(
                f"split '{name}' leaves the {part} part without a pair (there are {len(pairs)}); use another"
            )
    return split


def usual_split(pairs: PairSet) -> str:
    """``block``, or ``clip`` where no clip is long enough for a block of it to test."""
    clips_P = np.array(pairs.clips)
    for clip, num in Counter(pairs.clips).items():
        if num >= _LEAST and np.ptp(pairs.times_s[clips_P == clip]) > 0:
            return "block"
    # Where nobody noted times, neighbours are not known: pictures of one sound, say.
    return "clip" if len(set(pairs.clips)) > 1 else "block"


def _blocks(pairs: PairSet, clips_P: NDArray[np.str_]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which pairs test, and which lie too near before them to train."""
    test_P, near_P = np.zeros(len(pairs), np.bool_), np.zeros(len(pairs), np.bool_)
    for clip in np.unique(clips_P):
        rows = np.flatnonzero(clips_P == clip)
        if len(rows) < _LEAST:
            continue
        rows = rows[np.argsort(pairs.times_s[rows], kind="stable")]
        first = len(rows) - round(TEST_FRACTION * len(rows))
        test_P[rows[first:]] = True
        # Pairs of one time, where nobody noted it, have no block of their own.
        if pairs.times_s[rows[-1]] > pairs.times_s[rows[0]]:
            start_s = pairs.times_s[rows[first]] - max(_GAP_S, pairs.window_s)
            near_P[rows[:first]] = pairs.times_s[rows[:first]] > start_s
    if not test_P.any():
        longest = max(Counter(pairs.clips).values(), default=0)
        raise DatasetError(
            f"split 'block' needs a clip of {_LEAST} pairs or more, here the longest has {longest}; {_OTHER}"
        )
    return test_P, near_P


def _shares(pairs: PairSet, of_P: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which pairs have the sound or the picture of one of these."""
    found_P = np.zeros(len(pairs), np.bool_)
    for files in (pairs.images, pairs.sounds):
        if files is not None:
            known = {files[row] for row in np.flatnonzero(of_P)}
            found_P |= np.array([path in known for path in files], np.bool_)
    return found_P


def nearest_in_time(pairs: PairSet, split: Split) -> Int64:
    """For each test pair the training pair of its clip that is nearest in time, (T,); -1 where there is none."""
    clips_P = np.array(pairs.clips)
    near_T = np.full(len(split.test), -1, np.int64)
    for clip in np.unique(clips_P[split.test]):
        here, there = np.flatnonzero(clips_P[split.test] == clip), split.train[clips_P[split.train] == clip]
        if len(there):
            apart = np.abs(pairs.times_s[split.test[here]][:, None] - pairs.times_s[there])
            near_T[here] = there[apart.argmin(axis=1)]
    return near_T


@dataclass(frozen=True, slots=True)
class Leak:
    """How much of the test frames is known from the training ones: files of both, and mean squared errors in [0, 1].

    Attributes:
        num_test: Test pairs.
        num_shared: Those whose picture or sound trains, too.
        nearest: Error of the training frame of the clip that is nearest in time; None where no clip trains and tests.
        mean: That of the mean training frame of the clip; None likewise.
    """

    num_test: int
    num_shared: int
    nearest: float | None = None
    mean: float | None = None

    @property
    def is_there(self) -> bool:
        """Whether files are shared, or remembered training frames are better than their mean."""
        return self.num_shared > 0 or self._is_near

    @property
    def _is_near(self) -> bool:
        return self.nearest is not None and self.mean is not None and self.nearest < self.mean

    @property
    def text(self) -> str:
        """The same in words."""
        said = []
        if self.num_shared:
            has = "test pair has" if self.num_shared == 1 else "test pairs have"
            said.append(f"{self.num_shared:,} {has} a picture or a sound that trains, too, of {self.num_test:,}")
        if self.nearest is not None and self.mean is not None:
            share = self.nearest / self.mean if self.mean else float("nan")
            said.append(
                f"the nearest training frame has {share:.2f} times the error of the clip's mean frame "
                f"({self.nearest:.4f}, {self.mean:.4f})"
            )
        verdict = "test frames leak into training" if self.is_there else "no leak to be seen"
        return f"{'; '.join(said)}: {verdict}" if said else verdict


def leak(pairs: PairSet, split: Split, *, size: int = 32, most: int = 500) -> Leak | None:
    """Look for files of both parts, and compare test frames with the nearest training frame and with their clip's mean.

    Where a nearest neighbour does better than the mean, a model that remembers its training frames does, too, and needs
    no sound for it. With blocks of time the nearest frame is far, and usually worse than the mean.

    Args:
        pairs: The pairs.
        split: Their split.
        size: Pictures are compared at this size.
        most: Test frames that are looked at, evenly spread.

    Returns:
        What was found; None where no file is shared, and no test frame has a training frame of its clip.

    Raises:
        DatasetError: A picture cannot be read.
    """
    trains_P = np.zeros(len(pairs), np.bool_)
    trains_P[split.train] = True
    num_shared = int(_shares(pairs, trains_P)[split.test].sum())
    near_T = nearest_in_time(pairs, split)
    known_T = np.flatnonzero(near_T >= 0)
    if not len(known_T):
        return Leak(len(split.test), num_shared) if num_shared else None
    known_T = known_T[np.linspace(0, len(known_T) - 1, min(most, len(known_T))).astype(np.int64)]
    test, near = (pairs.load_images(rows, size) / np.float32(255) for rows in (split.test[known_T], near_T[known_T]))
    clips_P = np.array(pairs.clips)
    means = {}
    for clip in np.unique(clips_P[split.test[known_T]]):
        rows = split.train[clips_P[split.train] == clip]
        rows = rows[np.linspace(0, len(rows) - 1, min(most, len(rows))).astype(np.int64)]
        means[str(clip)] = (pairs.load_images(rows, size) / np.float32(255)).mean(axis=0)
    mean = np.stack([means[pairs.clips[row]] for row in split.test[known_T]])
    errors = (float(np.square(test - other).mean()) for other in (near, mean))
    return Leak(len(split.test), num_shared, *errors)
