"""Parts of a network that another training has made: a flow's painter for listeners of other speakers, for example."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from soundsight.config import ModelConfig, Recipe
from soundsight.datasets.selection import labels_of
from soundsight.errors import RecipeError
from soundsight.folder import ModelFolder
from soundsight.registry import unknown
from soundsight.training.loading import all_options
from soundsight.training.system import System, check_options
from soundsight.training.weights import load_system

__all__ = ["Frozen"]


class Frozen:
    """Copies the parts into a new system, and keeps them as they are.

    Args:
        recipe: Its ``frozen`` says which parts, of which model; None freezes nothing.
        module: The recipe's system, new; its parts are overwritten.

    Raises:
        ModelError: No model folder with PyTorch weights.
        RecipeError: Of another system, with other labels, options or another front end, or no such part.
        UnknownNameError: No such system.
    """

    def __init__(self, recipe: Recipe, module: nn.Module) -> None:
        self._parts: list[nn.Module] = []
        self.facts: dict[str, Any] = {}
        """Where the parts come from, for the model's config."""
        self.sources: list[dict[str, Any]] = []
        """The data that the parts were trained on, for the model's card."""
        config, self._taught = recipe.frozen, recipe.consistency is not None
        if config is None:
            return
        folder, trained = load_system(Path(config.model))
        _check_same(config.model, folder, recipe)
        ours, theirs = dict(module.named_children()), dict(trained.named_children())
        for name in config.parts:
            if name not in ours:
                raise RecipeError(f"recipe key 'frozen.parts': {unknown('parts', name, sorted(ours))}")
            ours[name].load_state_dict(theirs[name].state_dict())
            self._parts.append(ours[name].requires_grad_(False))
        self.facts = {"frozen": {"parts": list(config.parts), "weights": dict(folder.weights)}}
        self.sources = list(folder.card.get("data", []))

    def trained(self, system: System) -> dict[str, list[nn.Parameter]]:
        """What is left for each phase to change; phases with nothing left are not run.

        Raises:
            RecipeError: There is nothing left at all, or a teacher of pictures and no phase that makes them.
        """
        kept = {id(parameter) for part in self._parts for parameter in part.parameters()}
        left = {
            phase: [parameter for parameter in system.parameters_of(phase) if id(parameter) not in kept]
            for phase in system.phases
        }
        if not any(left.values()):
            raise RecipeError("recipe key 'frozen.parts' leaves nothing to train")
        if self._taught and not left[system.phases[-1]]:
            raise RecipeError("recipe key 'consistency': what makes the pictures is among 'frozen.parts'")
        return {phase: parameters for phase, parameters in left.items() if parameters}

    def train_rest(self, module: nn.Module) -> None:
        """Training mode for all but the parts: batch norm, for one, learns in training mode without any gradient."""
        module.train()
        for part in self._parts:
            part.eval()


def _check_same(name: str, folder: ModelFolder, recipe: Recipe) -> None:
    """Refuse a model that is made otherwise than the recipe's: its parts would mean something else."""
    fault = f"recipe key 'frozen.model': {name}"
    if folder.system != recipe.model.system:
        raise RecipeError(f"{fault} is of the system {folder.system}, the recipe of {recipe.model.system}")
    labels = labels_of(recipe.data)
    if folder.labels != labels:
        raise RecipeError(f"{fault} knows the labels {_list(folder.labels)}, the recipe {_list(labels)}")
    if folder.features is not None and folder.features != all_options(recipe.features):
        raise RecipeError(f"{fault} hears with {folder.features}, the recipe with {all_options(recipe.features)}")
    wanted = check_options(recipe.model).model_dump(mode="json")
    found = check_options(ModelConfig(system=folder.system, **folder.model)).model_dump(mode="json")
    for key in sorted(wanted):
        if wanted[key] != found[key]:
            raise RecipeError(f"{fault} has model.{key} = {found[key]}, the recipe {wanted[key]}")


def _list(labels: tuple[str, ...] | None) -> str:
    return ", ".join(labels) if labels else "of none"
