"""V2D: from VGGish to the pooled text embedding of Stable Diffusion 3.

IE643 «The ReLUtionaries», 2025, the main model: VGGish's 128 numbers, averaged over the patches of a sound, and the
mapper. The text-to-image model stays as it is.
"""

from __future__ import annotations

from pydantic import PositiveInt

from soundsight.adapters.mapper import Mapper, MapperConfig

__all__ = ["Adapter", "Config"]


class Config(MapperConfig):
    """Options of the mapper, for VGGish."""

    input_size: PositiveInt = 128


class Adapter(Mapper):
    """The mapper, as it is."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
