"""Encoders: frozen networks that turn any sound into an embedding, which adapters paint from.

A component is a module with ``load(weights, **options) -> Encoder``: a network that somebody else trained, from a file
or a folder that the user has. Its options are the arguments of ``load`` that have names alone; those that change what
the network says are a frozen dataclass ``Config``. What it gives is an ``Embedding``: tokens (L, D), and one vector
(D,) for all of them. Beside them stand embeddings that were computed earlier: by soundsight (``cache``), or by anybody
(``stored`` and ``shards``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields
from inspect import Parameter, signature
from pathlib import Path
from typing import Any

from soundsight import registry
from soundsight.encoders.embedding import Embedding, Encoder
from soundsight.errors import SoundsightError, require

__all__ = ["Embedding", "Encoder", "lasting", "load"]


def load(name: str, weights: str | Path, **options: Any) -> Encoder:
    """The encoder of this name, ready to be used.

    Args:
        name: Of a module in this room, or of a plug-in.
        weights: Its file, its folder, or its name on a hub, as the module says.
        options: What else the module's ``load`` takes.

    Raises:
        UnknownNameError: No such encoder.
        MissingExtraError: PyTorch is not installed.
        SoundsightError: An option that there is not, or a value that does not fit.
        ModelError: The weights are absent, or not what they should be.
    """
    component = _component(name)
    _check(name, component, options)
    encoder: Encoder = component.load(weights, **options)
    return encoder


def lasting(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Those of an encoder's options that change what it says: without files, and without what is usual.

    Raises:
        As ``load``.

    >>> lasting("vggish", {"output": "pca", "pca": "vggish_pca_params.npz", "relu": True})
    {'output': 'pca'}
    """
    component = _component(name)
    _check(name, component, options)
    config = getattr(component, "Config", None)
    usual = {} if config is None else asdict(config())
    return {key: value for key, value in options.items() if key in usual and value != usual[key]}


def _component(name: str) -> Any:
    if name in registry.names("encoders"):
        require("torch", "sd3", f"the encoder '{name}'")
        require("safetensors", "sd3", f"the encoder '{name}'")
    return registry.find("encoders", name)


def _check(name: str, component: Any, options: Mapping[str, Any]) -> None:
    """Refuse options that the module's ``load`` does not take."""
    arguments = signature(component.load).parameters.values()
    own = {each.name: each.default for each in arguments if each.kind is Parameter.KEYWORD_ONLY}
    config = getattr(component, "Config", None)
    known = {*own, *(() if config is None else (field.name for field in fields(config)))}
    if strange := sorted(options.keys() - known):
        raise SoundsightError(
            f"the encoder '{name}' has no option '{strange[0]}'; known: {', '.join(sorted(known)) or 'none'}"
        )
    for key in options.keys() & own.keys():
        is_flag = isinstance(own[key], bool)
        if not isinstance(options[key], bool if is_flag else str | Path | None):
            expected = "true or false" if is_flag else "a text"
            raise SoundsightError(f"the encoder '{name}': {key} must be {expected}, not {options[key]!r:.60}")
    if config is not None:
        try:
            config(**{key: value for key, value in options.items() if key not in own})
        except ValueError as error:
            raise SoundsightError(f"the encoder '{name}': {error}") from error
