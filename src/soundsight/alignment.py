"""How well pictures fit a sound: both as points in a space that they share.

>>> from soundsight import Alignment
>>> Alignment.from_pretrained()("seven.wav", ["one.png", "seven.png"])  # doctest: +SKIP
array([0.11, 0.93], dtype=float32)
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from soundsight import photo
from soundsight.errors import ImageError, ModelError
from soundsight.folder import check_kind, read_folder, resolve, verify_weights
from soundsight.generator import WEIGHTS, open_session
from soundsight.hearing import Audio, Hearing
from soundsight.manifest import ModelFolder

__all__ = ["Alignment"]

Float32 = NDArray[np.float32]

_BATCH = 250


class Alignment(Hearing):
    """A model that gives sounds and pictures places in one space; near is fitting.

    Args:
        folder: Of an alignment, with ``model.onnx``.
        threads: Threads that work on one batch.

    Raises:
        ModelError: It is no alignment, or damaged.
    """

    def __init__(self, folder: ModelFolder, threads: int = 1) -> None:
        check_kind(folder, "alignment")
        if WEIGHTS not in folder.weights:
            raise ModelError(f"{folder.path}: there is no {WEIGHTS} in it; make one: soundsight export {folder.path}")
        super().__init__(folder)
        verify_weights(folder, [WEIGHTS])
        self._session = open_session(folder, threads)
        shape = folder.image
        told = {node.name: list(node.shape[1:]) for node in self._session.get_inputs()}
        expected = [shape.channels, shape.height, shape.width]
        features = told.get("features", [])
        if told.keys() != {"features", "image"} or told["image"] != expected or len(features) != 2:
            raise ModelError(f"{folder.path}: {WEIGHTS} has the inputs {told}; expected features, and image {expected}")
        if {node.name for node in self._session.get_outputs()} != {"sound_embedding", "image_embedding"}:
            raise ModelError(f"{folder.path}: {WEIGHTS} does not compare sounds with pictures")
        # One sound and one picture of nothing: the network wants both ends, and each has an answer of its own.
        self._no_sound = np.zeros([1, *(size if isinstance(size, int) else 48 for size in features)], np.float32)
        self._no_image = np.zeros([1, *expected], np.float32)

    @classmethod
    def from_pretrained(cls, name_or_folder: str | Path = "alignment", *, threads: int = 1) -> Alignment:
        """Load a model, by name or as a folder.

        Raises:
            UnknownNameError: There is no such model.
            ModelError: The folder is damaged, or holds something else.
        """
        return cls(read_folder(resolve(name_or_folder), verify=False), threads)

    def __call__(self, sound: Audio, images: Sequence[str | Path]) -> Float32:
        """How well each picture fits a sound.

        Args:
            sound: Anything that sounds.
            images: Files of pictures, in a list.

        Returns:
            (N,) float32: the cosine between picture and sound, -1 to 1. It orders pictures; it is no probability.

        Raises:
            AudioError, ImageError: Something cannot be read or used.
            ModelError: The network failed.
        """
        if isinstance(images, str | Path):
            raise ImageError(f"pictures come in a list; got {images!r}")
        sound_1D = self.embed_sounds(self.extract(self.hear(sound)))
        read = [self.see(path) for path in images]
        if not read:
            return np.zeros(0, np.float32)
        fits_N: Float32 = (self.embed_images(np.stack(read)) @ sound_1D[0]).clip(-1, 1)
        return fits_N

    def see(self, path: str | Path) -> Float32:
        """A picture from a file as the model wants it, (C, H, W) in [0, 1]: the middle of a scene, or all of a digit.

        Raises:
            ImageError: It cannot be read.
        """
        shape = self.folder.image
        if self.folder.labels is None and shape.channels == 3:  # of pairs, whose pictures were cut so
            return photo.read_square(path, shape.height).astype(np.float32) / np.float32(255)
        return photo.read(path, (shape.channels, shape.height, shape.width))

    def embed_sounds(self, features_BFN: Float32) -> Float32:
        """Places of sounds: (B, D) float32 of length 1 from features (B, F, N)."""
        feeds = [{"features": part, "image": self._no_image} for part in _parts(features_BFN)]
        return self._run("sound_embedding", feeds)

    def embed_images(self, images_NCHW: Float32) -> Float32:
        """Places of pictures: (N, D) float32 of length 1 from (N, C, H, W) in [0, 1]."""
        feeds = [{"features": self._no_sound, "image": part} for part in _parts(images_NCHW)]
        return self._run("image_embedding", feeds)

    def _run(self, output: str, feeds: Sequence[dict[str, Float32]]) -> Float32:
        try:
            found: Float32 = np.concatenate([self._session.run([output], feed)[0] for feed in feeds])
        except Exception as error:  # ONNX Runtime's errors share no base class of their own
            reason = " ".join(str(error).split())[:200]
            raise ModelError(f"{self.folder.path}: {WEIGHTS} cannot be run ({reason})") from error
        if not np.isfinite(found).all():
            raise ModelError(f"{self.folder.path}: {WEIGHTS} returned numbers that are not finite")
        return found


def _parts(items: Float32) -> list[Float32]:
    return np.split(items, range(_BATCH, len(items), _BATCH))
