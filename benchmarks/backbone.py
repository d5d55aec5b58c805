"""What ``Backbone.paint`` adds to a bare call of ``diffusers`` with the same embeddings.

    python benchmarks/backbone.py [--repeats 15] [--steps 8] [--threads 1]

A small random Stable Diffusion 3 paints the same pictures by both, in turns, so that both see the same machine; the
median of the ratios counts. Prints a table on stderr and one line of JSON on stdout.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from diffusers import (
    AutoencoderKL,
    FlowMatchEulerDiscreteScheduler,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
)

from soundsight import noise
from soundsight.backbones.backbone import Backbone
from soundsight.conditioning import Conditioning
from soundsight.texts.diffusion.families import FAMILIES

# What the project promises.
MAX_RATIO = 1.05

CLIP_L, CLIP_G, T5 = 96, 160, 256
SIZE, SEED, GUIDANCE = 32, 7, 7.0


def build() -> Any:
    """A pipeline without text encoders: 2 million weights, 256 places of a picture and 333 words."""
    torch.manual_seed(0)
    transformer = SD3Transformer2DModel(
        sample_size=16, patch_size=1, in_channels=4, out_channels=4, num_layers=3, attention_head_dim=32,
        num_attention_heads=4, joint_attention_dim=T5, caption_projection_dim=128, pos_embed_max_size=16,
        pooled_projection_dim=CLIP_L + CLIP_G,
    )  # fmt: skip
    vae = AutoencoderKL(
        block_out_channels=[8, 8], norm_num_groups=4, latent_channels=4, sample_size=SIZE, shift_factor=0.0,
        down_block_types=["DownEncoderBlock2D"] * 2, up_block_types=["UpDecoderBlock2D"] * 2,
    )  # fmt: skip
    names = ("text_encoder", "text_encoder_2", "text_encoder_3", "tokenizer", "tokenizer_2", "tokenizer_3")
    pipeline = StableDiffusion3Pipeline(
        transformer=transformer.eval(),
        vae=vae.eval(),
        scheduler=FlowMatchEulerDiscreteScheduler(),
        **dict.fromkeys(names),
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def said() -> Conditioning:
    """What an adapter says of one sound: all parts, 20 tokens each."""
    parts = {"clip_l": (1, 20, CLIP_L), "clip_g": (1, 20, CLIP_G), "t5": (1, 20, T5), "pooled": (1, CLIP_L + CLIP_G)}
    return Conditioning(**{name: torch.randn(shape) for name, shape in parts.items()})


def bare_call(backbone: Backbone, words: Conditioning, steps: int) -> Callable[[], Any]:
    """The pipeline itself, with everything made ready before."""
    told = backbone.layout.join(backbone.layout.heard(words), 1, torch.device("cpu"), torch.float32)
    latents = torch.from_numpy(noise.draw(SEED, 1, 4 * 16 * 16)).view(1, 4, 16, 16)
    embeddings = {"prompt_embeds": told.tokens_BLD, "pooled_prompt_embeds": told.pooled_BP}
    negatives = {f"negative_{name}": torch.zeros_like(tensor) for name, tensor in embeddings.items()}
    settings = {"num_inference_steps": steps, "guidance_scale": GUIDANCE, "height": SIZE, "width": SIZE}
    return lambda: backbone.pipeline(**embeddings, **negatives, latents=latents, output_type="np", **settings).images


def timed(call: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    found = call()
    return time.perf_counter() - start, found


def run(repeats: int, steps: int) -> dict[str, float]:
    backbone = Backbone(build(), FAMILIES["StableDiffusion3Pipeline"], "small")
    words = said()
    bare = bare_call(backbone, words, steps)

    def ours() -> Any:
        return backbone.paint(words, seed=SEED, size=SIZE, steps=steps, guidance=GUIDANCE).images_NCHW

    (_, wanted), (_, found) = timed(bare), timed(ours)  # the first run of each, which does not count
    if not np.array_equal(found, wanted.transpose(0, 3, 1, 2)):
        raise SystemExit("the two paint different pictures; there is nothing to compare")
    pairs = []
    for i in range(repeats):  # who begins takes turns, too
        calls = (ours, bare) if i % 2 else (bare, ours)
        times = [timed(call)[0] for call in calls]
        pairs.append(tuple(times if i % 2 else times[::-1]))
    return {
        "paint_s": statistics.median(ours_s for ours_s, _ in pairs),
        "bare_s": statistics.median(bare_s for _, bare_s in pairs),
        "step_ms": 1000 * statistics.median(bare_s for _, bare_s in pairs) / steps,
        "ratio": statistics.median(ours_s / bare_s for ours_s, bare_s in pairs),
        "repeats": repeats,
        "steps": steps,
    }


def report(found: dict[str, float]) -> None:
    rows = [
        ("Backbone.paint", f"{1000 * found['paint_s']:.1f} ms", ""),
        ("the bare pipeline", f"{1000 * found['bare_s']:.1f} ms", f"{found['step_ms']:.1f} ms for a step"),
        ("ratio", f"{found['ratio']:.3f}", f"at most {MAX_RATIO:g}"),
    ]
    for name, value, promise in rows:
        print(f"{name:20} {value:>12}  {promise}", file=sys.stderr)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    found = run(options.repeats, options.steps)
    report(found)
    print(json.dumps({key: round(value, 4) for key, value in found.items()}))
    raise SystemExit(0 if found["ratio"] <= MAX_RATIO else 1)


if __name__ == "__main__":
    main()
