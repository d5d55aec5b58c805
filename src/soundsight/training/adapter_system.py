"""An adapter that fits its embeddings and its targets, and what it is taught by."""

from __future__ import annotations

from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from soundsight import adapters, registry
from soundsight.conditioning import Conditioning
from soundsight.errors import RecipeError
from soundsight.losses import conditioning as objectives
from soundsight.training.adapter_data import Heard, Targets, load_heard, load_targets
from soundsight.training.adapter_recipe import AdapterRecipe, LossConfig

__all__ = ["build", "load_data", "losses_of", "say", "taught", "wanted_parts"]


def load_data(recipe: AdapterRecipe, root: Path | None = None) -> tuple[Heard, Targets]:
    """Embeddings and targets of a recipe; errors as for ``load_heard`` and ``load_targets``."""
    patches = recipe.adapter.options.get("num_patches", _default(recipe, "num_patches"))
    heard = load_heard(recipe, root, num_patches=patches)
    options = registry.find("adapters", recipe.adapter.system).Config.model_fields
    said = [part.name for part in fields(Conditioning) if f"{part.name}_size" in options]
    wanted = said if heard.is_captioned else ()  # of many captions only what is said fits into memory
    return heard, load_targets(recipe.targets, heard.classes, is_captioned=heard.is_captioned, wanted=wanted)


def taught(recipe: AdapterRecipe, heard: Heard, targets: Targets) -> tuple[Heard, Targets]:
    """The recordings that train, and what texts say of the classes that they show.

    What is shown in tests alone is kept out: a loss that tells all classes apart would learn of it.
    """
    train = heard.of_folds(recipe.data.train_folds)
    classes = train.taught()
    if len(classes) == len(heard.classes):
        return train, targets
    return train.of_classes(classes), targets.of_classes(classes)


def build(recipe: AdapterRecipe, heard: Heard, targets: Targets) -> nn.Module:
    """A new adapter for these embeddings and targets.

    Widths of what is said that the recipe leaves out are those of the targets.

    Raises:
        RecipeError: An unknown option, or a width that is not that of the embeddings or of the targets.
        UnknownNameError: No such adapter.
    """
    component: Any = registry.find("adapters", recipe.adapter.system)
    options = recipe.adapter.options
    known = set(component.Config.model_fields)
    widths = {f"{part}_size": tensor.shape[-1] for part, tensor in targets.parts.items()}
    if "word_size" in known:
        widths |= {"word_size": int(getattr(targets.encoder, "token_width", 0))}
    more: dict[str, Any] = {}
    if hasattr(component, "Tell"):
        if not hasattr(targets.encoder, "encode_with_tokens"):
            raise RecipeError(
                f"'{recipe.adapter.system}' speaks through a text encoder that takes learned words; '{targets.name}' "
                "does not: name the folder of a text-to-image model in targets.model"
            )
        more["tell"] = partial(targets.encoder.encode_with_tokens, recipe.targets.template)
    adapter = adapters.build(
        recipe.adapter.system, {key: widths[key] for key in widths.keys() & known} | options, **more
    )
    _check_sizes(recipe, adapter, heard, targets, widths)
    return adapter


def _check_sizes(recipe: AdapterRecipe, adapter: Any, heard: Heard, targets: Targets, widths: dict[str, int]) -> None:
    size = heard.pooled_ND.shape[1]
    if adapter.input_size != size:
        raise RecipeError(
            f"the embeddings of '{recipe.encoder.name}' are {size} wide, and '{recipe.adapter.system}' hears "
            f"{adapter.input_size}: choose the adapter for this encoder, or set adapter.input_size={size}"
        )
    for key, width in widths.items():
        told = getattr(adapter.config, key, width)
        if told != width:
            raise RecipeError(
                f"recipe key 'adapter.{key}' is {told}, and what '{targets.name}' says there is {width} wide: leave it "
                "out, or name another text encoder"
            )
    lacking = sorted(set(getattr(adapter, "sizes", {})) - set(targets.parts))
    if lacking:
        raise RecipeError(
            f"'{recipe.adapter.system}' says {', '.join(adapter.sizes)}; '{targets.name}' in {recipe.targets.model} "
            f"lacks {', '.join(lacking)}: name another adapter or text encoder"
        )


def say(adapter: nn.Module, heard: Heard, rows: Tensor | None = None, batch_size: int = 256) -> dict[str, Tensor]:
    """What a trained adapter says of some recordings, by part: (N, W) or (N, L, W).

    Args:
        adapter: In evaluation mode.
        heard: The recordings.
        rows: Some of them; None for all.
        batch_size: So many at once.
    """
    assert not adapter.training
    every = torch.arange(len(heard)) if rows is None else rows
    with torch.no_grad():
        said = [adapter(heard.tokens_NLD[few], heard.pooled_ND[few]).parts for few in torch.split(every, batch_size)]
    return {name: torch.cat([parts[name] for parts in said]) for name in said[0]}


def wanted_parts(said: Conditioning, targets: Targets) -> dict[str, tuple[Tensor, Tensor]]:
    """What is said (B, W) or (B, L, W), beside what the prompts of all classes say there, (C, W) or (C, L, W).

    An adapter may say fewer tokens than a text encoder: they are the first.
    """
    found = {}
    for name, said_part in said.parts.items():
        if name in targets.parts:
            prompts = targets.parts[name]
            found[name] = (said_part, prompts[:, : said_part.shape[1]] if prompts.ndim == 3 else prompts)
    assert found, "checked when the adapter was built"
    return found


def losses_of(said: Conditioning, targets: Targets, wanted_BC: Tensor, config: LossConfig) -> dict[str, Tensor]:
    """Named losses, weighted; their sum is what is learned by.

    Args:
        said: By the adapter, of B sounds.
        targets: Of C classes.
        wanted_BC: (B, C), shares of the classes in each sound.
        config: Weights.
    """
    named = {}
    parts = wanted_parts(said, targets)
    for name, (said_part, prompts) in parts.items():
        wanted = torch.tensordot(wanted_BC, prompts, dims=1)
        prefix = f"{name}." if len(parts) > 1 else ""
        if config.mse:
            # Prompts that are all alike have no variance, and nothing to be a share of.
            scale = (targets.variances[name] or 1.0) if config.relative else 1.0
            named[f"{prefix}mse"] = config.mse / scale * objectives.mse(said_part, wanted)
        if config.cosine:
            named[f"{prefix}cosine"] = config.cosine * objectives.cosine(said_part, wanted)
        if config.info_nce:
            named[f"{prefix}info_nce"] = config.info_nce * objectives.info_nce(
                said_part, prompts, wanted_BC, config.temperature, config.smoothing
            )
    return named


def _default(recipe: AdapterRecipe, option: str) -> Any:
    """An option's default, None where the adapter has no such option."""
    field = registry.find("adapters", recipe.adapter.system).Config.model_fields.get(option)
    return None if field is None else field.default
