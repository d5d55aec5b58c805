"""What a data set is once it is read: a list of labelled recordings, or an array of labelled images."""

from __future__ import annotations

import os
from collections.abc import Sequence
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

    Attributes:
        paths: R files.
        labels: (R,) int64, class of each recording, from 0.
        speakers: R names of speakers.
        indices: (R,) int64, which repetition of the word by its speaker this is, from 0.
        official_test: (R,) bool, the publisher's own test recordings; None where it names none.
    """

    paths: tuple[Path, ...]
    labels: Int64
    speakers: tuple[str, ...]
    indices: Int64
    official_test: NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        lengths = {len(self.paths), len(self.labels), len(self.speakers), len(self.indices)}
        if self.official_test is not None:
            lengths.add(len(self.official_test))
        assert len(lengths) == 1, "one entry per recording in every column"

    def __len__(self) -> int:
        return len(self.paths)

    def load(self, rows: Sequence[int] | Int64 | None = None, *, sample_rate_hz: int) -> list[Clip]:
        """Decode and condition recordings, in the order of ``rows``.

        Args:
            rows: Which recordings; all when None. A row may be asked for more than once.
            sample_rate_hz: Rate of the clips returned.

        Returns:
            One clip per row: float32, DC removed, trimmed and levelled by ``audio.condition``.

        Raises:
            DatasetError: A recording is missing, damaged or silent; the message names its file.
        """
        wanted = [self.paths[row] for row in (range(len(self)) if rows is None else rows)]

        def read(path: Path) -> Clip:
            try:
                return audio.condition(audio.decode(path, sample_rate_hz=sample_rate_hz))
            except AudioError as error:
                # `condition` sees samples only and cannot know the file.
                where = "" if path.name in str(error) else f"{path}: "
                raise DatasetError(f"{where}{error}") from error

        # Decoding and resampling release the interpreter's lock.
        with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
            return list(pool.map(read, wanted))


@dataclass(frozen=True, slots=True, eq=False)
class ImageSet:
    """N labelled grey images.

    Attributes:
        images_NHW: (N, H, W) uint8, 0 black to 255 white.
        labels: (N,) int64, class of each image, from 0.
    """

    images_NHW: NDArray[np.uint8]
    labels: Int64

    def __post_init__(self) -> None:
        assert len(self.images_NHW) == len(self.labels), "one label per image"

    def __len__(self) -> int:
        return len(self.labels)
