"""Archetype: a baseline that names the digit and shows the mean training picture of it, the same one every time.

No paper: it is what a system must be held against that is judged by a classifier alone. It has no latent and no
handwriting, and a classifier reads its pictures; whatever accuracy it reaches needs no generative model.
"""

from __future__ import annotations

import torch
from pydantic import BaseModel, ConfigDict, Field, PositiveInt
from torch import Tensor, nn
from torch.nn import functional

from soundsight.models.layers import Listener

__all__ = ["Config", "System"]


class Config(BaseModel):
    """Options of the classifier that listens."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    widths: tuple[PositiveInt, PositiveInt, PositiveInt, PositiveInt] = (24, 48, 64, 96)
    """Channels of its four convolutions."""
    dropout: float = Field(default=0.3, ge=0, lt=1)


class System(nn.Module):
    """A classifier of sounds and ten mean pictures: one phase, cross-entropy."""

    phases = ("classifier",)
    latent_size = 0
    features_shape = (48, 48)
    image_shape = (1, 28, 28)

    def __init__(self, config: Config, num_labels: int = 10) -> None:
        super().__init__()
        self.listener = Listener(config.widths, config.dropout, num_labels)
        # Part of the weights, though no gradient changes them: means over all training pictures seen so far.
        self.register_buffer("mean_LCHW", torch.zeros(num_labels, *self.image_shape))
        self.register_buffer("count_L", torch.zeros(num_labels))
        self.mean_LCHW: Tensor
        self.count_L: Tensor

    def parameters_of(self, phase: str) -> list[nn.Parameter]:
        """All parameters: there is one phase."""
        return list(self.parameters())

    def losses(self, phase: str, batch: dict[str, Tensor], step: int) -> dict[str, Tensor]:
        """Cross-entropy of what is heard in ``features`` (B, 48, 48) against ``label`` (B,).

        In training the pictures ``image`` (B, 1, 28, 28) of each label join its mean.
        """
        if self.training:
            self._remember(batch["image"], batch["label"])
        logits_BL = self.listener(batch["features"])
        return {"cross_entropy": functional.cross_entropy(logits_BL.float(), batch["label"])}

    @torch.no_grad()
    def _remember(self, image_BCHW: Tensor, label_B: Tensor) -> None:
        new_L = torch.bincount(label_B, minlength=len(self.count_L)).to(self.count_L)
        sums_LCHW = torch.zeros_like(self.mean_LCHW).index_add_(0, label_B, image_BCHW.to(self.mean_LCHW))
        self.count_L += new_L
        share_L111 = self.count_L.clamp(min=1)[:, None, None, None]
        self.mean_LCHW += (sums_LCHW - new_L[:, None, None, None] * self.mean_LCHW) / share_L111

    def generate(self, features_BFN: Tensor, noise_BD: Tensor) -> Tensor:
        """The mean pictures (B, 1, 28, 28) in [0, 1] of the labels that are heard in features; the noise is empty."""
        return self.mean_LCHW[self.listener(features_BFN).argmax(dim=1)]
