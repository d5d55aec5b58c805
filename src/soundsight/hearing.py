"""From any sound to the features that a model was trained on: the part that all models that hear have in common."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import numpy as np
from numpy.typing import NDArray

from soundsight import audio, registry
from soundsight.audio import Clip
from soundsight.errors import AudioError, ModelError
from soundsight.folder import ModelFolder

__all__ = ["Audio", "Hearing", "sound_name", "stem_of"]

Audio: TypeAlias = str | Path | bytes | BinaryIO | tuple[Any, int] | Clip
"""A path, the bytes of a file, an open binary file, ``(samples, sample_rate_hz)`` or a ``Clip``."""


class Hearing:
    """The front end of a model folder, ready to listen.

    Args:
        folder: Of a model that hears.

    Raises:
        ModelError: The folder's front end has options that do not fit it.
        UnknownNameError: It names a front end that is not installed.
    """

    in_parallel = True
    """Whether calls from several threads run side by side, or wait for each other."""

    def __init__(self, folder: ModelFolder) -> None:
        self.folder = folder
        options = dict(folder.features or {})
        self._front_end = registry.find("features", options.pop("name"))
        try:
            self._config = self._front_end.Config(**options)
        except (TypeError, ValueError) as error:
            raise ModelError(f"{folder.path}: features in config.json do not fit: {error}") from error

    @property
    def full_name(self) -> str:
        """What is kept with a picture of where it comes from."""
        return self.folder.name

    @property
    def sample_rate_hz(self) -> int:
        """Rate that the front end listens at."""
        return int(self._config.sample_rate_hz)

    def hear(self, sound: Audio, *, split: bool = False) -> list[Clip]:
        """Decode a sound to clips as the front end wants them: one, or one for each utterance or moment.

        Args:
            sound: Anything that sounds.
            split: Cut it where the front end cuts.

        Raises:
            AudioError: It cannot be read or used.
        """
        clip = self._decode(sound)
        try:
            parts = self._front_end.split(clip, self._config) if split else [clip]
            return [self.prepare(part) for part in parts]
        except AudioError as error:
            raise AudioError(f"{sound if isinstance(sound, str | Path) else sound_name(sound)}: {error}") from error

    def prepare(self, clip: Clip) -> Clip:
        """A clip as the front end hears it: trimmed and levelled, or as it is.

        Raises:
            AudioError: It is silent, and the front end listens for something.
        """
        prepared: Clip = self._front_end.prepare(clip)
        return prepared

    def extract(self, clips: Sequence[Clip]) -> NDArray[np.float32]:
        """Features (B, F, N) of clips from ``hear``, for ``from_features``."""
        features_BFN: NDArray[np.float32] = self._front_end.extract(clips, self._config)
        return features_BFN

    def _decode(self, sound: Audio) -> Clip:
        if isinstance(sound, Clip):
            sound = sound.samples, sound.sample_rate_hz
        if isinstance(sound, tuple):
            given: tuple[Any, ...] = sound
            if len(given) != 2 or not isinstance(given[1], int | np.integer):
                shown = ", ".join(type(item).__name__ for item in given)
                raise AudioError(f"a tuple is (samples, sample_rate_hz) with a whole number of Hz, not ({shown})")
            return audio.from_array(given[0], int(given[1]), target_rate_hz=self.sample_rate_hz)
        if not isinstance(sound, str | Path | bytes) and not hasattr(sound, "read"):
            kind = type(sound).__name__
            raise AudioError(f"a sound is a path, bytes, an open file, (samples, rate in Hz) or a Clip, not {kind}")
        return audio.decode(sound, sample_rate_hz=self.sample_rate_hz)


def sound_name(sound: Audio) -> str:
    """What a sound is called in the metadata of its pictures."""
    name = getattr(sound, "name", None)  # a Path, or an open file
    if isinstance(sound, str) or isinstance(name, str):
        return Path(sound if isinstance(sound, str) else str(name)).name
    return "bytes" if isinstance(sound, bytes) else "samples"


def stem_of(sounds: Sequence[Audio], between: str) -> str:
    """What a file of several sounds is called, without a suffix."""
    return between.join(Path(sound_name(sound)).stem for sound in sounds)[:200]
