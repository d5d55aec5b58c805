"""Pictures and sounds of the same moment: what a data set of pairs is once its table is read."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from soundsight import audio, photo
from soundsight.audio import Clip
from soundsight.errors import AudioError, DatasetError, ImageError, UnknownNameError

__all__ = ["MAX_BYTES", "PairSet", "join_clips"]

Int64 = NDArray[np.int64]
Float32 = NDArray[np.float32]
UInt8 = NDArray[np.uint8]

MAX_BYTES = 8 << 30
"""Pictures of a data set lie in memory whole; more than this is refused."""


@dataclass(frozen=True, slots=True, eq=False)
class PairSet:
    """P pairs; only names are read until pictures or sounds are asked for.

    Attributes:
        images: P files.
        sounds: P files; None where there are features in their place, or no sound at all.
        clips: P names of what the pairs were cut from: neighbours in one clip resemble each other.
        times_s: (P,) float64, when in its clip.
        features_PFN: (P, F, N) float32, as the publisher computed them; None where there are sounds, or nothing.
        window_s: How long a sound is: those of two pairs that are nearer in time share some of it.
        classes: P sets of names, where the publisher has put the pairs into classes.
    """

    images: tuple[Path, ...]
    sounds: tuple[Path, ...] | None
    clips: tuple[str, ...]
    times_s: NDArray[np.float64]
    features_PFN: Float32 | None = None
    window_s: float = 1.0
    classes: tuple[frozenset[str], ...] | None = None

    def __post_init__(self) -> None:
        columns = [self.images, self.clips, self.times_s]
        columns += [column for column in (self.sounds, self.features_PFN, self.classes) if column is not None]
        assert len({len(column) for column in columns}) == 1, "one entry per pair in every column"

    def __len__(self) -> int:
        return len(self.images)

    def of_classes(self, names: Sequence[str]) -> PairSet:
        """Those pairs that are of one of these classes.

        Raises:
            DatasetError: The pairs have no classes.
            UnknownNameError: There is no such class; the message lists the known ones.
        """
        if self.classes is None:
            raise DatasetError(f"these pairs have no classes of which '{names[0]}' could be one; leave data.only out")
        known = sorted(frozenset().union(*self.classes))
        for name in names:
            if name not in known:
                raise UnknownNameError(f"no pairs of class '{name}'; known: {', '.join(known[:50])}")
        rows = [row for row, classes in enumerate(self.classes) if not classes.isdisjoint(names)]
        return replace(
            self,
            images=tuple(self.images[row] for row in rows),
            sounds=None if self.sounds is None else tuple(self.sounds[row] for row in rows),
            clips=tuple(self.clips[row] for row in rows),
            times_s=self.times_s[rows],
            features_PFN=None if self.features_PFN is None else self.features_PFN[rows],
            classes=tuple(self.classes[row] for row in rows),
        )

    def absent(self) -> list[Path]:
        """Files that the pairs name and that are not there; nothing is opened."""
        names = dict.fromkeys((*self.images, *(self.sounds or ())))
        # A name that is too long for a file is none, and no error.
        return [path for path in names if not os.path.exists(path)]  # noqa: PTH110

    def load_images(self, rows: Sequence[int] | Int64, size: int) -> UInt8:
        """Pictures (B, 3, size, size) uint8: the middle of each as a square.

        Raises:
            DatasetError: One is missing or damaged, or all of them would be more than ``MAX_BYTES``.
        """
        num_bytes = len(rows) * 3 * size**2
        if num_bytes > MAX_BYTES:
            raise DatasetError(
                f"{len(rows):,} pictures of {size} pixels are {num_bytes / 2**30:.1f} GiB; at most "
                f"{MAX_BYTES >> 30} GiB are kept in memory; choose smaller ones, or fewer with data.max_pairs"
            )
        out_BCHW = np.empty((len(rows), 3, size, size), np.uint8)

        def read(place: int) -> None:
            try:
                out_BCHW[place] = photo.read_square(self.images[rows[place]], size)
            except ImageError as error:
                raise DatasetError(str(error)) from error

        _everywhere(read, len(rows))
        return out_BCHW

    def load_sounds(
        self, rows: Sequence[int] | Int64, sample_rate_hz: int, prepare: Callable[[Clip], Clip] = lambda clip: clip
    ) -> list[Clip]:
        """Sounds of pairs; by default as they are, neither trimmed nor levelled: how loud a place is belongs to it.

        Args:
            rows: Which pairs.
            sample_rate_hz: Rate of the clips.
            prepare: How a front end wants them.

        Raises:
            DatasetError: There are none, or one is missing, damaged, or nothing that ``prepare`` takes.
        """
        if self.sounds is None:
            raise DatasetError("these pairs have pictures and no sounds")
        sounds = self.sounds
        clips: list[Clip | None] = [None] * len(rows)

        def read(place: int) -> None:
            try:
                clips[place] = prepare(audio.decode(sounds[rows[place]], sample_rate_hz=sample_rate_hz))
            except AudioError as error:
                # `prepare` sees samples only and cannot know the file.
                where = "" if sounds[rows[place]].name in str(error) else f"{sounds[rows[place]]}: "
                raise DatasetError(f"{where}{error}") from error

        _everywhere(read, len(rows))
        return [clip for clip in clips if clip is not None]


def join_clips(*columns: Sequence[str]) -> tuple[str, ...]:
    """Names of clips for pairs that say of none: pairs that share a file, even by way of others, are one clip.

    Args:
        columns: For each kind of file, the name in each pair.

    Returns:
        P names, the first file of the first pair of each clip.

    >>> join_clips(["a.wav", "a.wav", "b.wav", "c.wav"], ["1.png", "2.png", "2.png", "3.png"])
    ('a.wav', 'a.wav', 'a.wav', 'c.wav')
    """
    parents: dict[tuple[int, str], tuple[int, str]] = {}

    def root(item: tuple[int, str]) -> tuple[int, str]:
        while parents.setdefault(item, item) != item:
            parents[item] = item = parents[parents[item]]
        return item

    for names in zip(*columns, strict=True):
        first, *others = (root((kind, name)) for kind, name in enumerate(names))
        for other in others:
            parents[root(other)] = root(first)
    named: dict[tuple[int, str], str] = {}
    return tuple(named.setdefault(root((0, name)), name) for name in columns[0])


def _everywhere(work: object, num: int) -> None:
    """Call for 0 to ``num`` - 1 on threads: decoding lets go of the interpreter's lock."""
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        for _ in pool.map(work, range(num)):  # type: ignore[arg-type]
            pass
