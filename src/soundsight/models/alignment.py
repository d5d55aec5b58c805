"""A space that sounds and pictures share: what belongs together is near.

Two towers, one for each modality, trained so that a sound finds its pictures among those of a batch and a picture its
sounds (InfoNCE, ``losses.contrastive``; Radford et al., *Learning Transferable Visual Models from Natural Language
Supervision*, 2021, figure 3, with sound in the place of text). Żelaszczyk & Mańdziuk (2021, section 5) name such shared
representations as future work. It makes no pictures: it tells how well one fits a sound (``soundsight rank``), measures
generators (``evaluate``) and teaches them (``consistency`` in a recipe).

The defaults hear a spoken word and see a grey digit. Other pictures are a matter of ``image_channels`` and
``image_size``; other features, such as the coefficients of a scene's second, of ``bins`` and ``frames``.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt
from torch import Tensor, nn
from torch.nn import functional

from soundsight.losses.contrastive import info_nce
from soundsight.models.layers import Listener, SpectrogramEncoder

__all__ = ["Config", "System"]


class Config(BaseModel):
    """Options of the alignment."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    embedding_size: PositiveInt = 32
    temperature: PositiveFloat = 0.1
    by_label: bool = True
    """All sounds and pictures of one label belong together; pairs have no labels, and each is alone."""
    image_channels: Literal[1, 3] = 1
    image_size: Literal[16, 28, 32, 64, 128, 256] = 28
    bins: int = Field(default=48, ge=8)
    frames: int = Field(default=48, ge=8)
    """Of the features that the front end gives, (bins, frames)."""
    listener_widths: tuple[PositiveInt, PositiveInt, PositiveInt, PositiveInt] = (32, 64, 96, 128)
    dropout: float = Field(default=0.3, ge=0, lt=1)


_WORD = (48, 48)
_LEAST_SIDE, _MOST_WIDTH = 8, 128


class Viewer(nn.Module):
    """Pictures (B, C, S, S) in [0, 1] → embeddings (B, D), not yet of length 1; the side is halved to 8 or less."""

    def __init__(self, channels: int, size: int, embedding_size: int, dropout: float) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        width, kernel, stride = 16, 3, 1
        while stride == 1 or size > _LEAST_SIDE:  # 28 → 28 → 14 → 7; 64 → 64 → 32 → 16 → 8
            size //= stride
            layers += [
                nn.Conv2d(channels, width, kernel, stride, 1, bias=False),
                nn.BatchNorm2d(width),
                nn.ReLU(),
            ]
            channels, width, kernel, stride = width, min(2 * width, _MOST_WIDTH), 4, 2
        self.convolutions = nn.Sequential(*layers)
        self.head = nn.Sequential(
            nn.Dropout(dropout), nn.Linear(size**2 * channels, 64), nn.ReLU(), nn.Linear(64, embedding_size)
        )

    def forward(self, image_BCHW: Tensor) -> Tensor:
        embedding_BD: Tensor = self.head(self.convolutions(image_BCHW).flatten(1))
        return embedding_BD


class System(nn.Module):
    """The alignment as a trainable system: one phase."""

    phases = ("alignment",)
    latent_size = 0

    def __init__(self, config: Config, num_labels: int = 10) -> None:
        super().__init__()
        self.config = config
        self.features_shape = config.bins, config.frames
        self.image_shape = config.image_channels, config.image_size, config.image_size
        # Of one label all would belong together.
        self._by_label = config.by_label and num_labels > 1
        self.listener = (
            Listener(config.listener_widths, config.dropout, config.embedding_size)
            if self.features_shape == _WORD
            else SpectrogramEncoder(config.listener_widths, config.bins, config.embedding_size)
        )
        self.viewer = Viewer(config.image_channels, config.image_size, config.embedding_size, config.dropout)

    def parameters_of(self, phase: str) -> list[nn.Parameter]:
        """All parameters: there is one phase."""
        return list(self.parameters())

    def losses(self, phase: str, batch: dict[str, Tensor], step: int) -> dict[str, Tensor]:
        """InfoNCE of ``features`` (B, F, N) and ``image`` (B, C, S, S) in [0, 1], with ``label`` (B,)."""
        sound_BD, image_BD = self(batch["features"], batch["image"])
        labels_B = batch["label"] if self._by_label else None
        return {"consistency": info_nce(sound_BD, image_BD, self.config.temperature, labels_B)}

    def forward(self, features_BFN: Tensor, image_NCHW: Tensor) -> tuple[Tensor, Tensor]:
        """Embeddings of length 1, (B, D) of sounds and (N, D) of pictures; B and N need not be the same."""
        # A batch cast to 16 bits would lose the small angles that matter.
        sound_BD, image_ND = self.listener(features_BFN).float(), self.viewer(image_NCHW).float()
        return functional.normalize(sound_BD), functional.normalize(image_ND)

    def consistency(self, features_BFN: Tensor, image_BCHW: Tensor, label_B: Tensor) -> Tensor:
        """InfoNCE of sounds with pictures that were made from them; the gradient reaches the pictures alone."""
        with torch.no_grad():
            sound_BD = functional.normalize(self.listener(features_BFN).float())
        image_BD = functional.normalize(self.viewer(image_BCHW).float())
        return info_nce(sound_BD, image_BD, self.config.temperature, label_B if self._by_label else None)
