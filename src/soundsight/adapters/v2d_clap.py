"""V2D's CLAP variant: from CLAP's 512 numbers to the pooled text embedding of Stable Diffusion 3.

IE643 «The ReLUtionaries», 2025: the main model's mapper behind another encoder.
"""

from __future__ import annotations

from pydantic import PositiveInt

from soundsight.adapters.mapper import Mapper, MapperConfig

__all__ = ["Adapter", "Config"]


class Config(MapperConfig):
    """Options of the mapper, for CLAP."""

    input_size: PositiveInt = 512


class Adapter(Mapper):
    """The mapper, as it is."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
