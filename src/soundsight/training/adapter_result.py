"""The end of an adapter's training: weights and card as a model folder."""

from __future__ import annotations

import platform
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import nn

from soundsight.folder import ModelFolder, write_folder
from soundsight.manifest import NO_PICTURE
from soundsight.training.adapter_data import Heard, Targets, info_of
from soundsight.training.adapter_recipe import AdapterRecipe

__all__ = ["save_adapter"]


def save_adapter(
    out: Path, recipe: AdapterRecipe, module: nn.Module, heard: Heard, targets: Targets, *, steps: int, seconds: float
) -> ModelFolder:
    """Write ``model.safetensors`` and ``config.json`` into ``out``.

    Raises:
        OutputError: The folder cannot be written.
    """
    config: Any = module.config
    train, test = (heard.of_folds(folds) for folds in (recipe.data.train_folds, recipe.data.test_folds))
    folder = ModelFolder(
        path=out,
        name=recipe.name,
        system=recipe.adapter.system,
        kind="adapter",
        features={
            "name": recipe.encoder.name,
            "size": heard.pooled_ND.shape[1],
            "identity": heard.identity,
            **({"options": dict(heard.options)} if heard.options else {}),
        },
        latent_size=0,
        image=NO_PICTURE,
        # Captions may be many thousands, and are no names of classes.
        labels=None if heard.is_captioned else tuple(heard.classes[label] for label in train.taught()),
        # Those left at their defaults too: defaults may change, a saved model may not.
        model=config.model_dump(mode="json"),
        training={
            "recipe": recipe.model_dump(mode="json"),
            "parameters": sum(parameter.numel() for parameter in module.parameters()),
            "train_recordings": len(train),
            "test_recordings": len(test),
            "steps": steps,
            "seconds": round(seconds, 1),
            "date": time.strftime("%Y-%m-%d", time.gmtime()),
            "torch": version("torch"),
            "machine": f"{platform.machine()}, {torch.get_num_threads()} threads",
        },
        card=_card(recipe),
        target={
            "name": targets.name,
            "identity": targets.identity,
            "sizes": {name: list(part.shape[1:]) for name, part in targets.parts.items()},
            # Captions were taught as they are; who speaks through a text encoder needs it anyway.
            "template": None if heard.is_captioned and not hasattr(module, "tell") else recipe.targets.template,
        },
    )
    weights = save({name: tensor.detach().cpu().contiguous() for name, tensor in module.state_dict().items()})
    return write_folder(folder, {"model.safetensors": weights})


def _card(recipe: AdapterRecipe) -> dict[str, Any]:
    """The card, with what the data's licence asks of whoever uses the weights."""
    info = info_of(recipe.data)
    licence, limits = recipe.card.licence, list(recipe.card.limits)
    if info is None:
        theirs = recipe.data.licence or "that of its files"
        data = {"name": "recordings of one's own", "licence": theirs, "attribution": "their makers"}
    else:
        theirs = info.licence
        data = {"name": info.title, "licence": theirs, "attribution": info.attribution}
    if "NC" in theirs.replace("-", " ").split():
        licence = "for non-commercial use only"
        limits.append(f"Trained on data under {theirs}: these weights are for non-commercial use only.")
    return {
        "summary": recipe.card.summary,
        "source": recipe.source,
        "licence": licence,
        "data": [data],
        "limits": limits,
        "scores": {},
    }
