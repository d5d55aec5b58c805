"""The noise that pictures are drawn from; for the handwriting of a given picture, the noise that it comes from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from soundsight import noise, photo
from soundsight.blending import turn
from soundsight.controls import Controls
from soundsight.errors import ImageError
from soundsight.generator import Generator

__all__ = ["Styles"]

# How far the other pictures go from a style towards their own noise.
_NEAR = 0.25
# Less difference between ink and paper is none.
_FAINTEST = 0.1


class Styles:
    """Noise of pictures; the last one is remembered, as many sounds may share it.

    Args:
        generator: The network that draws.
    """

    def __init__(self, generator: Generator) -> None:
        self._generator = generator
        self._last: tuple[tuple[str, int, int], NDArray[np.float32]] | None = None

    def draw(self, seed: int, num_images: int, controls: Controls) -> NDArray[np.float32]:
        """Noise (num_images, D) of a seed, with the variation and the style that are asked for.

        Raises:
            ImageError: The picture of the style cannot be read, or is empty.
        """
        noise_MD = noise.draw(int(seed), int(num_images), self._generator.folder.latent_size)
        if "style" in controls:
            style_D = self.noise_of(Path(controls["style"]))
            places = [0.0] + [_NEAR] * (len(noise_MD) - 1)
            noise_MD = np.stack([turn(style_D, row_D, place) for row_D, place in zip(noise_MD, places, strict=True)])
        return noise_MD * np.float32(controls.get("variation", 1))

    def noise_of(self, path: Path) -> NDArray[np.float32]:
        """The noise (D,) that a picture comes from.

        Raises:
            ImageError: The picture cannot be read, or is empty.
        """
        try:
            status = path.stat()
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise ImageError(f"{path}: cannot be read ({reason})") from error
        key = str(path), status.st_mtime_ns, status.st_size
        last = self._last  # another thread may put its own in its place
        if last is None or last[0] != key:
            shape = self._generator.folder.image
            image_CHW = photo.read(path, (shape.channels, shape.height, shape.width))
            if float(np.ptp(image_CHW)) < _FAINTEST:
                raise ImageError(f"{path}: one colour all over; expected a picture of handwriting")
            self._last = last = key, self._generator.invert(image_CHW[None])[0]
        return last[1]
