"""The text encoders of a frozen text-to-image model, alone: targets for adapters, and prompts for backbones.

A folder in the layout of ``diffusers``, or a name on the hub. Of Stable Diffusion 3 that is CLIP-L, CLIP-G and T5, each
of which may be absent, of XL CLIP-L and CLIP-G, of 1.5 CLIP-L.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from soundsight.errors import ModelError, SoundsightError, require

if TYPE_CHECKING:
    from soundsight.texts.diffusion.encoders import DiffusionTexts

__all__ = ["load"]


def load(
    source: str | Path,
    *,
    without: Collection[str] = (),
    download: bool = False,
    revision: str | None = None,
) -> DiffusionTexts:
    """The text encoders of a model, in single precision on the CPU; the rest of it need not be there.

    Args:
        source: A folder, or a name on the hub; nothing is fetched unless ``download`` is set.
        without: Text encoders to leave out, such as ``text_encoder_3``, the T5, of 19 GB in single precision.
        download: Get it from the hub where it is not in its cache yet.
        revision: Branch, tag or commit on the hub.

    Raises:
        MissingExtraError: ``diffusers`` or ``transformers`` is not installed.
        SoundsightError: There is no such part to leave out.
        ModelError: It is absent, partial, of another kind, or has no text encoder.
    """
    require("diffusers", "sd3", "a frozen text-to-image model")
    require("transformers", "sd3", "a frozen text-to-image model")
    import torch

    from soundsight.texts.diffusion.encoders import DiffusionTexts
    from soundsight.texts.diffusion.families import FAMILIES
    from soundsight.texts.diffusion.folder import find, load_plain, load_weights, read

    every = {encoder for family in FAMILIES.values() for encoder in family.encoders}
    if unknown := sorted(set(without) - every):
        raise SoundsightError(f"cannot leave out {unknown[0]!r:.60}; expected one of {', '.join(sorted(every))}")
    path = find(source, download=download, revision=revision)
    folder = read(path, name=str(source), wanted=every - set(without))
    encoders = [name for name in folder.family.encoders if name in folder.parts]
    if not encoders:
        raise ModelError(f"{source}: there is no text encoder in it; expected {', '.join(folder.family.encoders)}")
    return DiffusionTexts(
        folder.family,
        {name: load_weights(folder, name, torch.float32) for name in encoders},
        {name: load_plain(folder, folder.family.tokenizers[name][0]) for name in encoders},
    )
