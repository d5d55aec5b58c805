"""A small autoencoder for a small backbone: 32×32 in colour to 16×16 with a few channels, and back.

``AutoencoderKL`` of ``diffusers``, as Rombach et al., *High-Resolution Image Synthesis with Latent Diffusion Models*,
2022, section 3.1, without their adversary and their perceptual loss: at this size the pixels' own error is enough.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from soundsight.files import replace_file
from soundsight.training.backbone_recipe import AutoencoderConfig, BackboneRecipe
from soundsight.training.loop import LOG_EVERY, Progress
from soundsight.training.optimizer import adam, learning_rate

__all__ = ["BATCH", "build", "encode_all", "prepare_autoencoder", "train_autoencoder"]

BATCH = 128
"""Pictures in a step."""
_SAMPLE = 2_000


def build(config: AutoencoderConfig, side: int) -> Any:
    """An autoencoder with random weights; it scales by 2."""
    import diffusers

    library: Any = diffusers  # most of it is untyped
    return library.AutoencoderKL(
        block_out_channels=list(config.widths),
        down_block_types=["DownEncoderBlock2D"] * 2,
        up_block_types=["UpDecoderBlock2D"] * 2,
        latent_channels=config.channels,
        norm_num_groups=math.gcd(8, *config.widths),
        layers_per_block=1,
        sample_size=side,
        mid_block_add_attention=False,
        use_quant_conv=False,
        use_post_quant_conv=False,
    )


def prepare_autoencoder(
    recipe: BackboneRecipe,
    state: Path,
    images_NCHW: Tensor,
    is_interrupted: Callable[[], bool],
    watch: Callable[[Progress], None],
) -> Any:
    """The autoencoder that was trained before, or a new one.

    Args:
        recipe: Of the backbone.
        state: Folder where it is kept.
        images_NCHW: (N, 3, H, W) uint8.
        is_interrupted: Asked after each step.
        watch: Called now and then; its steps are epoch 0.

    Raises:
        KeyboardInterrupt: Interrupted; there is none.
    """
    import diffusers

    folder = state / "autoencoder"
    if not (folder / "done").is_file():

        def at_step(step: int, num_steps: int, losses: dict[str, float]) -> bool:
            if step % LOG_EVERY == 0 or step == num_steps:
                watch(Progress(step, num_steps, 0, losses))
            return not is_interrupted()

        bf16 = recipe.train.precision == "bf16"
        trained = train_autoencoder(images_NCHW, recipe.autoencoder, seed=recipe.train.seed, bf16=bf16, watch=at_step)
        if trained is None:
            raise KeyboardInterrupt
        trained.save_pretrained(folder)
        replace_file(folder / "done", b"")
    # Read back even if it is new: its weights lie otherwise in memory, and the last bit of a latent would differ.
    library: Any = diffusers
    known = library.AutoencoderKL.from_pretrained(folder, local_files_only=True, use_safetensors=True)
    return known.eval().requires_grad_(requires_grad=False)


def train_autoencoder(
    images_NCHW: Tensor,
    config: AutoencoderConfig,
    *,
    seed: int,
    bf16: bool,
    watch: Callable[[int, int, dict[str, float]], bool] = lambda step, num_steps, losses: True,
) -> Any:
    """Learn pictures; mean absolute error, and a little KL.

    Args:
        images_NCHW: (N, 3, H, W) uint8.
        config: Options.
        seed: Of weights and order.
        bf16: Work in bf16.
        watch: Called after each step with its number, that of all, and the losses; what is False ends it.

    Returns:
        The autoencoder, its latents of mean 0 and deviation 1 by ``scaling_factor`` and ``shift_factor``; None where
        ``watch`` has ended it.
    """
    torch.manual_seed(seed)
    module = build(config, images_NCHW.shape[-1]).to(memory_format=torch.channels_last)
    options = config.optimizer
    optimizer = adam(list(module.parameters()), options)
    random = torch.Generator().manual_seed(seed)
    per_epoch = math.ceil(len(images_NCHW) / BATCH)
    num_steps, step = config.epochs * per_epoch, 0
    for _ in range(config.epochs):
        for rows in torch.randperm(len(images_NCHW), generator=random).split(BATCH):  # type: ignore[no-untyped-call]
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(options, step, num_steps)
            image_BCHW = images_NCHW[rows].float() / 127.5 - 1
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                posterior = module.encode(image_BCHW).latent_dist
                seen_BCHW = module.decode(posterior.sample(generator=random)).sample
            losses = {
                "l1": functional.l1_loss(seen_BCHW.float(), image_BCHW),
                "kl": config.kl * posterior.kl().mean() / posterior.mean[0].numel(),
            }
            optimizer.zero_grad(set_to_none=True)
            torch.stack(list(losses.values())).sum().backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            step += 1
            if not watch(step, num_steps, {name: float(value.detach()) for name, value in losses.items()}):
                return None
    module.eval().requires_grad_(requires_grad=False)
    latents_MCHW = encode_all(module, images_NCHW[torch.randperm(len(images_NCHW), generator=random)[:_SAMPLE]])
    module.register_to_config(
        scaling_factor=float(1 / latents_MCHW.float().std()), shift_factor=float(latents_MCHW.float().mean())
    )
    return module


@torch.inference_mode()
def encode_all(autoencoder: Any, images_NCHW: Tensor) -> Tensor:
    """Means of the latents (N, C, H/2, W/2), float16 and as the autoencoder has them, of pictures as uint8."""
    return torch.cat(
        [
            autoencoder.encode(image_BCHW.float() / 127.5 - 1).latent_dist.mean.half()
            for image_BCHW in images_NCHW.split(BATCH)  # type: ignore[no-untyped-call]
        ]
    )
