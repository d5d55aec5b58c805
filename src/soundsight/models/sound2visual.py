"""Sound2Visual: a conditional GAN from a spectrogram and noise, with an adversary and a distance of pixels.

Surveys name it by its objectives, adversarial and pixel-wise; as in Isola et al., *Image-to-Image Translation with
Conditional Adversarial Networks*, 2017, equation 4, the distance is L1. Encoder, generator and discriminator are ours.
"""

from __future__ import annotations

from pydantic import NonNegativeInt, PositiveInt

from soundsight.models.layers import SpectrogramEncoder
from soundsight.models.objectives import Options, Weights
from soundsight.models.translator import Translator

__all__ = ["Config", "System"]


class Config(Options):
    """Options of Sound2Visual."""

    losses: Weights = Weights(l1=1.0, adversarial=0.1)
    latent_size: NonNegativeInt = 32
    bins: PositiveInt = 48
    frames: PositiveInt = 48
    """Of the spectrogram that the front end gives, (bins, frames)."""
    widths: tuple[PositiveInt, PositiveInt, PositiveInt, PositiveInt] = (32, 64, 96, 128)
    """Channels of the four convolutions that listen."""


class System(Translator):
    """Sound2Visual as a trainable system."""

    def __init__(self, config: Config, num_labels: int = 10) -> None:
        code_size = 2 * config.latent_size if config.variational else config.code_size
        encoder = SpectrogramEncoder(config.widths, config.bins, code_size)
        super().__init__(config, encoder, (config.bins, config.frames), num_labels)
