"""Encoders: frozen networks that turn any sound into an embedding, which adapters paint from.

A component is a module with ``load(weights, **options) -> Encoder``: a network that somebody else trained, from a file
or a folder that the user has. What it gives is an ``Embedding``: tokens (L, D), and one vector (D,) for all of them.
Beside them stand embeddings that were computed earlier: by soundsight (``cache``), or by anybody (``stored`` and
``shards``).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from soundsight import registry
from soundsight.encoders.embedding import Embedding, Encoder
from soundsight.errors import require

__all__ = ["Embedding", "Encoder", "load"]


def load(name: str, weights: str | Path, **options: Any) -> Encoder:
    """The encoder of this name, ready to be used.

    Args:
        name: Of a module in this room, or of a plug-in.
        weights: Its file, its folder, or its name on a hub, as the module says.
        options: What else the module's ``load`` takes.

    Raises:
        UnknownNameError: No such encoder.
        MissingExtraError: PyTorch is not installed.
        ModelError: The weights are absent, or not what they should be.
    """
    if name in registry.names("encoders"):
        require("torch", "sd3", f"the encoder '{name}'")
        require("safetensors", "sd3", f"the encoder '{name}'")
    encoder: Encoder = registry.find("encoders", name).load(weights, **options)
    return encoder
