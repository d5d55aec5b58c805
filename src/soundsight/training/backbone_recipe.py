"""The recipe of a small text-to-image backbone: pictures of classes, and what a text encoder says of their names."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, ValidationError

from soundsight.config import CardConfig, Optimizer, Strict, explain
from soundsight.errors import RecipeError
from soundsight.training.adapter_recipe import TargetsConfig

__all__ = ["AutoencoderConfig", "BackboneConfig", "BackboneRecipe", "parse_backbone_recipe"]


class ImagesConfig(Strict):
    """Which pictures."""

    images: str = "cifar10"
    """Of a data set with classes, in colour."""
    max_images: PositiveInt | None = None
    """So many of them alone, evenly from all, for a quick look."""


class AutoencoderConfig(Strict):
    """``AutoencoderKL``: pictures to a quarter as many places with a few channels, and back."""

    channels: PositiveInt = 4
    """Of a latent picture."""
    widths: tuple[PositiveInt, PositiveInt] = (32, 64)
    """Channels at the full and at half the size."""
    kl: NonNegativeFloat = 1e-5
    """Weight of the KL divergence per element, beside the mean absolute error."""
    epochs: PositiveInt = 4
    optimizer: Optimizer = Optimizer(lr=1e-3, schedule="cosine")


class BackboneConfig(Strict):
    """``SD3Transformer2DModel``, and how it is taught."""

    layers: PositiveInt = 8
    heads: PositiveInt = 3
    head_size: PositiveInt = 64
    """The width of a token is heads times this."""
    patch_size: PositiveInt = 2
    """Side of a token in latent places."""
    unlabelled: float = Field(default=0.1, ge=0, lt=1)
    """Share of the pictures whose prompt is left out: zeros, as a backbone without text encoders is told of no text."""
    noise: NonNegativeFloat = 0.0
    """Length of Gaussian noise on what is told, as a share of the distance between two prompts: what was not taught is
    then painted as what is nearest of what was, a crow as a bird (conditioning augmentation; Zhang et al., *StackGAN*,
    2017, section 3.2)."""


class BackboneTrainConfig(Strict):
    """How long, how fast."""

    epochs: PositiveInt = 1
    batch_size: PositiveInt = 128
    seed: int = Field(default=0, ge=0, lt=2**32)
    precision: Literal["fp32", "bf16"] = "bf16"
    compile: bool = False
    """Compile the transformer first: faster on a CPU, where there is a C++ compiler; ``--dry-run`` measures it."""
    ema: float = Field(default=0.999, ge=0, lt=1)
    save_every: PositiveInt = 500
    sample_every: NonNegativeInt = 1
    """Epochs between sample sheets; 0 for none."""
    guidance: PositiveFloat = 3.0
    """Of the samples."""
    optimizer: Optimizer = Optimizer(lr=1e-3, betas=(0.9, 0.99), weight_decay=0.01, warmup_steps=500, schedule="cosine")


class BackboneRecipe(Strict):
    """One training of a backbone, whole."""

    name: str = Field(default="unnamed", pattern=r"^[a-z0-9][a-z0-9._-]*$")
    source: str = ""
    data: ImagesConfig = ImagesConfig()
    targets: TargetsConfig = TargetsConfig()
    autoencoder: AutoencoderConfig = AutoencoderConfig()
    backbone: BackboneConfig = BackboneConfig()
    train: BackboneTrainConfig = BackboneTrainConfig()
    card: CardConfig = CardConfig()


def parse_backbone_recipe(table: dict[str, Any]) -> BackboneRecipe:
    """Check a recipe that is already a dictionary.

    Raises:
        RecipeError: An unknown key, or a value that does not fit.
    """
    try:
        return BackboneRecipe.model_validate(table)
    except ValidationError as error:
        raise RecipeError(explain(error, BackboneRecipe)) from error
