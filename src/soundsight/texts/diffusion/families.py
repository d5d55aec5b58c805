"""The text-to-image models that are known here: of which parts each is made, and which classes these may have.

Only classes that are named here are ever built, by their own ``from_pretrained``: a folder cannot bring its own code.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["FAMILIES", "KNOWN", "Family"]

_CLIP_TOKENIZERS = ("CLIPTokenizer", "CLIPTokenizerFast")
_VAE = {"vae": ("AutoencoderKL",)}


@dataclass(frozen=True, slots=True)
class Family:
    """One kind of Stable Diffusion.

    Attributes:
        name: What people call it.
        networks: Parts with weights that paint, and the classes they may have, in ``diffusers``.
        encoders: Parts with weights that read, and the classes they may have, in ``transformers``.
        tokenizers: Part that reads to the part that cuts texts for it, and the classes this may have.
        parts: Part that reads to the part of a ``Conditioning`` that it says.
        layer: Which hidden layer of a CLIP is told: -2, the last but one; None, the last, after its final norm.
        flags: Settings in ``model_index.json`` that the pipeline takes.
        is_checked: Whether it may have a safety checker.
    """

    name: str
    networks: Mapping[str, tuple[str, ...]]
    encoders: Mapping[str, tuple[str, ...]]
    tokenizers: Mapping[str, tuple[str, tuple[str, ...]]]
    parts: Mapping[str, str]
    layer: int | None
    flags: tuple[str, ...] = ()
    is_checked: bool = False

    @property
    def network(self) -> str:
        """The part that takes away the noise."""
        return "transformer" if "transformer" in self.networks else "unet"


# By the class of the pipeline, as model_index.json has it.
FAMILIES: dict[str, Family] = {
    "StableDiffusion3Pipeline": Family(
        name="Stable Diffusion 3",
        networks={"transformer": ("SD3Transformer2DModel",), **_VAE},
        encoders={
            "text_encoder": ("CLIPTextModelWithProjection",),
            "text_encoder_2": ("CLIPTextModelWithProjection",),
            "text_encoder_3": ("T5EncoderModel",),
        },
        tokenizers={
            "text_encoder": ("tokenizer", _CLIP_TOKENIZERS),
            "text_encoder_2": ("tokenizer_2", _CLIP_TOKENIZERS),
            "text_encoder_3": ("tokenizer_3", ("T5Tokenizer", "T5TokenizerFast")),
        },
        parts={"text_encoder": "clip_l", "text_encoder_2": "clip_g", "text_encoder_3": "t5"},
        layer=-2,
    ),
    "StableDiffusionXLPipeline": Family(
        name="Stable Diffusion XL",
        networks={"unet": ("UNet2DConditionModel",), **_VAE},
        encoders={"text_encoder": ("CLIPTextModel",), "text_encoder_2": ("CLIPTextModelWithProjection",)},
        tokenizers={
            "text_encoder": ("tokenizer", _CLIP_TOKENIZERS),
            "text_encoder_2": ("tokenizer_2", _CLIP_TOKENIZERS),
        },
        parts={"text_encoder": "clip_l", "text_encoder_2": "clip_g"},
        layer=-2,
        flags=("force_zeros_for_empty_prompt",),
    ),
    "StableDiffusionPipeline": Family(
        name="Stable Diffusion 1.5",
        networks={"unet": ("UNet2DConditionModel",), **_VAE},
        encoders={"text_encoder": ("CLIPTextModel",)},
        tokenizers={"text_encoder": ("tokenizer", _CLIP_TOKENIZERS)},
        parts={"text_encoder": "clip_l"},
        layer=None,
        flags=("requires_safety_checker",),
        is_checked=True,
    ),
}

# Size of what is fetched, and licence, of names on the hub. The sizes follow from the published numbers of weights: in
# half precision for Stable Diffusion 3, 2.0 (3.5: 2.5 or 8.1) thousand million beside 5.6 of the text encoders.
_STABILITY = "Stability AI Community License, to be accepted on its page before 'hf auth login'"
KNOWN: dict[str, str] = {
    "stabilityai/stable-diffusion-3-medium-diffusers": f"about 16 GB, {_STABILITY}",
    "stabilityai/stable-diffusion-3.5-medium": f"about 16 GB, {_STABILITY}",
    "stabilityai/stable-diffusion-3.5-large": f"about 28 GB, {_STABILITY}",
    "stabilityai/stable-diffusion-xl-base-1.0": "about 14 GB, CreativeML Open RAIL++-M",
    "stable-diffusion-v1-5/stable-diffusion-v1-5": "about 6 GB, CreativeML Open RAIL-M",
}
