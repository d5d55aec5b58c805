"""The pipeline of an adapter, from names and folders."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from soundsight.errors import ModelError, require
from soundsight.folder import ModelFolder
from soundsight.pipeline.prompted import Prompted

if TYPE_CHECKING:
    from soundsight.encoders import Encoder
    from soundsight.encoders.recalled import Recalled

__all__ = ["load"]


def load(
    folder: ModelFolder,
    backbone: str | Path | None,
    encoder: str | Path | Encoder | Recalled | None,
    encoder_options: Mapping[str, Any],
    options: Mapping[str, Any],
) -> Prompted:
    """The pipeline of an adapter.

    Args:
        folder: The adapter's, as ``read_folder`` returned it.
        backbone: Name on the hub, or folder, of the model that paints.
        encoder: Weights of the encoder that hears, as ``encoders.NAME.load`` takes them; or an encoder; or embeddings
            that were computed before, as ``encoders.recalled.recall`` takes them.
        encoder_options: What else that takes; those that the adapter was trained with are known, files are not.
        options: Of ``backbones.load``: precision, offload and others.

    Raises:
        MissingExtraError: ``diffusers`` is not installed.
        ModelError: Something is absent, or does not fit.
    """
    known = str((folder.features or {}).get("name"))
    if backbone is None:
        raise ModelError(
            f"the model '{folder.name}' tells a text-to-image model what to paint, and none is named: add --backbone "
            "stabilityai/stable-diffusion-3-medium-diffusers (about 16 GB, gated, Stability AI Community License; get "
            "it once by 'hf download', the line for which comes with --backbone), or a folder; without one, --model "
            "digits works now"
        )
    if encoder is None:
        raise ModelError(f"the model '{folder.name}' hears through {known}: add --encoder with its weights")
    for module in ("torch", "diffusers", "transformers", "safetensors"):
        require(module, "sd3", f"the model '{folder.name}'")
    from soundsight import adapters, backbones, encoders
    from soundsight.encoders import recalled

    if isinstance(encoder, str | Path) and recalled.is_recalled(encoder):
        encoder = recalled.recall(known, encoder, encoder_options)
    elif isinstance(encoder, str | Path):
        learned = (folder.features or {}).get("options")
        learned = learned if isinstance(learned, dict) else {}
        encoder = encoders.load(known, encoder, **{**learned, **encoder_options})
    elif encoder_options:
        raise ModelError("options are for an encoder that is named by its weights; this one is loaded already")
    painter = backbones.load(backbone, **options)
    template = str((folder.target or {}).get("template"))
    more = {"tell": partial(painter.read_with_words, template)} if folder.system == "audio_token" else {}
    _, adapter = adapters.load(folder.path, **more)
    return Prompted(folder, adapter, encoder, painter)
