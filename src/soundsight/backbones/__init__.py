"""Frozen text-to-image models of others, told by a ``Conditioning`` in place of a text.

Which adapters fit which of them:

- **Stable Diffusion 3 and 3.5** hear all parts: ``pooled`` (CLIP-L's 768 numbers, then CLIP-G's 1280), and the tokens
  of CLIP-L, CLIP-G and T5.
- **Stable Diffusion XL** hears CLIP-G's part of ``pooled``, and the tokens of CLIP-L and CLIP-G: the layer and the
  networks are those of Stable Diffusion 3, so that adapters for that fit, T5 aside.
- **Stable Diffusion 1.5** hears tokens of CLIP-L alone, of the last layer after its final norm, where the others take
  the last but one before any norm: an adapter has to be trained for it, with its own text encoder.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from soundsight.errors import require

if TYPE_CHECKING:
    from soundsight.backbones.backbone import Backbone

__all__ = ["load"]


def load(name_or_folder: str | Path, **options: Any) -> Backbone:
    """A frozen text-to-image model, ready to paint; ``backbones.loading.load`` says what ``options`` there are.

    Raises:
        MissingExtraError: ``diffusers`` or ``transformers`` is not installed.
        ModelError: It is absent, partial, of another kind, or too large for this machine.
    """
    require("diffusers", "sd3", "a frozen text-to-image model")
    require("transformers", "sd3", "a frozen text-to-image model")
    from soundsight.backbones import loading

    return loading.load(name_or_folder, **options)
