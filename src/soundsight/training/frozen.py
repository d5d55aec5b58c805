"""Parts of a network that another training has made: a flow's painter for listeners of other speakers, for example."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from soundsight.config import FrozenConfig, ModelConfig
from soundsight.errors import RecipeError
from soundsight.registry import unknown
from soundsight.training.system import System, check_options
from soundsight.training.weights import load_system

__all__ = ["Frozen"]


class Frozen:
    """Copies the parts into a new system, and keeps them as they are.

    Args:
        config: Which parts, of which model; None freezes nothing.
        model: The system that the recipe trains.
        module: That system, new; its parts are overwritten.

    Raises:
        ModelError: No model folder with PyTorch weights.
        RecipeError: Of another system or with other options, no such part, or nothing left to train.
        UnknownNameError: No such system.
    """

    def __init__(self, config: FrozenConfig | None, model: ModelConfig, module: nn.Module) -> None:
        self._parts: list[nn.Module] = []
        self.facts: dict[str, Any] = {}
        """Where the parts come from, for the model's config."""
        self.sources: list[dict[str, Any]] = []
        """The data that the parts were trained on, for the model's card."""
        if config is None:
            return
        folder, trained = load_system(Path(config.model))
        wanted = check_options(model).model_dump(mode="json")
        found = check_options(ModelConfig(system=folder.system, **folder.model)).model_dump(mode="json")
        if folder.system != model.system:
            raise RecipeError(f"recipe key 'frozen.model': {config.model} is a {folder.system}, not a {model.system}")
        for key in sorted(wanted.keys() | found.keys()):
            if wanted.get(key) != found.get(key):
                raise RecipeError(
                    f"recipe key 'frozen.model': {config.model} has model.{key} = {found.get(key)}, "
                    f"the recipe {wanted.get(key)}"
                )
        ours, theirs = dict(module.named_children()), dict(trained.named_children())
        for name in config.parts:
            if name not in ours:
                raise RecipeError(f"recipe key 'frozen.parts': {unknown('parts', name, sorted(ours))}")
            ours[name].load_state_dict(theirs[name].state_dict())
            self._parts.append(ours[name].requires_grad_(False))
        self.facts = {"frozen": {"parts": list(config.parts), "weights": dict(folder.weights)}}
        self.sources = list(folder.card.get("data", []))

    def trained(self, system: System, phase: str) -> list[nn.Parameter]:
        """What is left for a phase to change.

        Raises:
            RecipeError: Nothing is.
        """
        kept = {id(parameter) for part in self._parts for parameter in part.parameters()}
        parameters = [parameter for parameter in system.parameters_of(phase) if id(parameter) not in kept]
        if not parameters:
            raise RecipeError(f"recipe key 'frozen.parts' leaves the phase '{phase}' nothing to train")
        return parameters

    def train_rest(self, module: nn.Module) -> None:
        """Training mode for all but the parts: batch norm, for one, learns in training mode without any gradient."""
        module.train()
        for part in self._parts:
            part.eval()
