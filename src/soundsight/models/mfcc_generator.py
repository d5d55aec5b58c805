"""The MFCC encoder-generator: a second of ambience → a scene of 256×256.

Vuruma, *Generating Images from Audio*, 2025 (one notebook): 104 coefficients → fully connected 1024, 768, 512, 256,
100, each with LeakyReLU(0.2) → eight transposed convolutions → tanh. The loss is the mean squared error in [-1, 1]
times the batch size, 64; there is no reparameterisation. The defaults are the published system.

What its pictures lack, and which option gives it:

- The coefficients differ in scale by two orders of magnitude; ``normalise`` brings each to mean 0 and variance 1.
- The decoder has 4 channels before the last layer, and 4×4 kernels of stride 2 leave a grain: ``decoder``.
- The mean squared error asks for the mean of all scenes that fit: ``losses``, ``latent_size``, ``variational``.

The recipe has the published learning rate, 0.0625, with which it hardly learns.
"""

from __future__ import annotations

from typing import Literal

from pydantic import PositiveInt
from torch import Tensor, nn

from soundsight.models.objectives import Options, Weights
from soundsight.models.translator import Translator

__all__ = ["Config", "System"]

_FEATURES = (13, 8)


class Config(Options):
    """Options; the defaults are the published system."""

    image_size: Literal[16, 32, 64, 128, 256] = 256
    code_size: PositiveInt = 100
    decoder: Literal["transposed", "upsampling"] = "transposed"
    channels: tuple[PositiveInt, ...] = (256, 128, 64, 32, 16, 8, 4)
    losses: Weights = Weights(l2=64.0)
    widths: tuple[PositiveInt, ...] = (1024, 768, 512, 256)
    """Of the fully connected layers before the code."""
    normalise: bool = False
    """Bring every coefficient to mean 0 and variance 1 over the training sounds; not in the paper."""


class Encoder(nn.Module):
    """Coefficients (B, 13, 8) → code (B, K)."""

    def __init__(self, widths: tuple[int, ...], code_size: int, normalise: bool) -> None:
        super().__init__()
        size = _FEATURES[0] * _FEATURES[1]
        self.normalise = nn.BatchNorm1d(size, affine=False) if normalise else nn.Identity()
        layers: list[nn.Module] = []
        for before, after in zip((size, *widths), (*widths, code_size), strict=True):
            layers += [nn.Linear(before, after), nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*layers)

    def forward(self, features_BFN: Tensor) -> Tensor:
        # Window after window, as the columns mfcc_1, mfcc_2, … of the data set.
        code_BK: Tensor = self.layers(self.normalise(features_BFN.transpose(1, 2).flatten(1)))
        return code_BK


class System(Translator):
    """The MFCC encoder-generator as a trainable system."""

    def __init__(self, config: Config, num_labels: int = 10) -> None:
        code_size = 2 * config.latent_size if config.variational else config.code_size
        super().__init__(config, Encoder(config.widths, code_size, config.normalise), _FEATURES, num_labels)
