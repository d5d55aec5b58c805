"""The end of a training: weights and card as a model folder."""

from __future__ import annotations

import platform
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import nn

from soundsight import registry
from soundsight.config import Recipe
from soundsight.datasets import voices
from soundsight.datasets.selection import infos_of, labels_of
from soundsight.folder import ImageShape, ModelFolder, write_folder
from soundsight.manifest import Kind
from soundsight.models.layers import count_parameters
from soundsight.training.loading import all_options
from soundsight.training.system import System

__all__ = ["save_model"]


def save_model(
    out: Path,
    recipe: Recipe,
    module: nn.Module,
    system: System,
    facts: dict[str, Any],
    steps: int,
    seconds: float,
    *,
    sources: Sequence[dict[str, Any]] = (),
) -> ModelFolder:
    """Write ``model.safetensors`` and ``config.json`` into ``out``.

    ``sources`` are data beside the recipe's: those of parts that were trained before.

    Raises:
        OutputError: The folder cannot be written.
    """
    infos = infos_of(recipe.data)
    data = [{"name": info.title, "licence": info.licence, "attribution": info.attribution} for info in infos]
    if recipe.data.voices or recipe.data.calibration_voices:
        data.append(voices.CREDIT)
    data += [source for source in sources if source not in data]
    if recipe.data.pairs is not None and not infos:
        data.append({"name": "pairs of one's own", "licence": "that of its files", "attribution": "their makers"})
    channels, height, width = system.image_shape
    folder = ModelFolder(
        path=out,
        name=recipe.name,
        system=recipe.model.system,
        features=None if system.features_shape is None else all_options(recipe.features),
        latent_size=system.latent_size,
        image=ImageShape(channels, height, width),
        labels=labels_of(recipe.data),
        model=_options(recipe),
        training={
            "recipe": recipe.model_dump(mode="json"),
            "parameters": count_parameters(module, in_use=True),
            "steps": steps,
            "seconds": round(seconds, 1),
            "date": time.strftime("%Y-%m-%d", time.gmtime()),
            "torch": version("torch"),
            "machine": f"{platform.machine()}, {torch.get_num_threads()} threads",
            **facts,
        },
        card={
            "summary": recipe.card.summary,
            **({"hears": recipe.card.hears} if recipe.card.hears else {}),
            "source": recipe.source,
            "licence": recipe.card.licence,
            "data": data,
            "limits": [*recipe.card.limits, *([_OF_COEFFICIENTS] if "coefficients" in facts else [])],
            "scores": {},
        },
        kind=_kind(module, system),
    )
    weights = save({name: tensor.detach().cpu().contiguous() for name, tensor in module.state_dict().items()})
    return write_folder(folder, {"model.safetensors": weights})


_OF_COEFFICIENTS = "Learned from coefficients as they were published; those computed of a recording here may differ."


def _kind(module: nn.Module, system: System) -> Kind:
    if system.features_shape is None:
        return "judge"
    return "generator" if hasattr(module, "generate") else "alignment"


def _options(recipe: Recipe) -> dict[str, Any]:
    """All options of the system, those left at their defaults too: defaults may change, a saved model may not."""
    component: Any = registry.find("models", recipe.model.system)
    options: dict[str, Any] = component.Config.model_validate(recipe.model.options).model_dump(mode="json")
    return options
