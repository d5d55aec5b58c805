"""Adapters: from the embedding of a sound to what a frozen text-to-image model is told in place of a text.

A component is a module with a frozen pydantic ``Config``, which has the published options as its defaults, and an
``Adapter(config)``, as the protocol below says. ``training/adapter.py`` trains any of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from pydantic import ValidationError

from soundsight import registry
from soundsight.config import explain
from soundsight.errors import ModelError, RecipeError, require
from soundsight.folder import ModelFolder, check_kind, read_folder

if TYPE_CHECKING:
    from torch import Tensor, nn

    from soundsight.conditioning import Conditioning

__all__ = ["Adapter", "build", "check_encoder", "check_words", "load"]

SAFETENSORS = "model.safetensors"


class Adapter(Protocol):
    """What every adapter is, beside a PyTorch module."""

    config: Any
    """Its options."""
    hears: Literal["pooled", "tokens"]
    """Which half of an embedding it listens to."""

    @property
    def input_size(self) -> int:
        """Width D of the embeddings that it understands."""

    def fit(self, tokens_NLD: Tensor, pooled_ND: Tensor, wanted: Mapping[str, Tensor]) -> None:
        """Learn scales, where the options ask for it; called once, before training.

        Args:
            tokens_NLD: (N, L, D), the training embeddings.
            pooled_ND: (N, D), the same.
            wanted: Part to (C, W) or (C, L, W), the targets of all classes.
        """

    def __call__(self, tokens_BLD: Tensor, pooled_BD: Tensor) -> Conditioning:
        """What B sounds say; what the others say changes nothing in it, once it is trained."""


def build(system: str, options: dict[str, Any], **more: Any) -> nn.Module:
    """A new adapter, with random weights.

    Args:
        system: Name of a module in this room, or of a plug-in.
        options: Of its ``Config``; what is left out is as published.
        more: What else its ``Adapter`` takes: ``tell`` of those that speak through a text encoder.

    Raises:
        UnknownNameError: No such adapter.
        MissingExtraError: PyTorch is not installed.
        RecipeError: An unknown option, or a value that does not fit; the message lists the known ones.
    """
    require("torch", "train", f"the adapter '{system}'")
    component: Any = registry.find("adapters", system)
    try:
        config = component.Config.model_validate(options)
    except ValidationError as error:
        raise RecipeError(explain(error, component.Config, prefix="adapter")) from error
    adapter: nn.Module = component.Adapter(config, **more)
    return adapter


def load(path: str | Path, **more: Any) -> tuple[ModelFolder, nn.Module]:
    """A trained adapter, in evaluation mode.

    Args:
        path: Its folder.
        more: As for ``build``.

    Raises:
        ModelError: No model folder, of another kind, or its weights are not those of the adapter that it names.
        UnknownNameError: No such adapter.
        MissingExtraError: PyTorch is not installed.
    """
    folder = read_folder(path)
    if folder.kind != "adapter":
        check_kind(folder, "adapter")
    require("safetensors", "train", f"the adapter '{folder.system}'")
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        adapter = build(folder.system, folder.model, **more)
    except RecipeError as error:
        raise ModelError(f"{folder.path}: {str(error).replace('in the recipe', 'in config.json')}") from error
    if SAFETENSORS not in folder.weights:
        raise ModelError(f"{folder.path}: there is no {SAFETENSORS} in it; expected an adapter's weights")
    try:
        found = load_file(folder.path / SAFETENSORS)
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{folder.path}: {SAFETENSORS} cannot be read ({error})") from error
    expected = adapter.state_dict()
    for name in sorted(found.keys() | expected.keys()):
        shapes = [tuple(each[name].shape) if name in each else None for each in (found, expected)]
        if shapes[0] != shapes[1] or not bool(torch.isfinite(found[name]).all()):
            raise ModelError(
                f"{folder.path}: tensor '{name}' is {shapes[0] or 'absent'}; a {folder.system} with these options has "
                f"{shapes[1] or 'none'}, of finite numbers"
            )
    adapter.load_state_dict(found)
    return folder, adapter.eval()


def check_encoder(folder: ModelFolder, *, name: str, size: int, identity: str | None = None) -> None:
    """Refuse embeddings that are not those that an adapter was trained on.

    Args:
        folder: The adapter's.
        name: Of the encoder that is to hear for it.
        size: Width of its embeddings.
        identity: The encoder's; None where it is not known, which is then not compared.

    Raises:
        ModelError: It is another encoder, another width, or has other weights or options.
    """
    known = folder.features or {}
    for what, came, expected in (("encoder", name, known.get("name")), ("width", size, known.get("size"))):
        if came != expected:
            raise ModelError(
                f"{folder.path}: trained on embeddings of {known.get('name')}, {known.get('size')} wide; this {what} "
                f"is {came}: choose the encoder '{known.get('name')}', or another adapter"
            )
    theirs = known.get("identity")
    if identity is not None and theirs is not None and identity != theirs:
        raise ModelError(
            f"{folder.path}: trained on another '{name}' (identity {str(theirs)[:12]}…, this one is {identity[:12]}…): "
            "take the encoder's weights and options that it was trained with"
        )


def check_words(folder: ModelFolder, *, name: str, identity: str, backbone: str) -> None:
    """Refuse a backbone that was taught the words of another text encoder: it would paint something else.

    Args:
        folder: The adapter's.
        name: Of the text encoder that the backbone was taught by.
        identity: Its SHA-256.
        backbone: What the user calls the backbone.

    Raises:
        ModelError: It is not the one that the adapter learned from.
    """
    known = folder.target or {}
    learned, theirs = known.get("name"), known.get("identity")
    # Those of a text-to-image model have another identity for each choice of what is left out of them.
    if theirs is None or theirs == identity or learned == name == "diffusion":
        return
    raise ModelError(
        f"{folder.path}: learned the words of '{learned}' (identity {str(theirs)[:12]}…), and {backbone} was taught "
        f"those of '{name}' ({identity[:12]}…): train an adapter with that one as targets.model, or choose another "
        "backbone"
    )
