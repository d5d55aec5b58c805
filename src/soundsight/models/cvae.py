"""A conditional variational autoencoder: what is said decides the digit, the latent decides the handwriting.

Sohn, Lee & Yan, *Learning Structured Output Representation using Deep Conditional Generative Models*, 2015,
equation (4): log p(i|a) ≥ −KL(q(z|i,a) ‖ p(z|a)) + E log p(i|a,z), here with p(z|a) = N(0, I).

In AIVAE the latent is read from the sound alone, so the best picture is the mean of all handwritings that were paired
with it. Here a second encoder, needed in training only, reads the handwriting from the picture; in use it is noise.
The sound reaches the decoder as a distribution over labels. In training the decoder is given the pair's label itself:
with the distribution that is heard, uncertain at first, it learned to read the digit from the latent instead (39 % of
the pictures right where 82 % of the sounds were heard right).

The latent still knows something of the digit, and a draw from the prior then contradicts the label: 85 % right at a
noise scale of 0.7. So a small classifier of its own, trained on the real pictures beside it, reads what is written from
the prior, and the writer is asked to be read as the label: 99.7 % (Odena, Olah & Shlens, *Conditional Image Synthesis
with Auxiliary Classifier GANs*, 2017, the class term without the adversary). The judge of the evaluation has no part.
"""

from __future__ import annotations

import torch
from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from soundsight.losses.kl import kl_divergence, warmup
from soundsight.losses.reconstruction import bernoulli
from soundsight.models.layers import Listener, reparameterise

__all__ = ["Config", "System"]


