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

from soundsight import picture
from soundsight.errors import ModelError
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
            images: Files of pictures.

        Returns:
            (N,) float32: the cosine between picture and sound, -1 to 1. It orders pictures; it is no probability.

        Raises:
            AudioError, ImageError: Something cannot be read or used.
            ModelError: The network failed.
        """
        shape = self.folder.image
        sound_1D = self.embed_sounds(self.extract(self.hear(sound)))
        read = [picture.read(path, (shape.channels, shape.height, shape.width)) for path in images]
        fits_N: Float32 = (self.embed_images(np.stack(read)) @ sound_1D[0]).clip(-1, 1)
        return fits_N

    def embed_sounds(self, features_BFN: Float32) -> Float32:
        """Places of sounds: (B, D) float32 of length 1 from features (B, F, N)."""
        shape = self.folder.image
        none = np.zeros((1, shape.channels, shape.height, shape.width), np.float32)
        return self._run("sound_embedding", [{"features": part, "image": none} for part in _parts(features_BFN)])

    def embed_images(self, images_NCHW: Float32) -> Float32:
        """Places of pictures: (N, D) float32 of length 1 from (N, C, H, W) in [0, 1]."""
        none = np.zeros((1, *self._session.get_inputs()[0].shape[1:]), np.float32)
        return self._run("image_embedding", [{"features": none, "image": part} for part in _parts(images_NCHW)])

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
