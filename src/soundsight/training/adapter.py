"""Training of adapters: embeddings in memory, a small loop, a model folder.

Who hears is frozen and was run before; who paints is frozen and not needed. A training takes seconds, so that it is not
resumed: one that is interrupted leaves no model.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from soundsight.errors import OutputError, RecipeError
from soundsight.files import replace_file
from soundsight.folder import check_free
from soundsight.training.adapter_data import Heard, Targets
from soundsight.training.adapter_recipe import AdapterRecipe, AdapterTrainConfig
from soundsight.training.adapter_result import save_adapter
from soundsight.training.adapter_system import build, load_data, losses_of, taught
from soundsight.training.average import Average
from soundsight.training.interrupt import interruptible
from soundsight.training.journal import Journal
from soundsight.training.loop import Progress
from soundsight.training.optimizer import adam, learning_rate

__all__ = ["plan_adapter", "train_adapter"]


def train_adapter(
    recipe: AdapterRecipe,
    out: Path,
    *,
    root: Path | None = None,
    watch: Callable[[Progress], None] = lambda progress: None,
    warn: Callable[[str], None] = lambda line: None,
    stop_after: int | None = None,
) -> Path:
    """Train what ``recipe`` says and leave a model folder of the kind ``adapter`` in ``out``.

    Args:
        recipe: The experiment.
        out: Model folder; ``recipe.json`` and ``metrics.jsonl`` lie in it, too.
        root: Folder of the data sets; by default where ``soundsight datasets`` puts them.
        watch: Called after every epoch.
        warn: Told of prompts that are too long to be read whole.
        stop_after: End after this many steps as if interrupted (for tests).

    Returns:
        ``out``, with ``config.json`` and ``model.safetensors``.

    Raises:
        RecipeError: The folder holds a training already, or the recipe does not fit its data or targets.
        DatasetError: Embeddings are absent or damaged, a fold is not there, a class has no recording.
        ModelError: The text encoder cannot be read.
        OutputError: The folder cannot be written.
        KeyboardInterrupt: Interrupted; there is no model.
    """
    _check_unused(out)
    heard, targets = load_data(recipe, root)
    if targets.unread:
        warn(targets.unread)
    run = _Run(recipe, *taught(recipe, heard, targets))
    _claim(out, recipe)
    journal, began_s = Journal(out, 0), time.perf_counter()
    with interruptible() as interrupted:
        while run.step < run.num_steps:
            if interrupted.is_set() or run.step == stop_after:
                raise KeyboardInterrupt
            run.advance()
            if run.step % run.steps_per_epoch == 0:
                losses = run.mean_losses()
                journal.write(step=run.step, epoch=run.epoch, **losses)
                watch(Progress(run.step, run.num_steps, run.epoch, losses))
    seconds = time.perf_counter() - began_s
    save_adapter(out, recipe, run.best_module, heard, targets, steps=run.step, seconds=seconds)
    return out


def plan_adapter(
    recipe: AdapterRecipe, root: Path | None = None, *, warn: Callable[[str], None] = lambda line: None
) -> str:
    """What ``--dry-run`` prints: the resolved recipe, sizes, steps, and the time of a few real ones.

    Args:
        recipe: The experiment.
        root: As for ``train_adapter``.
        warn: The same.

    Raises:
        SoundsightError: As training would.
    """
    heard, targets = load_data(recipe, root)
    if targets.unread:
        warn(targets.unread)
    test = heard.of_folds(recipe.data.test_folds)
    train, targets = taught(recipe, heard, targets)
    run = _Run(recipe, train, targets)
    run.advance()
    began_s = time.perf_counter()
    for _ in range(min(5, run.num_steps - 1)):
        run.advance()
    step_s = (time.perf_counter() - began_s) / max(1, run.step - 1)
    said = ", ".join(f"{name} {' x '.join(map(str, part.shape[1:]))}" for name, part in targets.parts.items())
    return (
        f"{json.dumps(recipe.model_dump(mode='json'), indent=2)}\n\n"
        f"parameters {sum(parameter.numel() for parameter in run.module.parameters()):,}\n"
        f"embeddings of {recipe.encoder.name}, {heard.pooled_ND.shape[1]} wide: "
        f"{len(train):,} train, {len(test):,} test\n"
        f"targets of {targets.name}: {len(targets.prompts)} prompts ({targets.prompts[0]}, …), {said}\n"
        f"{run.num_steps:,} steps of {recipe.train.batch_size} in {recipe.train.epochs} epochs\n"
        f"about {step_s * run.num_steps:.0f} s on this machine ({step_s * 1000:.1f} ms a step, measured)"
    )


class _Run:
    """Everything that changes while an adapter is trained."""

    def __init__(self, recipe: AdapterRecipe, heard: Heard, targets: Targets) -> None:
        self.config: AdapterTrainConfig = recipe.train
        self.heard, self.targets = heard, targets
        torch.manual_seed(self.config.seed)
        self.module: nn.Module = build(recipe, heard, targets)
        fit: Any = self.module.fit
        # Each class once: as many numbers as there are, and no more than a text encoder has said.
        fit(heard.tokens_NLD, heard.pooled_ND, targets.parts)
        self.average = Average(self.module, self.config.ema) if self.config.ema else None
        self.optimizer = adam([p for p in self.module.parameters() if p.requires_grad], self.config.optimizer)
        # Beside PyTorch's own stream, which dropout draws from: what is drawn here does not depend on the network.
        self.random = torch.Generator().manual_seed(self.config.seed)
        self.shares = np.random.Generator(np.random.Philox(self.config.seed))
        # Of noise, on whole sounds and on their tokens alike.
        self.scale_D = heard.pooled_ND.std(dim=0, correction=0)
        self.step, self.steps_per_epoch = 0, math.ceil(len(heard) / self.config.batch_size)
        self.num_steps = self.config.epochs * self.steps_per_epoch
        self._order = torch.empty(0, dtype=torch.int64)
        self._sums: dict[str, float] = {}

    @property
    def epoch(self) -> int:
        """The epoch that the last step belonged to, from 1."""
        return math.ceil(self.step / self.steps_per_epoch)

    @property
    def best_module(self) -> nn.Module:
        """The weights worth keeping: the average where there is one."""
        return self.average.module if self.average else self.module.eval()

    def advance(self) -> None:
        """One batch, one step of the optimiser."""
        tokens_BLD, pooled_BD, wanted_BC = self._batch()
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.config.optimizer, self.step, self.num_steps)
        self.module.train()
        losses = losses_of(self.module(tokens_BLD, pooled_BD), self.targets, wanted_BC, self.config.losses)
        self.optimizer.zero_grad(set_to_none=True)
        torch.stack(list(losses.values())).sum().backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        self.step += 1
        if self.average is not None:
            self.average.update(self.module, self.step)
        for name, value in losses.items():
            self._sums[name] = self._sums.get(name, 0.0) + float(value.detach())

    def mean_losses(self) -> dict[str, float]:
        """Mean losses of the last epoch.

        Raises:
            RecipeError: One of them is no number.
        """
        means = {name: value / self.steps_per_epoch for name, value in self._sums.items()}
        self._sums = {}
        for name, value in means.items():
            if not math.isfinite(value):
                raise RecipeError(f"the loss '{name}' became {value} by step {self.step}: try a lower learning rate")
        return means

    def _batch(self) -> tuple[Tensor, Tensor, Tensor]:
        """Tokens (B, L, D), whole sounds (B, D) and shares of the classes (B, C), changed as the recipe says."""
        place = self.step % self.steps_per_epoch
        if place == 0:
            self._order = torch.randperm(len(self.heard), generator=self.random)
        rows = self._order[place * self.config.batch_size :][: self.config.batch_size]
        tokens_BLD, pooled_BD = self.heard.tokens_NLD[rows], self.heard.pooled_ND[rows]
        wanted_BC = self.heard.shares(rows.tolist())
        if self.config.mixup:
            share_B1 = torch.from_numpy(self.shares.beta(self.config.mixup, self.config.mixup, (len(rows), 1))).float()
            other = torch.randperm(len(rows), generator=self.random)
            tokens_BLD = torch.lerp(tokens_BLD[other], tokens_BLD, share_B1[..., None])
            pooled_BD = torch.lerp(pooled_BD[other], pooled_BD, share_B1)
            wanted_BC = torch.lerp(wanted_BC[other], wanted_BC, share_B1)
        if self.config.noise:
            noise_D = self.config.noise * self.scale_D
            tokens_BLD = tokens_BLD + noise_D * torch.randn(tokens_BLD.shape, generator=self.random)
            pooled_BD = pooled_BD + noise_D * torch.randn(pooled_BD.shape, generator=self.random)
        return tokens_BLD, pooled_BD, wanted_BC


def _check_unused(out: Path) -> None:
    """Refuse a folder that holds a model, before anything is read."""
    if (out / "config.json").is_file() or (out / "state").is_dir():
        raise RecipeError(f"{out} holds a training already: choose another --out")
    check_free(out, {"model.safetensors"})


def _claim(out: Path, recipe: AdapterRecipe) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
        replace_file(out / "recipe.json", (json.dumps(recipe.model_dump(mode="json"), indent=2) + "\n").encode())
    except OSError as error:
        raise OutputError(f"cannot write to {out}: {error.strerror}") from error
