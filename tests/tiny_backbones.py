"""Stable Diffusions of a few thousand random weights, saved as the published ones are; nothing is downloaded."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    DiffusionPipeline,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
from diffusers.utils import logging as diffusers_logging
from tokenizers.pre_tokenizers import ByteLevel
from transformers import (
    CLIPConfig,
    CLIPImageProcessor,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    T5Config,
    T5EncoderModel,
    T5Tokenizer,
)
from transformers.utils import logging as transformers_logging

# Widths with the published ratio, 768 to 1280; T5 is wider than both together.
CLIP_L, CLIP_G, T5 = 24, 40, 72
POOLED = CLIP_L + CLIP_G
WORDS = ("an", "image", "of", "dog", "rain", "train", "church", "bells")
LENGTH = 77


def clip_tokenizer() -> CLIPTokenizer:
    """Byte pairs that make one token of each of ``WORDS``; other words are spelled."""
    letters = sorted(ByteLevel.alphabet())
    pieces = letters + [letter + "</w>" for letter in letters]
    merges: list[tuple[str, str]] = []
    for word in WORDS:
        parts = [*word[:-1], word[-1] + "</w>"]
        while len(parts) > 1:
            if (pair := (parts[0], parts[1])) not in merges:
                merges.append(pair)
                pieces.append("".join(pair))
            parts[:2] = ["".join(pair)]
    pieces = list(dict.fromkeys(pieces))
    vocabulary = {piece: i for i, piece in enumerate([*pieces, "<|startoftext|>", "<|endoftext|>"])}
    return CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=LENGTH)


def clip_config(width: int, tokenizer: CLIPTokenizer, **options: Any) -> CLIPTextConfig:
    return CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=32,
        num_hidden_layers=3,
        num_attention_heads=2,
        max_position_embeddings=LENGTH,
        projection_dim=width,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        **options,
    )


def t5_tokenizer() -> T5Tokenizer:
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0)]
    return T5Tokenizer(vocab=pieces + [(f"▁{word}", -1.0) for word in WORDS], extra_ids=0)


def t5_encoder(tokenizer: T5Tokenizer, width: int = T5) -> T5EncoderModel:
    return T5EncoderModel(
        T5Config(vocab_size=len(tokenizer), d_model=width, d_kv=8, d_ff=32, num_layers=1, num_heads=2)
    )


def autoencoder(channels: int = 4, **options: Any) -> AutoencoderKL:
    """Scales by 2."""
    return AutoencoderKL(
        block_out_channels=[8, 8],
        norm_num_groups=4,
        latent_channels=channels,
        sample_size=16,
        down_block_types=["DownEncoderBlock2D"] * 2,
        up_block_types=["UpDecoderBlock2D"] * 2,
        **options,
    )


def unet(width: int, **options: Any) -> UNet2DConditionModel:
    return UNet2DConditionModel(
        block_out_channels=(8, 16),
        layers_per_block=1,
        sample_size=8,
        norm_num_groups=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=width,
        attention_head_dim=4,
        **options,
    )


def sd3(
    *, texts: bool = True, t5: bool = True, num_layers: int = 1, sample_size: int = 8, places: int = 96
) -> StableDiffusion3Pipeline:
    parts: dict[str, Any] = dict.fromkeys(
        ("text_encoder", "text_encoder_2", "text_encoder_3", "tokenizer", "tokenizer_2", "tokenizer_3")
    )
    if texts:
        parts["tokenizer"], parts["tokenizer_2"] = clip_tokenizer(), clip_tokenizer()
        parts["text_encoder"] = CLIPTextModelWithProjection(clip_config(CLIP_L, parts["tokenizer"]))
        parts["text_encoder_2"] = CLIPTextModelWithProjection(
            clip_config(CLIP_G, parts["tokenizer_2"], hidden_act="gelu")
        )
        if t5:
            parts["tokenizer_3"] = t5_tokenizer()
            parts["text_encoder_3"] = t5_encoder(parts["tokenizer_3"])
    transformer = SD3Transformer2DModel(
        sample_size=sample_size,
        patch_size=1,
        in_channels=4,
        num_layers=num_layers,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=T5,
        caption_projection_dim=16,
        pooled_projection_dim=POOLED,
        out_channels=4,
        pos_embed_max_size=places,
    )
    vae = autoencoder(shift_factor=0.06, scaling_factor=1.5, use_quant_conv=False, use_post_quant_conv=False)
    return StableDiffusion3Pipeline(
        transformer=transformer, scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0), vae=vae, **parts
    )


def sdxl(*, texts: bool = True) -> StableDiffusionXLPipeline:
    tokenizer = clip_tokenizer()
    parts: dict[str, Any] = dict.fromkeys(("text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2"))
    if texts:
        parts = {
            "text_encoder": CLIPTextModel(clip_config(CLIP_L, tokenizer)),
            "text_encoder_2": CLIPTextModelWithProjection(clip_config(CLIP_G, tokenizer, hidden_act="gelu")),
            "tokenizer": tokenizer,
            "tokenizer_2": clip_tokenizer(),
        }
    network = unet(
        CLIP_L + CLIP_G,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=6 * 8 + CLIP_G,
        transformer_layers_per_block=(1, 1),
        use_linear_projection=True,
    )
    scheduler = EulerDiscreteScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
    return StableDiffusionXLPipeline(
        unet=network,
        vae=autoencoder(),
        scheduler=scheduler,
        force_zeros_for_empty_prompt=True,
        add_watermarker=False,
        **parts,
    )


def sd15(*, texts: bool = True, checker: bool = False) -> StableDiffusionPipeline:
    tokenizer = clip_tokenizer() if texts else None
    scheduler = EulerDiscreteScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1
    )
    return StableDiffusionPipeline(
        unet=unet(CLIP_L),
        vae=autoencoder(),
        scheduler=scheduler,
        text_encoder=CLIPTextModel(clip_config(CLIP_L, tokenizer)) if tokenizer is not None else None,
        tokenizer=tokenizer,
        safety_checker=safety_checker() if checker else None,
        feature_extractor=CLIPImageProcessor(size=16, crop_size=16) if checker else None,
        requires_safety_checker=checker,
    )


def safety_checker() -> StableDiffusionSafetyChecker:
    vision = {
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "image_size": 16,
        "patch_size": 8,
    }
    return StableDiffusionSafetyChecker(CLIPConfig(vision_config=vision, projection_dim=8))


BUILDERS = {"sd3": sd3, "sdxl": sdxl, "sd15": sd15}


@contextmanager
def quiet() -> Iterator[None]:
    """Without the progress bars and reports of the libraries."""
    level = diffusers_logging.get_verbosity()
    diffusers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            yield
    finally:
        diffusers_logging.set_verbosity(level)
        transformers_logging.enable_progress_bar()


def build(kind: str, *, seed: int = 0, **options: Any) -> DiffusionPipeline:
    """A pipeline whose random weights depend on the seed alone."""
    with torch.random.fork_rng(), quiet():
        torch.manual_seed(seed)
        pipeline = BUILDERS[kind](**options)
        # Weights that begin as zeros would make a picture of the noise alone.
        network = pipeline.transformer if kind == "sd3" else pipeline.unet
        for parameter in network.parameters():
            if parameter.abs().max() == 0:
                torch.nn.init.normal_(parameter, std=0.2)
    for module in pipeline.components.values():
        if isinstance(module, torch.nn.Module):
            module.eval().requires_grad_(requires_grad=False)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def write(folder: Path, kind: str, **options: Any) -> Path:
    """The same as a folder in the layout of diffusers."""
    pipeline = build(kind, **options)
    with quiet():
        pipeline.save_pretrained(folder)
    return folder


def change(path: Path, **values: Any) -> None:
    """Other values in a JSON file."""
    path.write_text(json.dumps(json.loads(path.read_text()) | values))
