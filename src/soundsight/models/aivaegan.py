"""AIVAEGAN: AIVAE's idea with the variational autoencoder as the generator of a GAN.

Żelaszczyk & Mańdziuk, *Audio-to-Image Cross-Modal Generation*, 2021: Table 2 (architecture), equation (4) (objective).

What the paper leaves open, and how it is read here:

- Paddings are not printed. With padding 0 everywhere the printed sizes fit: encoder 48 → 23 → 10 → 4 → 1, decoder
  1 → 3 → 7 → 14 → 28, discriminator 28 → 13 → 5 → 1 → 1. Its last kernel of 4 then covers 4 of 5 places, so that the
  discriminator never sees the last 6 rows and columns; ``shift`` shows them to it.
- log p(i|f) may be a Bernoulli or a Gaussian, and it and the KL may be summed or averaged, which decides what α means:
  ``reconstruction`` and ``reduction``. ``docs/reproduction.md`` says which reading agrees with Table 5.
- Equation (4) is the saturating game; ``generator_loss`` also has the non-saturating one.
- The discriminator sees grey values in [0, 1]; real and generated pictures are separate batches for its batch norm.

A dark start is on by default; logit limit, shifts, spectral norm, instance noise and R1 are off.
``docs/reproduction.md`` says what was needed. A learning rate of its own for the discriminator (TTUR) is the recipe's
``[train.optimizer.discriminator]``.
"""

from __future__ import annotations

from typing import Literal, cast

import torch
from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, NonNegativeInt, PositiveInt
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from soundsight.losses import adversarial
from soundsight.losses.kl import kl_divergence, warmup
from soundsight.losses.reconstruction import bernoulli, gaussian
from soundsight.models.layers import reparameterise, shifted
from soundsight.models.unfolded import UnfoldedConv2d, UnfoldedConvTranspose2d

__all__ = ["Config", "System"]

_DARK = -1.9
"""Logit of MNIST's mean grey, 0.13."""
_EXCESS_WEIGHT = 0.01


class Config(BaseModel):
    """Options of AIVAEGAN; the architecture's are Table 2."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    alpha: NonNegativeFloat = 2.0
    """Weight of the reconstruction, α of equation (4): low is diverse, high is consistent."""
    latent_size: PositiveInt = Field(default=64, le=4096)
    kl_warmup_steps: NonNegativeInt = 0
    """Steps over which the KL weight rises from 0 to 1; not in the paper."""
    reconstruction: Literal["bernoulli", "gaussian"] = "bernoulli"
    """The distribution p(i|f)."""
    reduction: Literal["sum", "latent", "pixel", "element"] = "sum"
    """``sum``: reconstruction and KL in nats per picture. ``latent``: the reconstruction summed, the KL averaged over
    the latent. ``pixel``: both divided by the number of pixels, so that the game weighs 784 times more. ``element``:
    each averaged over its own elements, pixels and latent."""
    generator_loss: Literal["saturating", "non-saturating"] = "saturating"
    """E log(1 − D(G)) as in equation (4), or −E log D(G)."""
    dark_start: bool = True
    """The last layer's bias starts at the logit of MNIST's mean grey; not in the paper. From 0 the first steps drive
    some pixels into the sigmoid's flat ends."""
    logit_limit: NonNegativeFloat = 0.0
    """A pixel's logit beyond ± this costs 0.01 times its squared excess, summed over the picture: out there the sigmoid
    has no gradient left, and a pixel that is white in every picture stays so. 0 for no limit."""
    shift: NonNegativeInt = 0
    """Pictures are moved by up to so many pixels, each by its own, before the discriminator sees them (Zhao et al.,
    *Differentiable Augmentation for Data-Efficient GAN Training*, 2020, section 3.2)."""
    spectral_norm: bool = False
    """Bound the Lipschitz constant of the discriminator's layers (Miyato et al., 2018)."""
    instance_noise: NonNegativeFloat = 0.0
    """Standard deviation of noise on all that the discriminator sees (Sønderby et al., 2017)."""
    r1: NonNegativeFloat = 0.0
    """Weight γ of the R1 gradient penalty (Mescheder et al., 2018)."""