class Config(BaseModel):
    """Options of the conditional VAE."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    latent_size: PositiveInt = 12
    widths: tuple[PositiveInt, PositiveInt, PositiveInt, PositiveInt] = (24, 48, 64, 96)
    """Channels of the four convolutions that listen."""
    dropout: float = Field(default=0.3, ge=0, lt=1)
    label_smoothing: float = Field(default=0.0, ge=0, le=1)
    sharpness: PositiveFloat = 3.0
    """Factor on the heard logits in use: more makes the picture more decided."""
    legibility_weight: NonNegativeFloat = 10.0
    """Weight of the cross-entropy between the label and what the classifier reads in a picture drawn from the prior."""
    kl_weight: PositiveFloat = 1.0
    kl_warmup_steps: NonNegativeInt = 500
    variation: PositiveFloat = 0.85
    """Scale of the noise in use: 1 samples the prior; less stays nearer to the middle of the handwritings."""


class Reader(nn.Module):
    """Picture (B, 1, 28, 28) and label distribution (B, L) → mean and log-variance of the handwriting (B, D)."""

    def __init__(self, latent_size: int, num_labels: int) -> None:
        super().__init__()
        self.convolutions = nn.Sequential(
            nn.Conv2d(1, 24, 4, stride=2, padding=1),  # (B, 24, 14, 14)
            nn.ReLU(),
            nn.Conv2d(24, 48, 4, stride=2, padding=1),  # (B, 48, 7, 7)
            nn.ReLU(),
        )
        self.dense = nn.Sequential(nn.Linear(48 * 7 * 7 + num_labels, 128), nn.ReLU(), nn.Linear(128, 2 * latent_size))

    def forward(self, image_BCHW: Tensor, label_BL: Tensor) -> tuple[Tensor, Tensor]:
        hidden_BD = torch.cat([self.convolutions(image_BCHW).flatten(1), label_BL], dim=1)
        mean_BD, log_variance_BD = self.dense(hidden_BD).chunk(2, dim=1)
        return mean_BD, log_variance_BD


class Writer(nn.Module):
    """Label distribution (B, L) and handwriting (B, D) → logits of the picture (B, 1, 28, 28)."""

    def __init__(self, latent_size: int, num_labels: int) -> None:
        super().__init__()
        self.dense = nn.Sequential(
            nn.Linear(num_labels + latent_size, 128), nn.ReLU(), nn.Linear(128, 48 * 7 * 7), nn.ReLU()
        )
        self.convolutions = nn.Sequential(
            nn.ConvTranspose2d(48, 32, 4, stride=2, padding=1),  # (B, 32, 14, 14)
            nn.ReLU(),
            nn.ConvTranspose2d(32, 16, 4, stride=2, padding=1),  # (B, 16, 28, 28)
            nn.ReLU(),
            nn.Conv2d(16, 1, 3, padding=1),
        )

    def forward(self, label_BL: Tensor, latent_BD: Tensor) -> Tensor:
        hidden = self.dense(torch.cat([label_BL, latent_BD], dim=1)).unflatten(1, (48, 7, 7))
        logits: Tensor = self.convolutions(hidden)
        return logits


class Classifier(nn.Module):
    """Picture (B, 1, 28, 28) → logits of the label (B, L); used in training only."""

    def __init__(self, num_labels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, 16, 4, stride=2, padding=1),  # (B, 16, 14, 14)
            nn.ReLU(),
            nn.Conv2d(16, 32, 4, stride=2, padding=1),  # (B, 32, 7, 7)
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(32 * 7 * 7, 64),
            nn.ReLU(),
            nn.Linear(64, num_labels),
        )

    def forward(self, image_BCHW: Tensor) -> Tensor:
        logits: Tensor = self.layers(image_BCHW)
        return logits


class System(nn.Module):
    """The conditional VAE as a trainable system: one phase."""

    phases = ("autoencoder",)
    features_shape = (48, 48)
    image_shape = (1, 28, 28)

    def __init__(self, config: Config, num_labels: int = 10) -> None:
        super().__init__()
        self.config = config
        self.latent_size = config.latent_size
        self.num_labels = num_labels
        self.listener = Listener(config.widths, config.dropout, num_labels)
        self.reader = Reader(config.latent_size, num_labels)
        self.writer = Writer(config.latent_size, num_labels)
        self.classifier = Classifier(num_labels)

    def parameters_of(self, phase: str) -> list[nn.Parameter]:
        """All parameters: there is one phase."""
        return list(self.parameters())

    def losses(self, phase: str, batch: dict[str, Tensor], step: int) -> dict[str, Tensor]:
        """Minus the bound of Sohn et al., equation (4); cross-entropies of what is heard, read and written.

        Args:
            phase: Always ``"autoencoder"``.
            batch: ``features`` (B, 48, 48), ``image`` (B, 1, 28, 28), both in [0, 1], ``label`` (B,), ``noise`` (B, D).
            step: Optimiser steps taken so far, for the KL warm-up.
        """
        logits_BL = self.listener(batch["features"]).float()
        heard = functional.cross_entropy(logits_BL, batch["label"], label_smoothing=self.config.label_smoothing)
        label_BL = functional.one_hot(batch["label"], logits_BL.shape[1]).float()
        mean_BD, log_variance_BD = self.reader(batch["image"], label_BL)
        picture = self.writer(label_BL, reparameterise(mean_BD, log_variance_BD, batch["noise"]))
        batch["made"] = torch.sigmoid(picture)
        kl_weight = self.config.kl_weight * warmup(step, self.config.kl_warmup_steps)
        return {
            "reconstruction": bernoulli(picture, batch["image"]),
            "kl": kl_weight * kl_divergence(mean_BD, log_variance_BD),
            "heard": heard,
            "read": functional.cross_entropy(self.classifier(batch["image"]).float(), batch["label"]),
            "legibility": self.config.legibility_weight * self._legibility(batch["label"], batch["noise"]),
        }

    def _legibility(self, label_B: Tensor, noise_BD: Tensor) -> Tensor:
        """Cross-entropy of pictures drawn from the prior; the classifier gets no gradient, or it would cheat."""
        label_B = label_B.roll(1)  # another label than the one whose picture shared this noise
        label_BL = functional.one_hot(label_B, self.num_labels).float()
        written = torch.sigmoid(self.writer(label_BL, noise_BD))
        frozen = {name: parameter.detach() for name, parameter in self.classifier.named_parameters()}
        return functional.cross_entropy(functional_call(self.classifier, frozen, (written,)).float(), label_B)

    def generate(self, features_BFN: Tensor, noise_BD: Tensor) -> Tensor:
        """Pictures (B, 1, 28, 28) in [0, 1] from features and noise, which is scaled by ``variation``."""
        label_BL = (self.config.sharpness * self.listener(features_BFN)).softmax(dim=1)
        return torch.sigmoid(self.writer(label_BL, self.config.variation * noise_BD))
