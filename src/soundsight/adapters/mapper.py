"""V2D's mapper: from one vector for a sound to one vector for a prompt; shared by the adapters that have it.

IE643 «The ReLUtionaries», *V2D*, 2025: Linear 512, GELU, LayerNorm, Dropout 0.3; Linear 1024, GELU, LayerNorm, Dropout
0.3; Linear 1024, GELU, LayerNorm, Dropout 0.4; Linear to the pooled text embedding.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, PositiveInt, model_validator
from torch import Tensor, nn

from soundsight.conditioning import Conditioning

__all__ = ["Mapper", "MapperConfig", "Scale"]

Share = Annotated[float, Field(ge=0, lt=1)]


class MapperConfig(BaseModel):
    """Options of the mapper; the published ones by default."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    input_size: PositiveInt
    """Width D of the embeddings."""
    pooled_size: PositiveInt = 2048
    """Width P of the prompt's vector: for Stable Diffusion 3 CLIP-L's 768 and CLIP-G's 1280."""
    widths: tuple[PositiveInt, ...] = Field(default=(512, 1024, 1024), min_length=1)
    dropouts: tuple[Share, ...] = (0.3, 0.3, 0.4)
    """Behind each of the widths."""
    normalise: bool = False
    """Whether the training embeddings' mean and deviation are taken out of the inputs, and those of the targets put
    into what is said: a mapper that has learned nothing says the mean target. Not in the paper."""
    unit_length: bool = False
    """Whether embeddings are first scaled to length 1, so that their direction alone is heard. Not in the paper."""

    @model_validator(mode="after")
    def _check(self) -> MapperConfig:
        if len(self.dropouts) != len(self.widths):
            raise ValueError(f"{len(self.dropouts)} dropouts for {len(self.widths)} widths; expected one for each")
        return self


class Scale(nn.Module):
    """Mean and deviation of something in training, element by element; buffers, 0 and 1 until ``fit``."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, *shape: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(shape))
        self.register_buffer("deviation", torch.ones(shape))

    @torch.no_grad()
    def fit(self, x: Tensor) -> None:
        """Take both from training items (N, ...)."""
        self.mean.copy_(x.mean(dim=0))
        self.deviation.copy_(x.std(dim=0, correction=0))

    def remove(self, x: Tensor) -> Tensor:
        """(x − mean) / deviation, of mean 0 and deviation 1 in training; what never changed there is not scaled."""
        return (x - self.mean) / torch.where(self.deviation > 1e-6, self.deviation, 1.0)

    def put(self, x: Tensor) -> Tensor:
        """The way back, mean + deviation · x: what never changes is said as it is."""
        return self.mean + self.deviation * x


class Mapper(nn.Module):
    """From the pooled embedding of a sound to a pooled text embedding."""

    hears: Literal["pooled"] = "pooled"

    def __init__(self, config: MapperConfig) -> None:
        super().__init__()
        self.config = config
        self.inputs = Scale(config.input_size) if config.normalise else None
        self.outputs = Scale(config.pooled_size) if config.normalise else None
        self.layers = _layers(config)

    @property
    def input_size(self) -> int:
        """Width D of the embeddings that it understands."""
        return self.config.input_size

    @property
    def sizes(self) -> dict[str, int]:
        """Parts of a ``Conditioning`` that it says, and their widths."""
        return {"pooled": self.config.pooled_size}

    def fit(self, tokens_NLD: Tensor, pooled_ND: Tensor, wanted: Mapping[str, Tensor]) -> None:
        """Learn the scales of the training embeddings and of their targets, where the options ask for it."""
        if self.inputs is not None and self.outputs is not None:
            self.inputs.fit(self._direction(pooled_ND))
            self.outputs.fit(wanted["pooled"])

    def _direction(self, pooled_BD: Tensor) -> Tensor:
        """Embeddings as they are, or of length 1."""
        return nn.functional.normalize(pooled_BD) if self.config.unit_length else pooled_BD

    def forward(self, tokens_BLD: Tensor, pooled_BD: Tensor) -> Conditioning:
        """What B sounds say.

        Args:
            tokens_BLD: (B, L, D), not listened to.
            pooled_BD: (B, D), whole sounds.

        Returns:
            ``pooled`` (B, P) alone.
        """
        x_BD = self._direction(pooled_BD)
        if self.inputs is None or self.outputs is None:
            return Conditioning(pooled=self.layers(x_BD))
        return Conditioning(pooled=self.outputs.put(self.layers(self.inputs.remove(x_BD))))


def _layers(config: MapperConfig) -> nn.Sequential:
    layers: list[nn.Module] = []
    size = config.input_size
    for width, dropout in zip(config.widths, config.dropouts, strict=True):
        layers += [nn.Linear(size, width), nn.GELU(), nn.LayerNorm(width), nn.Dropout(dropout)]
        size = width
    return nn.Sequential(*layers, nn.Linear(size, config.pooled_size))