class Encoder(nn.Module):
    """Table 2, left: (B, F, N) = (B, 48, 48) → mean and log-variance, each (B, latent_size)."""

    def __init__(self, latent_size: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *_down(1, 128),  # (B, 128, 23, 23)
            *_down(128, 256),  # (B, 256, 10, 10)
            *_down(256, 512, UnfoldedConv2d),  # (B, 512, 4, 4)
        )
        self.mean = UnfoldedConv2d(512, latent_size, 4, stride=2)  # (B, D, 1, 1)
        self.log_variance = UnfoldedConv2d(512, latent_size, 4, stride=2)

    def forward(self, features_BFN: Tensor) -> tuple[Tensor, Tensor]:
        hidden_BCHW = self.body(features_BFN[:, None])
        return self.mean(hidden_BCHW).flatten(1), self.log_variance(hidden_BCHW).flatten(1)


class Decoder(nn.Module):
    """Table 2, middle: (B, latent_size) → logits of the picture (B, 1, 28, 28)."""

    def __init__(self, latent_size: int, dark_start: bool = True) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *_up(latent_size, 512, 3),  # (B, 512, 3, 3)
            *_up(512, 256, 3),  # (B, 256, 7, 7)
            *_up(256, 128, 2),  # (B, 128, 14, 14)
            nn.ConvTranspose2d(128, 1, 2, stride=2),  # (B, 1, 28, 28)
        )
        if dark_start:
            nn.init.constant_(cast(Tensor, self.body[-1].bias), _DARK)

    def forward(self, latent_BD: Tensor) -> Tensor:
        logits: Tensor = self.body(latent_BD[:, :, None, None])
        return logits


class Discriminator(nn.Module):
    """Table 2, right: pictures (B, 1, 28, 28) → the logit of «real», (B,)."""

    def __init__(self, spectral: bool) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *_down(1, 128),  # (B, 128, 13, 13)
            *_down(128, 256, UnfoldedConv2d),  # (B, 256, 5, 5)
            *_down(256, 512, UnfoldedConv2d),  # (B, 512, 1, 1)
            UnfoldedConv2d(512, 1, 1),  # (B, 1, 1, 1)
        )
        if spectral:
            for layer in self.body:
                if isinstance(layer, nn.Conv2d):
                    spectral_norm(layer)

    def forward(self, image_BCHW: Tensor) -> Tensor:
        logit_BCHW: Tensor = self.body(image_BCHW)
        return logit_BCHW.flatten()


