"""What ``soundsight train sd3-cifar10 --dry-run`` says."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor

from soundsight.training.autoencoder import BATCH, build, train_autoencoder
from soundsight.training.backbone import Run, load_pictures
from soundsight.training.backbone_recipe import BackboneRecipe

__all__ = ["plan_backbone"]


def plan_backbone(
    recipe: BackboneRecipe, root: Path | None = None, *, warn: Callable[[str], None] = lambda line: None
) -> str:
    """What ``--dry-run`` prints: the resolved recipe, sizes, steps, and the time of a few real ones.

    Args:
        recipe: The experiment.
        root: As for ``train_backbone``.
        warn: The same.

    Raises:
        SoundsightError: As training would.
    """
    info, images_NCHW, labels_N, targets = load_pictures(recipe, root)
    if targets.unread:
        warn(targets.unread)
    autoencoder = build(recipe.autoencoder, images_NCHW.shape[-1]).eval()
    batch = recipe.train.batch_size
    with TemporaryDirectory() as folder:
        run = Run(recipe, Path(folder), autoencoder, images_NCHW[:batch], labels_N[:batch], targets.parts["pooled"])
        run.advance()
        began_s = time.perf_counter()
        for _ in range(3):
            run.advance()
        step_s = (time.perf_counter() - began_s) / 3
    before_s = _autoencoder_step_s(recipe, images_NCHW)
    num_before = recipe.autoencoder.epochs * math.ceil(len(labels_N) / BATCH)
    num_steps = recipe.train.epochs * math.ceil(len(labels_N) / batch)
    parameters = (sum(parameter.numel() for parameter in module.parameters()) for module in (run.module, autoencoder))
    return (
        f"{json.dumps(recipe.model_dump(mode='json'), indent=2)}\n\n"
        f"parameters {next(parameters):,}, and {next(parameters):,} of the autoencoder\n"
        f"{len(labels_N):,} pictures of {info.title}\n"
        f"told {targets.parts['pooled'].shape[1]} numbers of {targets.name}: {targets.prompts[0]}, …\n"
        f"{num_before:,} steps of {BATCH} for the autoencoder in {recipe.autoencoder.epochs} epochs, "
        f"then {num_steps:,} of {batch} in {recipe.train.epochs}\n"
        f"about {before_s * num_before / 3600:.1f} h and {step_s * num_steps / 3600:.1f} h on this machine "
        f"({before_s:.2f} and {step_s:.2f} s a step, measured)"
    )


def _autoencoder_step_s(recipe: BackboneRecipe, images_NCHW: Tensor) -> float:
    """Seconds that a step of the autoencoder takes here, the first of three not counted."""
    ends_s: list[float] = []

    def at_step(step: int, num_steps: int, losses: dict[str, float]) -> bool:
        ends_s.append(time.perf_counter())
        return True

    three_NCHW = images_NCHW[torch.arange(3 * BATCH) % len(images_NCHW)]
    once = recipe.autoencoder.model_copy(update={"epochs": 1})
    train_autoencoder(three_NCHW, once, seed=recipe.train.seed, bf16=recipe.train.precision == "bf16", watch=at_step)
    return (ends_s[2] - ends_s[0]) / 2
