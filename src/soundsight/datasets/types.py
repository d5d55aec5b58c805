"""What a data set is once it is read: a list of labelled recordings, or an array of labelled images."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from soundsight import audio
from soundsight.audio import Clip
from soundsight.errors import AudioError, DatasetError

__all__ = ["ImageSet", "SoundSet"]

Int64 = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class SoundSet:
    """R labelled recordings; only their files' names are read until ``load`` is called.

    A column that a data set does not have is None; the splits that need it are then refused.

    Attributes:
        paths: R files.
        labels: (R,) int64, class of each recording, from 0.
        speakers: R names of speakers.
        indices: (R,) int64, which repetition of the word by its speaker this is, or which take of its source clip;
            from 0.
        official_test: (R,) bool, the publisher's own test recordings.
        source_clips: R names of the longer recordings that these were cut out of. Takes of one source clip share their
            source, room and microphone: they belong on one side of a split.
        folds: (R,) int64, the publisher's parts for cross-validation.
    """

    paths: tuple[Path, ...]
    labels: Int64
    speakers: tuple[str, ...] | None
    indices: Int64
    official_test: NDArray[np.bool_] | None = None
    source_clips: tuple[str, ...] | None = None
    folds: Int64 | None = None

    def __post_init__(self) -> None:
        columns = (self.labels, self.speakers, self.indices, self.official_test, self.source_clips, self.folds)
        lengths = {len(self.paths), *(len(column) for column in columns if column is not None)}
        assert len(lengths) == 1, "one entry per recording in every column"

    def __len__(self) -> int:
        return len(self.paths)

    def select(self, rows: Int64) -> SoundSet:
        """The recordings of some rows, in their order."""

        def names(column: tuple[str, ...] | None) -> tuple[str, ...] | None:
            return None if column is None else tuple(column[row] for row in rows)

        return SoundSet(
            paths=tuple(self.paths[row] for row in rows),
            labels=self.labels[rows],
            speakers=names(self.speakers),
            indices=self.indices[rows],
            official_test=None if self.official_test is None else self.official_test[rows],
            source_clips=names(self.source_clips),
            folds=None if self.folds is None else self.folds[rows],
        )

    def load(
        self,
        rows: Sequence[int] | Int64 | None = None,
        *,
        sample_rate_hz: int,
        prepare: Callable[[Clip], Clip] = audio.condition,
    ) -> list[Clip]:
        """Decode and prepare recordings, in the order of ``rows``.

        Args:
            rows: Which recordings; all when None. A row may be asked for more than once.
            sample_rate_hz: Rate of the clips returned.
            prepare: How the front end wants them; by default without offset, trimmed and levelled.

        Returns:
            One clip per row.

        Raises:
            DatasetError: A recording is missing, damaged or silent; the message names its file.
        """
        wanted = [self.paths[row] for row in (range(len(self)) if rows is None else rows)]

        def read(path: Path) -> Clip:
            try:
                return prepare(audio.decode(path, sample_rate_hz=sample_rate_hz))
            except AudioError as error:
                # `prepare` sees samples only and cannot know the file.
                where = "" if path.name in str(error) else f"{path}: "
                raise DatasetError(f"{where}{error}") from error

        # Decoding and resampling release the interpreter's lock.
        with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
            return list(pool.map(read, wanted))


@dataclass(frozen=True, slots=True, eq=False)
class ImageSet:
    """N labelled images, grey or in colour.

    Attributes:
        images_NCHW: (N, C, H, W) uint8, 0 dark to 255 bright; C is 1 for grey, or 3 for red, green and blue.
        labels: (N,) int64, class of each image, from 0.
    """

    images_NCHW: NDArray[np.uint8]
    labels: Int64

    def __post_init__(self) -> None:
        assert self.images_NCHW.ndim == 4, f"images must be (N, C, H, W), not {self.images_NCHW.shape}"
        assert len(self.images_NCHW) == len(self.labels), "one label per image"

    def __len__(self) -> int:
        return len(self.labels)

    def select(self, rows: Int64) -> ImageSet:
        """The images of some rows, in their order."""
        return ImageSet(self.images_NCHW[rows], self.labels[rows])
