"""What the pipeline returns for a sound: pictures that know where they come from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, overload

import numpy as np
from numpy.typing import NDArray

from soundsight import picture
from soundsight._version import __version__
from soundsight.errors import OutputError
from soundsight.files import replace_file

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["Heard", "Pictures"]


@dataclass(frozen=True, slots=True)
class Heard:
    """What a model took a sound for.

    Attributes:
        label: The likeliest of its labels.
        confidence: How likely that is right if the sound is one of its labels, 0 to 1; calibrated where the model's
            recipe has ``data.calibration_voices``.
        outlier: How likely the sound is none of them, 0 to 1.
    """

    label: str
    confidence: float
    outlier: float

    @property
    def is_known(self) -> bool:
        """Whether the sound is more likely one of the labels than none."""
        return self.outlier <= 0.5

    def to_json(self) -> dict[str, str | float]:
        """As plain JSON values, to four digits."""
        return {"label": self.label, "confidence": round(self.confidence, 4), "outlier": round(self.outlier, 4)}


@dataclass(frozen=True, slots=True, eq=False)
class Pictures(Sequence["Image.Image"]):
    """The pictures of one sound; a sequence of PIL images.

    Attributes:
        array: (num_images, H, W, C) uint8.
        seed: What the noise was drawn from.
        model: Name of the model.
        sound: Name of the sound: that of its file, if it has one.
        part: Which part of a sound that was cut at its silences, from 1; 0 for a whole one.
        heard: What the model took the sound for; None where it does not say.
    """

    array: NDArray[np.uint8]
    seed: int
    model: str
    sound: str
    part: int = 0
    heard: Heard | None = None
    stem: str = ""
    """What files are named after, where that is not the sound's own name."""
    turned: Mapping[str, str | float] = field(default_factory=dict)
    """The controls that were given, as far as they are numbers and texts."""
    withheld: tuple[int, ...] = ()
    """Which of them a text-to-image model's safety checker has made black."""

    @property
    def blackened(self) -> str:
        """How many a safety checker has made black, in words; empty where none is."""
        if not self.withheld:
            return ""
        num = f"{len(self.withheld)} of {len(self)} pictures"
        return f"the model's safety checker has made {num} black; another seed may help"

    @property
    def images(self) -> list[Image.Image]:
        """All as PIL images, with ``metadata`` in their ``info``."""
        return list(self)

    def metadata(self, index: int) -> dict[str, str | float]:
        """Where a picture comes from and how it was made; it is kept in the files, too."""
        origin: dict[str, str | float] = {"sound": self.sound, "model": self.model, "seed": self.seed, "index": index}
        if self.part:
            origin["part"] = self.part
        origin |= self.turned
        if self.heard is not None:
            origin |= self.heard.to_json()
        return {**origin, "soundsight": __version__}

    def __len__(self) -> int:
        return len(self.array)

    @overload
    def __getitem__(self, index: int) -> Image.Image: ...
    @overload
    def __getitem__(self, index: slice) -> list[Image.Image]: ...
    def __getitem__(self, index: int | slice) -> Image.Image | list[Image.Image]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        position = range(len(self))[index]
        return picture.to_pil(self.array[position], self.metadata(position))

    def encode(self, index: int, suffix: picture.Format = "png") -> bytes:
        """One picture as the contents of a file; for ``npy``, all of them."""
        if suffix == "npy":
            return picture.encode_npy(self.array)
        return picture.encode(self.array[index], suffix, self.metadata(index))

    def file_names(self, stem: str, suffix: picture.Format = "png") -> list[str]:
        """Names of the files of a sound: ``-1`` for its first part, ``_0`` for the first of several pictures."""
        stem = f"{stem}-{self.part}" if self.part else stem
        single = suffix == "npy" or len(self) == 1
        return [f"{stem}.{suffix}"] if single else [f"{stem}_{i}.{suffix}" for i in range(len(self))]

    def save(self, folder: str | Path, suffix: picture.Format = "png") -> list[Path]:
        """Write all pictures into a folder, named after the sound: ``seven.png``, or ``seven_0.png`` and so on.

        Returns:
            The files written.

        Raises:
            OutputError: They cannot be written, or there is no such format.
        """
        if suffix not in picture.FORMATS:
            raise OutputError(f"{suffix!r} is no format of pictures; choose one of {', '.join(picture.FORMATS)}")
        names = self.file_names(self.stem or Path(self.sound).stem, suffix)
        try:
            Path(folder).mkdir(parents=True, exist_ok=True)
            for i, name in enumerate(names):
                replace_file(Path(folder, name), self.encode(i, suffix))
        except OSError as error:
            raise OutputError(f"{folder}: the pictures cannot be written ({error.strerror})") from error
        return [Path(folder, name) for name in names]
