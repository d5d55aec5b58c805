"""V2D's partial tokens: from five VGGish patches to the first 20 tokens of each text encoder of Stable Diffusion 3.

IE643 «The ReLUtionaries», 2025: a transformer encoder (width 512, 8 heads, 4 layers, feed-forward 1024) over the
patches, a linear map along time from 5 to 20 tokens, and three heads, for CLIP-L (768), CLIP-G (1280) and T5 (4096).
Whoever paints pads the 20 tokens with zeros to 77, 77 and 256. Not printed are how patches get the transformer's width
(a linear map here) and how it knows their order (learned places here).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, PositiveInt, model_validator
from torch import Tensor, nn

from soundsight.adapters.mapper import Scale
from soundsight.adapters.patches import resample
from soundsight.conditioning import Conditioning

__all__ = ["Adapter", "Config"]


class Config(BaseModel):
    """Options of the transformer and its heads; the published ones by default."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    input_size: PositiveInt = 128
    """Width D of a patch."""
    num_patches: PositiveInt = 5
    """A sound with another number of patches is resampled along time."""
    num_tokens: PositiveInt = 20
    clip_l_size: PositiveInt = 768
    clip_g_size: PositiveInt = 1280
    t5_size: PositiveInt = 4096
    width: PositiveInt = 512
    num_heads: PositiveInt = 8
    num_layers: PositiveInt = 4
    feed_forward: PositiveInt = 1024
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1
    normalise: bool = False
    """Whether the training patches' mean and deviation are taken out of the inputs, and those of the targets put into
    what is said: hidden states of CLIP have numbers a hundred times as large as others. Not in the paper."""

    @model_validator(mode="after")
    def _check(self) -> Config:
        if self.width % self.num_heads:
            raise ValueError(f"a width of {self.width} cannot be divided among {self.num_heads} heads")
        return self


class Adapter(nn.Module):
    """Patches → transformer → tokens along time → three heads."""

    hears: Literal["tokens"] = "tokens"

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.inputs = Scale(config.input_size) if config.normalise else None
        scales = {name: Scale(config.num_tokens, size) for name, size in self.sizes.items()}
        self.outputs = nn.ModuleDict(scales) if config.normalise else None
        self.enter = nn.Linear(config.input_size, config.width)
        self.places_LD = nn.Parameter(0.02 * torch.randn(config.num_patches, config.width))
        layer = nn.TransformerEncoderLayer(
            config.width, config.num_heads, config.feed_forward, config.dropout, activation="gelu", batch_first=True
        )
        self.transformer = nn.TransformerEncoder(layer, config.num_layers, enable_nested_tensor=False)
        self.along_time = nn.Linear(config.num_patches, config.num_tokens)
        self.heads = nn.ModuleDict({name: nn.Linear(config.width, size) for name, size in self.sizes.items()})

    @property
    def input_size(self) -> int:
        """Width D of the embeddings that it understands."""
        return self.config.input_size

    @property
    def sizes(self) -> dict[str, int]:
        """Parts of a ``Conditioning`` that it says, and their widths."""
        return {"clip_l": self.config.clip_l_size, "clip_g": self.config.clip_g_size, "t5": self.config.t5_size}

    def fit(self, tokens_NLD: Tensor, pooled_ND: Tensor, wanted: Mapping[str, Tensor]) -> None:
        """Learn the scales of the training patches and of their targets, where the options ask for it."""
        if self.inputs is not None and self.outputs is not None:
            self.inputs.fit(tokens_NLD.flatten(0, 1))
            for name, scale in self.outputs.items():
                scale.fit(wanted[name][:, : self.config.num_tokens])  # type: ignore[operator]

    def forward(self, tokens_BLD: Tensor, pooled_BD: Tensor) -> Conditioning:
        """What B sounds say.

        Args:
            tokens_BLD: (B, L, D), patches from a sound's start to its end.
            pooled_BD: (B, D), not listened to.

        Returns:
            ``clip_l``, ``clip_g`` and ``t5``, (B, 20, W) each.
        """
        x_BLD = resample(tokens_BLD, self.config.num_patches)
        x_BLD = x_BLD if self.inputs is None else self.inputs.remove(x_BLD)
        y_BLD = self.transformer(self.enter(x_BLD) + self.places_LD)
        y_BKD = self.along_time(y_BLD.transpose(1, 2)).transpose(1, 2)
        said = {name: head(y_BKD) for name, head in self.heads.items()}
        if self.outputs is not None:
            said = {name: self.outputs[name].put(part) for name, part in said.items()}  # type: ignore[operator]
        return Conditioning(**said)
