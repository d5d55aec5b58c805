"""Losses that any system which makes pictures can learn by, of networks that were trained before."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from soundsight.config import Recipe
from soundsight.errors import RecipeError
from soundsight.training.consistency import Consistency
from soundsight.training.loading import all_options
from soundsight.training.perceptual import Perceptual

__all__ = ["Teacher", "teachers_of"]


class Teacher(Protocol):
    """A weighted loss of the pictures that a system leaves in its batch.

    Attributes:
        weights: SHA-256 of its files: a training that is resumed needs the same teacher.
    """

    weights: dict[str, str]

    def __call__(self, batch: dict[str, Tensor]) -> Tensor:
        """The loss of ``made``, which the system's last phase has left in ``batch``."""
        ...


def teachers_of(recipe: Recipe, image_shape: tuple[int, int, int], device: torch.device) -> dict[str, Teacher]:
    """The teachers that a recipe names, by the name of their table.

    Args:
        recipe: The experiment.
        image_shape: (C, H, W) of the system's pictures.
        device: Where the training runs.

    Raises:
        ModelError: One cannot be read.
        RecipeError: One does not fit the recipe's sounds or pictures.
    """
    teachers: dict[str, Teacher] = {}
    if recipe.consistency is not None:
        if recipe.model.options.get("unlike"):
            raise RecipeError("recipe key 'consistency': model.unlike takes sounds apart, and it needs them whole")
        teachers["consistency"] = Consistency(recipe.consistency, all_options(recipe.features), image_shape, device)
    if recipe.perceptual is not None:
        teachers["perceptual"] = Perceptual(recipe.perceptual, image_shape, device)
    return teachers