class System(nn.Module):
    """AIVAEGAN as a trainable system: the discriminator's phase, then the generator's."""

    phases = ("discriminator", "generator")
    features_shape = (48, 48)
    image_shape = (1, 28, 28)
    for_training = ("discriminator",)

    def __init__(self, config: Config, num_labels: int = 10) -> None:
        super().__init__()
        self.config = config
        self.latent_size = config.latent_size
        self.encoder = Encoder(config.latent_size)
        self.decoder = Decoder(config.latent_size, config.dark_start)
        self.discriminator = Discriminator(config.spectral_norm)

    def parameters_of(self, phase: str) -> list[nn.Parameter]:
        """The discriminator's, or those of encoder and decoder."""
        if phase == "discriminator":
            return list(self.discriminator.parameters())
        return [*self.encoder.parameters(), *self.decoder.parameters()]

    def losses(self, phase: str, batch: dict[str, Tensor], step: int) -> dict[str, Tensor]:
        """Equation (4): named terms whose sum the phase minimises.

        Args:
            phase: ``"discriminator"``, then ``"generator"``, which judges the pictures that the first was shown.
            batch: ``features`` (B, 48, 48), ``image`` (B, 1, 28, 28), both in [0, 1], ``noise`` (B, latent_size). The
                first phase leaves its pictures here for the second: the discriminator's step does not change them.
            step: Optimiser steps taken so far, for the KL warm-up.
        """
        if "logits" not in batch:
            mean_BD, log_variance_BD = self.encoder(batch["features"])
            latent_BD = reparameterise(mean_BD, log_variance_BD, batch["noise"])
            logits_BCHW = self.decoder(latent_BD)
            batch |= {"mean": mean_BD, "log_variance": log_variance_BD, "logits": logits_BCHW}
        if phase == "discriminator":
            return self._discriminator_losses(batch["image"], torch.sigmoid(batch["logits"].float()).detach())
        return self._generator_losses(batch, step)

    def _discriminator_losses(self, real_BCHW: Tensor, made_BCHW: Tensor) -> dict[str, Tensor]:
        self.discriminator.requires_grad_(True)
        real_BCHW = self._show(real_BCHW)
        if self.config.r1:
            real_BCHW = real_BCHW.requires_grad_(True)
        real_logits_B = self.discriminator(real_BCHW)
        losses = {"adversarial": adversarial.discriminator(real_logits_B, self.discriminator(self._show(made_BCHW)))}
        if self.config.r1:
            losses["r1"] = self.config.r1 * adversarial.gradient_penalty(real_logits_B, real_BCHW)
        return losses

    def _generator_losses(self, batch: dict[str, Tensor], step: int) -> dict[str, Tensor]:
        # Its weights' gradients would be computed and thrown away.
        self.discriminator.requires_grad_(False)
        logits_BCHW, image_BCHW = batch["logits"], batch["image"]
        made_BCHW = torch.sigmoid(logits_BCHW.float())
        batch["made"] = made_BCHW
        game = adversarial.GAMES[self.config.generator_loss].generator
        if self.config.reconstruction == "bernoulli":
            distance = bernoulli(logits_BCHW, image_BCHW)
        else:
            distance = gaussian(made_BCHW, image_BCHW)
        num_pixels = image_BCHW[0].numel()
        for_pixels, for_latent = {
            "sum": (1, 1),
            "latent": (1, self.latent_size),
            "pixel": (num_pixels, num_pixels),
            "element": (num_pixels, self.latent_size),
        }[self.config.reduction]
        kl_weight = warmup(step, self.config.kl_warmup_steps) / for_latent
        losses = {
            "adversarial": game(self.discriminator(self._show(made_BCHW))),
            "reconstruction": self.config.alpha / for_pixels * distance,
            "kl": kl_weight * kl_divergence(batch["mean"], batch["log_variance"]),
        }
        if self.config.logit_limit:
            losses["saturation"] = _EXCESS_WEIGHT * _excess(logits_BCHW, self.config.logit_limit)
        return losses

    def _show(self, image_BCHW: Tensor) -> Tensor:
        """A picture as the discriminator sees it: moved and noisy, where that is asked for."""
        if self.config.shift:
            image_BCHW = shifted(image_BCHW, self.config.shift)
        if self.config.instance_noise:
            image_BCHW = image_BCHW + self.config.instance_noise * torch.randn_like(image_BCHW)
        return image_BCHW

    def generate(self, features_BFN: Tensor, noise_BD: Tensor) -> Tensor:
        """Pictures (B, 1, 28, 28) in [0, 1] from features and noise: f ~ q(f|a), then the decoder's mean."""
        mean_BD, log_variance_BD = self.encoder(features_BFN)
        return torch.sigmoid(self.decoder(reparameterise(mean_BD, log_variance_BD, noise_BD)))


def _excess(logits_BCHW: Tensor, limit: float) -> Tensor:
    """Squared distance beyond ± ``limit``, summed over a picture's pixels, the mean over pictures."""
    beyond_BCHW = (logits_BCHW.float().abs() - limit).clamp(min=0)
    return beyond_BCHW.square().flatten(1).sum(dim=1).mean()


def _down(channels_in: int, channels_out: int, convolution: type[nn.Conv2d] = nn.Conv2d) -> list[nn.Module]:
    """Half the size: convolution 4×4, batch norm, LeakyReLU(0.2)."""
    layer = convolution(channels_in, channels_out, 4, stride=2, bias=False)
    return [layer, nn.BatchNorm2d(channels_out), nn.LeakyReLU(0.2)]


def _up(channels_in: int, channels_out: int, kernel: int) -> list[nn.Module]:
    """Double the size: transposed convolution, batch norm, ReLU."""
    layer = UnfoldedConvTranspose2d(channels_in, channels_out, kernel, stride=2, bias=False)
    return [layer, nn.BatchNorm2d(channels_out), nn.ReLU()]
