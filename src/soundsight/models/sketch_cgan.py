"""Sketches from audio: a conditional GAN whose target is the edges of the picture, with a perceptual term beside it.

Surveys name it by its target and its objectives, adversarial and perceptual. The edges are those of
``data.target = "sketch"``; the perceptual term is the recipe's ``[perceptual]``, a judge of sketches or a VGG
(docs/scenes.md). Where no network is given, feature matching in the discriminator stands for it. Encoder, generator and
discriminator are those of ``sound2visual``.
"""

from __future__ import annotations

from typing import Literal

from soundsight.models import sound2visual
from soundsight.models.objectives import Weights

__all__ = ["Config", "System"]


class Config(sound2visual.Config):
    """Options of the sketching GAN."""

    image_channels: Literal[1, 3] = 1
    losses: Weights = Weights(adversarial=1.0, feature_matching=10.0)


class System(sound2visual.System):
    """The sketching GAN as a trainable system."""
