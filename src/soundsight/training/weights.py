"""A model folder's PyTorch weights, checked tensor by tensor."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from soundsight.config import ModelConfig
from soundsight.errors import ModelError, RecipeError
from soundsight.folder import ModelFolder, read_folder
from soundsight.training.system import build_system

__all__ = ["SAFETENSORS", "load_system"]

SAFETENSORS = "model.safetensors"


def load_system(folder: str | Path) -> tuple[ModelFolder, nn.Module]:
    """A model folder's PyTorch system with its weights, in evaluation mode.

    Raises:
        ModelError: An adapter, no ``model.safetensors``, or it does not hold exactly the system's tensors.
        UnknownNameError: No such system.
    """
    model = read_folder(folder)
    if model.kind == "adapter":
        raise ModelError(f"{model.path}: an adapter; it is used as it is, with a backbone (docs/any-sound.md)")
    if SAFETENSORS not in model.weights:
        raise ModelError(
            f"{model.path}: there is no {SAFETENSORS} in it, only {', '.join(model.weights) or 'no weights'}"
        )
    if "system" in model.model:
        raise ModelError(f"{model.path}: unknown key 'model.system' in config.json")
    try:
        module, _ = build_system(ModelConfig(system=model.system, **model.model), len(model.labels or ()) or 1)
    except RecipeError as error:
        raise ModelError(f"{model.path}: {str(error).replace('in the recipe', 'in config.json')}") from error
    try:
        tensors = load_file(model.path / SAFETENSORS)
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{model.path}: {SAFETENSORS} cannot be read ({error})") from error
    _check_tensors(model, tensors, module.state_dict())
    module.load_state_dict(tensors)
    return model, module.eval()


def _check_tensors(model: ModelFolder, found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    """Refuse weights that are not exactly those of the system."""
    for name in sorted(found.keys() ^ expected.keys()):
        fault = "lacks the tensor" if name in expected else "has a surplus tensor"
        raise ModelError(f"{model.path}: {SAFETENSORS} {fault} '{name}'; it is not a {model.system} of this version")
    for name, tensor in expected.items():
        if found[name].shape != tensor.shape:
            raise ModelError(
                f"{model.path}: tensor '{name}' is {tuple(found[name].shape)}; "
                f"a {model.system} with these options has {tuple(tensor.shape)}"
            )
        if not torch.isfinite(found[name]).all():
            raise ModelError(f"{model.path}: tensor '{name}' holds NaN or infinity; the training diverged")
