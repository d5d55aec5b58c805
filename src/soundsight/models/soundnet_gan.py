"""A SoundNet-style network with mean squared error and an adversary: from the waveform itself to a picture.

The encoder is that of Aytar, Vondrick & Torralba, *SoundNet: Learning Sound Representations from Unlabeled Video*,
2016, table 1, its first five convolutions: kernels 64, 32, 16, 8, 4, stride 2, pooling 8, 8 and 4. The surveyed system
that paints from it is named by its losses alone; generator, discriminator and noise are ours (``translator``).
"""

from __future__ import annotations

from pydantic import NonNegativeInt, PositiveFloat
from torch import Tensor, nn

from soundsight.models.objectives import Options, Weights
from soundsight.models.translator import Translator

__all__ = ["Config", "System"]

_CHANNELS, _KERNELS, _POOLS = (16, 32, 64, 128, 256), (64, 32, 16, 8, 4), (8, 8, 1, 1, 4)


class Config(Options):
    """Options of the SoundNet-style system."""

    losses: Weights = Weights(l2=1.0, adversarial=0.1)
    latent_size: NonNegativeInt = 32
    sample_rate_hz: PositiveFloat = 16_000
    duration_s: PositiveFloat = 1.0
    """Of what the front end ``waveform`` gives: the number of samples is their product."""


class Encoder(nn.Module):
    """Waveform (B, 1, T) → code (B, K)."""

    def __init__(self, code_size: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, after, kernel, pool in zip((1, *_CHANNELS), _CHANNELS, _KERNELS, _POOLS, strict=False):
            layers += [nn.Conv1d(before, after, kernel, stride=2, padding=kernel // 2, bias=False)]
            layers += [nn.BatchNorm1d(after), nn.ReLU(), *([nn.MaxPool1d(pool)] if pool > 1 else [])]
        self.layers = nn.Sequential(*layers)
        self.head = nn.Linear(_CHANNELS[-1], code_size)

    def forward(self, features_BFN: Tensor) -> Tensor:
        code_BK: Tensor = self.head(self.layers(features_BFN).mean(dim=2))
        return code_BK


class System(Translator):
    """The SoundNet-style system as a trainable system."""

    def __init__(self, config: Config, num_labels: int = 10) -> None:
        code_size = 2 * config.latent_size if config.variational else config.code_size
        super().__init__(config, Encoder(code_size), (1, round(config.sample_rate_hz * config.duration_s)), num_labels)
