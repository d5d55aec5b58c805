"""A frozen judge as a teacher: pictures must look to it as the real ones do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from soundsight.config import PerceptualConfig
from soundsight.errors import RecipeError
from soundsight.folder import check_kind
from soundsight.losses.perceptual import perceptual
from soundsight.training.weights import load_system

__all__ = ["Perceptual"]


class Perceptual:
    """Distance between made and real pictures in the activations of a judge.

    Args:
        config: Which judge, and how much it weighs.
        image_shape: (C, H, W) of the pictures; the judge must have learned from such.
        device: Where the training runs.

    Raises:
        ModelError: No judge with PyTorch weights.
        RecipeError: It judges other pictures, or shows no activations.
    """

    def __init__(self, config: PerceptualConfig, image_shape: tuple[int, int, int], device: torch.device) -> None:
        folder, module = load_system(Path(config.model))
        check_kind(folder, "judge")
        judged = (folder.image.channels, folder.image.height, folder.image.width)
        if judged != image_shape:
            raise RecipeError(
                f"recipe key 'perceptual.model': {config.model} judges {judged}, this makes {image_shape}"
            )
        if not hasattr(module, "layers_of"):
            raise RecipeError(f"recipe key 'perceptual.model': a {folder.system} does not show what its layers see")
        self.weight = config.weight
        self.weights = dict(folder.weights)
        """SHA-256 of the teacher's files: a training that is resumed needs the same teacher."""
        self._module: Any = module.requires_grad_(False).to(device)

    def __call__(self, batch: dict[str, Tensor]) -> Tensor:
        """The weighted distance of ``made`` from ``image``, both (B, C, H, W) in [0, 1].

        Raises:
            RecipeError: The system left no pictures, or none that its training can change.
        """
        if "made" not in batch or not batch["made"].requires_grad:
            raise RecipeError(
                "recipe key 'perceptual': this system makes no pictures while it is trained, "
                "or what makes them is among 'frozen.parts'"
            )
        with torch.no_grad():
            real_layers = self._module.layers_of(batch["image"])
        return self.weight * perceptual(self._module.layers_of(batch["made"].float()), real_layers)
