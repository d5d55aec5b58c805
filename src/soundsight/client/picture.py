"""A picture as it came from a server."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from soundsight.errors import ImageError, OutputError
from soundsight.files import replace_file

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["Picture"]


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture as it came from the server.

    Attributes:
        index: Which picture of its sound, or which frame of a film, from 0.
        part: Which part of a sound that was cut at its silences, from 0.
        png: The contents of its file.
        heard: What the model took the sound for: ``label``, ``confidence``, ``outlier``; None where it does not say.
        place: Of a film: where between the first sound, 0, and the second, 1.
    """

    index: int
    part: int
    png: bytes = field(repr=False)
    heard: Mapping[str, Any] | None = None
    place: float | None = None

    @property
    def image(self) -> Image.Image:
        """As a PIL image.

        Raises:
            ImageError: It is damaged.
        """
        from PIL import Image

        try:
            image = Image.open(io.BytesIO(self.png), formats=["PNG"])
            image.load()
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise ImageError(f"picture {self.index}: a damaged PNG ({error})") from error
        return image

    def save(self, path: str | Path) -> Path:
        """Write the file, whole or not at all.

        Args:
            path: A name that ends in ``.png``; other formats can be had from ``image``.

        Returns:
            The path.

        Raises:
            OutputError: It cannot be written, or is to be no PNG.
        """
        path = Path(path)
        if path.suffix.lower() != ".png":
            raise OutputError(f"{path}: a picture from the server is a PNG; choose a name that ends in .png")
        try:
            replace_file(path, self.png)
        except OSError as error:
            raise OutputError(f"{path}: the picture cannot be written ({error.strerror})") from error
        return path
