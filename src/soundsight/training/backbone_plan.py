"""What ``soundsight train sd3-cifar10 --dry-run`` says."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from soundsight.training.autoencoder import build
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
    num_steps = recipe.train.epochs * math.ceil(len(labels_N) / batch)
    parameters = (sum(parameter.numel() for parameter in module.parameters()) for module in (run.module, autoencoder))
    return (
        f"{json.dumps(recipe.model_dump(mode='json'), indent=2)}\n\n"
        f"parameters {next(parameters):,}, and {next(parameters):,} of the autoencoder\n"
        f"{len(labels_N):,} pictures of {info.title}\n"
        f"told {targets.parts['pooled'].shape[1]} numbers of {targets.name}: {targets.prompts[0]}, …\n"
        f"{num_steps:,} steps of {batch} in {recipe.train.epochs} epochs, behind the autoencoder's "
        f"{recipe.autoencoder.epochs}\n"
        f"about {step_s * num_steps / 3600:.1f} h on this machine ({step_s:.2f} s a step, measured), and the "
        "autoencoder's minutes"
    )
