"""A frozen alignment as a teacher: pictures must be found by the sounds that they are paired with.

Systems that paint what is heard learn from it to hear and to paint. Those that are given the pair's label in training
(``cvae``, ``flow``) learn from it to paint, and their listeners nothing.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from soundsight.config import ConsistencyConfig
from soundsight.errors import RecipeError
from soundsight.folder import check_kind
from soundsight.training.weights import load_system

__all__ = ["Consistency"]


class Consistency:
    """InfoNCE between sounds and the pictures made of them, in a space that was learned before.

    Args:
        config: Which alignment, and how much it weighs.
        features: The recipe's front end; the alignment must have learned with the same.
        image_shape: (C, H, W) of the pictures; it must have learned from such.
        device: Where the training runs.

    Raises:
        ModelError: No alignment with PyTorch weights.
        RecipeError: It hears with another front end, or sees other pictures.
    """

    def __init__(
        self,
        config: ConsistencyConfig,
        features: dict[str, Any],
        image_shape: tuple[int, int, int],
        device: torch.device,
    ) -> None:
        folder, module = load_system(Path(config.model))
        check_kind(folder, "alignment")
        if folder.features != features:
            raise RecipeError(
                f"recipe key 'consistency.model': {config.model} hears with {folder.features}, "
                f"the recipe with {features}"
            )
        seen = (folder.image.channels, folder.image.height, folder.image.width)
        if seen != image_shape:
            raise RecipeError(f"recipe key 'consistency.model': {config.model} sees {seen}, this makes {image_shape}")
        self.weight = config.weight
        self.weights = dict(folder.weights)
        """SHA-256 of the teacher's files: a training that is resumed needs the same teacher."""
        self._module: Any = module.requires_grad_(False).to(device)

    def __call__(self, batch: dict[str, Tensor]) -> Tensor:
        """The weighted loss of ``made`` (B, C, H, W) in [0, 1], which a system leaves in its batch.

        Raises:
            RecipeError: The system left no pictures, or none that its training can change.
        """
        if "made" not in batch or not batch["made"].requires_grad:
            raise RecipeError(
                "recipe key 'consistency': this system makes no pictures while it is trained, "
                "or what makes them is among 'frozen.parts'"
            )
        loss: Tensor = self._module.consistency(batch["features"], batch["made"].float(), batch["label"])
        return self.weight * loss
