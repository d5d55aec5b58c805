"""A frozen network as a teacher: pictures must look to it as the real ones do.

A judge that was trained here sees pictures as it learned them. A VGG of somebody else's (``training.vgg``) has seen the
world's photographs, and takes pictures of any size.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from soundsight.config import PerceptualConfig
from soundsight.errors import RecipeError
from soundsight.folder import check_kind
from soundsight.losses.perceptual import perceptual
from soundsight.manifest import WEIGHT_SUFFIXES
from soundsight.training.vgg import load_vgg
from soundsight.training.weights import load_system

__all__ = ["Perceptual"]


class Perceptual:
    """Distance between made and real pictures in the activations of a judge or of a VGG.

    Args:
        config: Which network, which of its layers, and how much it weighs.
        image_shape: (C, H, W) of the pictures; a judge must have learned from such.
        device: Where the training runs.

    Raises:
        ModelError: No judge with PyTorch weights, or no VGG.
        RecipeError: It judges other pictures, shows no activations, or has no such layer; the pictures are too small.
    """

    def __init__(self, config: PerceptualConfig, image_shape: tuple[int, int, int], device: torch.device) -> None:
        read = _read_vgg if _is_file(Path(config.model)) else _read_judge
        module, self.weights = read(config, image_shape)
        """SHA-256 of the teacher's files: a training that is resumed needs the same teacher."""
        self.weight = config.weight
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


def _is_file(path: Path) -> bool:
    """Whether a path names a file of weights, there or not, and no model folder."""
    try:
        return path.is_file() or (path.suffix.lower() in WEIGHT_SUFFIXES and not path.is_dir())
    except OSError:  # too long, for example: no path at all
        return False


def _read_vgg(config: PerceptualConfig, image_shape: tuple[int, int, int]) -> tuple[nn.Module, dict[str, str]]:
    path = Path(config.model)
    module, sha256 = load_vgg(path, config.layers)
    if min(image_shape[1:]) < module.smallest:
        raise RecipeError(
            f"recipe key 'perceptual.layers': the deepest needs pictures of {module.smallest} pixels or more, "
            f"this makes {image_shape}; name layers of earlier blocks"
        )
    return module, {path.name: sha256}


def _read_judge(config: PerceptualConfig, image_shape: tuple[int, int, int]) -> tuple[nn.Module, dict[str, str]]:
    folder, module = load_system(Path(config.model))
    check_kind(folder, "judge")
    judged = (folder.image.channels, folder.image.height, folder.image.width)
    if judged != image_shape:
        raise RecipeError(f"recipe key 'perceptual.model': {config.model} judges {judged}, this makes {image_shape}")
    if not hasattr(module, "layers_of"):
        raise RecipeError(f"recipe key 'perceptual.model': a {folder.system} does not show what its layers see")
    if config.layers:
        raise RecipeError(
            "recipe key 'perceptual.layers' is for a VGG; all layers of a judge are compared, leave it out"
        )
    return module, dict(folder.weights)
