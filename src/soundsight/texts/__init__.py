"""Texts: frozen networks that say what a prompt means, which adapters learn to say of a sound.

A component is a module with ``load(source, **options) -> TextEncoder``: a network that somebody else trained, from a
folder that the user has.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from soundsight import registry
from soundsight.conditioning import Conditioning
from soundsight.errors import require

__all__ = ["TextEncoder", "load"]


class TextEncoder(Protocol):
    """A frozen network that reads."""

    @property
    def name(self) -> str:
        """Its module's name."""

    @property
    def identity(self) -> str:
        """A SHA-256 in hexadecimal digits, of all that its answers depend on: weights and options."""

    def encode(self, prompts: Sequence[str]) -> Conditioning:
        """What it says of B prompts; a prompt's neighbours change nothing in it beyond float32's rounding."""


def load(name: str, source: str | Path, **options: Any) -> TextEncoder:
    """The text encoder of this name, ready to be used.

    Args:
        name: Of a module in this room, or of a plug-in.
        source: Its folder, or what else the module's ``load`` takes.
        options: What else the module's ``load`` takes.

    Raises:
        UnknownNameError: No such text encoder.
        MissingExtraError: PyTorch or ``transformers`` is not installed.
        ModelError: The folder is absent, or not what it should be.
    """
    component = registry.find("texts", name)
    for module in ("torch", "transformers", "safetensors"):
        require(module, "sd3", f"the text encoder '{name}'")
    encoder: TextEncoder = component.load(source, **options)
    return encoder
