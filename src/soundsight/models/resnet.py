"""A small residual network that judges pictures in colour.

He, Zhang, Ren & Sun, *Deep Residual Learning for Image Recognition*, 2016, section 4.2 (their network for CIFAR-10),
with fewer layers and more channels, which a CPU trains sooner.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveInt
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["Config", "System"]


class Config(BaseModel):
    """Options of the residual network."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    image_size: Literal[16, 32, 64] = 32
    image_channels: Literal[1, 3] = 3
    widths: tuple[PositiveInt, PositiveInt, PositiveInt] = (32, 64, 128)
    """Channels at the whole size, at half of it and at a quarter."""
    blocks: PositiveInt = 1
    """Residual blocks at each size."""
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    shift: NonNegativeInt = 0
    """In training pictures are moved by up to so many pixels either way."""
    mirror: bool = False
    """In training half of the pictures are mirrored."""


class Block(nn.Module):
    """Two convolutions beside a shortcut, (B, C, H, W) → (B, C', H / stride, W / stride)."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(before, after, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(after),
            nn.ReLU(),
            nn.Conv2d(after, after, 3, padding=1, bias=False),
            nn.BatchNorm2d(after),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or before != after:
            self.shortcut = nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after))

    def forward(self, maps_BCHW: Tensor) -> Tensor:
        return functional.relu(self.shortcut(maps_BCHW) + self.body(maps_BCHW))


class System(nn.Module):
    """The judge as a trainable system: one phase, cross-entropy on real pictures; it reads sound nowhere."""

    phases = ("classifier",)
    latent_size = 0
    features_shape = None

    def __init__(self, config: Config, num_labels: int = 10) -> None:
        super().__init__()
        self.config = config
        self.image_shape = (config.image_channels, config.image_size, config.image_size)
        first = config.widths[0]
        self.start = nn.Sequential(
            nn.Conv2d(config.image_channels, first, 3, padding=1, bias=False), nn.BatchNorm2d(first), nn.ReLU()
        )
        self.sizes = nn.ModuleList()
        for i, (before, after) in enumerate(pairwise((first, *config.widths))):
            blocks = [Block(before, after, 2 if i else 1)]
            blocks += [Block(after, after, 1) for _ in range(config.blocks - 1)]
            self.sizes.append(nn.Sequential(*blocks))
        self.head = nn.Linear(config.widths[-1], num_labels)

    def parameters_of(self, phase: str) -> list[nn.Parameter]:
        """All parameters: there is one phase."""
        return list(self.parameters())

    def losses(self, phase: str, batch: dict[str, Tensor], step: int) -> dict[str, Tensor]:
        """Cross-entropy of ``image`` (B, C, S, S) in [0, 1] against ``label`` (B,)."""
        image_BCHW = self._changed(batch["image"]) if self.training else batch["image"]
        logits_BL, _ = self(image_BCHW)
        smoothing = self.config.label_smoothing
        return {"cross_entropy": functional.cross_entropy(logits_BL.float(), batch["label"], label_smoothing=smoothing)}

    def _changed(self, image_BCHW: Tensor) -> Tensor:
        """Pictures moved and mirrored, each by its own; the border repeated."""
        size, most = self.config.image_size, self.config.shift
        # Drawn on the CPU, so that a resumed training draws the same wherever it runs.
        if self.config.mirror:
            turned_B = (torch.rand(len(image_BCHW)) < 0.5).to(image_BCHW.device)
            image_BCHW = torch.where(turned_B[:, None, None, None], image_BCHW.flip(3), image_BCHW)
        if most:
            padded_BCHW = functional.pad(image_BCHW, (most,) * 4, mode="replicate")
            places = torch.randint(2 * most + 1, (len(image_BCHW), 2)).tolist()
            moved = [p[:, y : y + size, x : x + size] for p, (y, x) in zip(padded_BCHW, places, strict=True)]
            image_BCHW = torch.stack(moved)
        return image_BCHW

    def layers_of(self, image_BCHW: Tensor) -> list[Tensor]:
        """Activations (B, C, H, W) at each size, from fine to coarse."""
        maps_BCHW = self.start(2 * image_BCHW - 1)
        layers = []
        for blocks in self.sizes:
            maps_BCHW = blocks(maps_BCHW)
            layers.append(maps_BCHW)
        return layers

    def forward(self, image_BCHW: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (B, labels) and the penultimate features (B, D) of pictures (B, C, S, S) in [0, 1]."""
        features_BD = self.layers_of(image_BCHW)[-1].mean(dim=(2, 3))
        return self.head(features_BD), features_BD
