"""LeNet-5: the judge that reads generated digits.

LeCun, Bottou, Bengio & Haffner, *Gradient-Based Learning Applied to Document Recognition*, 1998, section II.B, with
today's ReLU and max pooling in place of the scaled tanh and the trainable subsampling. Żelaszczyk & Mańdziuk (2021)
judge with a LeNet-5 of 98.7 % on real test images.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["Config", "System"]


class Config(BaseModel):
    """Options of LeNet-5."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Share of the 84 features dropped in training."""


class System(nn.Module):
    """LeNet-5 as a trainable system: one phase, cross-entropy on real pictures; it reads sound nowhere."""

    phases = ("classifier",)
    latent_size = 0
    features_shape = None
    image_shape = (1, 28, 28)

    def __init__(self, config: Config, num_labels: int = 10) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, 6, 5, padding=2),  # (B, 6, 28, 28)
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(6, 16, 5),  # (B, 16, 10, 10)
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(16 * 5 * 5, 120),
            nn.ReLU(),
            nn.Linear(120, 84),
            nn.ReLU(),
        )
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Linear(84, num_labels)

    def parameters_of(self, phase: str) -> list[nn.Parameter]:
        """All parameters: there is one phase."""
        return list(self.parameters())

    def losses(self, phase: str, batch: dict[str, Tensor], step: int) -> dict[str, Tensor]:
        """Cross-entropy of ``image`` (B, 1, 28, 28) in [0, 1] against ``label`` (B,)."""
        logits_BL = self.head(self.dropout(self.body(batch["image"])))
        return {"cross_entropy": functional.cross_entropy(logits_BL.float(), batch["label"])}

    def layers_of(self, image_BCHW: Tensor) -> list[Tensor]:
        """Activations behind each ReLU, (B, C, H, W) and then (B, D), from fine to coarse."""
        layers, hidden = [], image_BCHW
        for layer in self.body:
            hidden = layer(hidden)
            if isinstance(layer, nn.ReLU):
                layers.append(hidden)
        return layers

    def forward(self, image_BCHW: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (B, labels) and the penultimate features (B, 84) of pictures (B, 1, 28, 28) in [0, 1]."""
        features_BD = self.body(image_BCHW)
        return self.head(features_BD), features_BD
