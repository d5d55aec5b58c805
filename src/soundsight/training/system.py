"""What the trainer knows of a system."""

from __future__ import annotations

from typing import Any, Protocol, cast

import torch
from pydantic import BaseModel, ValidationError
from torch import Tensor, nn

from soundsight import registry
from soundsight.config import ModelConfig, Recipe, TrainConfig, explain
from soundsight.errors import RecipeError
from soundsight.foreign import line

__all__ = ["System", "build_system", "check_calibration", "check_options", "check_phases", "total"]


class System(Protocol):
    """A trainable ``nn.Module``; everything the trainer asks of it.

    Attributes:
        phases: Names of the optimisation phases, in the order in which a step runs them. One for a VAE; a GAN has
            a discriminator's and a generator's, each with its own parameters and its own optimiser.
        latent_size: D of the noise; 0 for a system that takes none.
        features_shape: (F, N) of its sound features; None for a system that reads no sound.
        image_shape: (C, H, W).

    A system that compares moments of a clip ``looks_ahead``: its batches hold the pair that follows each, too. One that
    says how sure it is of what it hears may have ``calibrate(features, labels)``, which the trainer calls
    at the end with speakers that were not trained on, and names the part that it changes in ``calibrated``. One that
    learns from its own averaged weights may have ``follow(average)``, which is given them once. Parts that no picture
    needs once it is trained are named in ``for_training``.
    """

    phases: tuple[str, ...]
    latent_size: int
    features_shape: tuple[int, int] | None
    image_shape: tuple[int, int, int]

    def parameters_of(self, phase: str) -> list[nn.Parameter]:
        """The parameters that a phase changes."""
        ...

    def losses(self, phase: str, batch: dict[str, Tensor], step: int) -> dict[str, Tensor]:
        """Named scalar terms, already weighted; their sum is minimised over ``parameters_of(phase)``.

        A phase may leave tensors in ``batch`` for the phases after it, which see the same batch at the same step. The
        last leaves the pictures that it made, ``made`` (B, C, H, W) in [0, 1], for an alignment to teach
        (``training.consistency``); a system whose pictures no gradient can change leaves none.
        """
        ...

    def generate(self, features_BFN: Tensor, noise_BD: Tensor) -> Tensor:
        """Pictures (B, C, H, W) in [0, 1]."""
        ...


def build_system(config: ModelConfig, num_labels: int) -> tuple[nn.Module, System]:
    """Make the system that a recipe names: the same object, as a module and as a ``System``.

    Raises:
        UnknownNameError: No such system.
        RecipeError: An option that the system does not know, a value that does not fit, or more than memory holds.
    """
    component: Any = registry.find("models", config.system)
    options = check_options(config)
    try:
        module = component.System(options, num_labels)
    except ValueError as error:  # an option that the data do not fit
        raise RecipeError(f"recipe key 'model': {error}") from error
    except (RuntimeError, MemoryError, OverflowError) as error:  # PyTorch's own kinds for what no memory holds
        raise RecipeError(f"'{config.system}' cannot be built with these sizes: {line(error)}") from error
    return module, cast(System, module)


def check_options(config: ModelConfig) -> BaseModel:
    """A system's options with its defaults, as its ``Config``; nothing is built.

    Raises:
        UnknownNameError: No such system.
        RecipeError: An option that the system does not know, or a value that does not fit.
    """
    component: Any = registry.find("models", config.system)
    try:
        options: BaseModel = component.Config.model_validate(config.options)
    except ValidationError as error:
        raise RecipeError(explain(error, component.Config, prefix="model")) from error
    return options


def check_calibration(module: nn.Module, recipe: Recipe) -> None:
    """Refuse speakers to calibrate with where nothing can be calibrated.

    Raises:
        RecipeError: The system does not say what it hears, or the part that would is frozen.
    """
    if not recipe.data.calibration_voices:
        return
    part = getattr(module, "calibrated", None)
    if part is None:
        raise RecipeError(f"recipe key 'data.calibration_voices': {recipe.model.system} does not say what it hears")
    if recipe.frozen is not None and part in recipe.frozen.parts:
        raise RecipeError(f"recipe key 'data.calibration_voices': 'frozen.parts' keeps {part} as it is")


def total(losses: dict[str, Tensor]) -> Tensor:
    """The sum of weighted objectives.

    Raises:
        RecipeError: There are none.
    """
    if not losses:
        raise RecipeError("no objective has a weight above 0: there is nothing to learn from")
    return torch.stack(list(losses.values())).sum()


def check_phases(system: System, config: TrainConfig) -> None:
    """Refuse options for an optimiser that the system does not have.

    Raises:
        RecipeError: A table of ``train.optimizer`` names no phase.
    """
    known = ["default", *system.phases]
    for phase in config.optimizer:
        if phase not in known:
            raise RecipeError(
                f"unknown key 'train.optimizer.{phase}' in the recipe; known for this system: {', '.join(known)}"
            )
