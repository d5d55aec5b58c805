"""AIVAE: a variational autoencoder from a spectrogram to a picture.

Żelaszczyk & Mańdziuk, *Audio-to-Image Cross-Modal Generation*, 2021: Table 1 (architecture), equation (3) (loss).

What the paper leaves open, and how it is read here:

- Paddings are not printed. The decoder's must be 1 (7 → 14 → 28); the encoder's is taken as 1 too (48 → 24 → 12).
- The table prints a ReLU behind μ, σ. A log-variance cannot be trained behind one (σ ≥ 1 always): a misprint, left out.
- log p(i|f) is a Bernoulli per pixel, summed over pixels (see ``soundsight.losses.reconstruction``).
"""

from __future__ import annotations

import torch
from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveInt
from torch import Tensor, nn

from soundsight.losses.kl import kl_divergence, warmup
from soundsight.losses.reconstruction import bernoulli
from soundsight.models.layers import reparameterise

__all__ = ["Config", "System"]


class Config(BaseModel):
    """Options of AIVAE; the defaults are Table 1."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    latent_size: PositiveInt = Field(default=64, le=4096)
    kl_warmup_steps: NonNegativeInt = 1000
    """Steps over which the KL weight rises from 0 to 1; not in the paper, but without it the posterior collapses."""


class Encoder(nn.Module):
    """Table 1, left: (B, 1, 48, 48) → mean and log-variance, each (B, latent_size)."""

    def __init__(self, latent_size: int) -> None:
        super().__init__()
        self.convolutions = nn.Sequential(
            nn.Conv2d(1, 64, 4, stride=2, padding=1),  # (B, 64, 24, 24)
            nn.ReLU(),
            nn.Conv2d(64, 128, 4, stride=2, padding=1),  # (B, 128, 12, 12)
            nn.ReLU(),
        )
        self.dense = nn.Sequential(nn.Linear(128 * 12 * 12, 1024), nn.ReLU(), nn.Linear(1024, 512), nn.ReLU())
        self.mean = nn.Linear(512, latent_size)
        self.log_variance = nn.Linear(512, latent_size)

    def forward(self, features_BFN: Tensor) -> tuple[Tensor, Tensor]:
        hidden_BD = self.dense(self.convolutions(features_BFN[:, None]).flatten(1))
        return self.mean(hidden_BD), self.log_variance(hidden_BD)


class Decoder(nn.Module):
    """Table 1, right: (B, latent_size) → logits of the picture (B, 1, 28, 28)."""

    def __init__(self, latent_size: int) -> None:
        super().__init__()
        self.dense = nn.Sequential(
            nn.Linear(latent_size, 512),
            nn.ReLU(),
            nn.Linear(512, 1024),
            nn.ReLU(),
            nn.Linear(1024, 7 * 7 * 128),
            nn.ReLU(),
        )
        self.convolutions = nn.Sequential(
            nn.ConvTranspose2d(128, 64, 4, stride=2, padding=1),  # (B, 64, 14, 14)
            nn.ReLU(),
            nn.ConvTranspose2d(64, 1, 4, stride=2, padding=1),  # (B, 1, 28, 28)
        )

    def forward(self, latent_BD: Tensor) -> Tensor:
        logits: Tensor = self.convolutions(self.dense(latent_BD).unflatten(1, (128, 7, 7)))
        return logits


class System(nn.Module):
    """AIVAE as a trainable system: one phase, reconstruction and KL."""

    phases = ("autoencoder",)
    features_shape = (48, 48)
    image_shape = (1, 28, 28)

    def __init__(self, config: Config, num_labels: int = 10) -> None:
        super().__init__()
        self.config = config
        self.latent_size = config.latent_size
        self.encoder = Encoder(config.latent_size)
        self.decoder = Decoder(config.latent_size)

    def parameters_of(self, phase: str) -> list[nn.Parameter]:
        """All parameters: there is one phase."""
        return list(self.parameters())

    def losses(self, phase: str, batch: dict[str, Tensor], step: int) -> dict[str, Tensor]:
        """Equation (3): named terms whose sum is minimised.

        Args:
            phase: Always ``"autoencoder"``.
            batch: ``features`` (B, 48, 48), ``image`` (B, 1, 28, 28), both in [0, 1], ``noise`` (B, latent_size).
            step: Optimiser steps taken so far, for the KL warm-up.
        """
        mean_BD, log_variance_BD = self.encoder(batch["features"])
        latent_BD = reparameterise(mean_BD, log_variance_BD, batch["noise"])
        weight = warmup(step, self.config.kl_warmup_steps)
        logits_BCHW = self.decoder(latent_BD)
        batch["made"] = torch.sigmoid(logits_BCHW)
        return {
            "reconstruction": bernoulli(logits_BCHW, batch["image"]),
            "kl": weight * kl_divergence(mean_BD, log_variance_BD),
        }

    def generate(self, features_BFN: Tensor, noise_BD: Tensor) -> Tensor:
        """Pictures (B, 1, 28, 28) in [0, 1] from features and noise: f ~ q(f|a), then the decoder's mean."""
        mean_BD, log_variance_BD = self.encoder(features_BFN)
        return torch.sigmoid(self.decoder(reparameterise(mean_BD, log_variance_BD, noise_BD)))
