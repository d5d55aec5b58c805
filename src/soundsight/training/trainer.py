"""The training loop: one plain function from a recipe to a model folder, resumable at any step."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from torch import Tensor, nn

from soundsight.config import Recipe
from soundsight.datasets.selection import num_labels
from soundsight.errors import RecipeError
from soundsight.files import alone
from soundsight.training.average import Average
from soundsight.training.claim import claim
from soundsight.training.data import TrainingData, check_shapes, stream
from soundsight.training.frozen import Frozen
from soundsight.training.interrupt import interruptible
from soundsight.training.journal import Journal
from soundsight.training.loading import load_calibration_data, load_training_data
from soundsight.training.loop import Progress, go_on
from soundsight.training.memory import keep_freed_memory
from soundsight.training.optimizer import adam, learning_rate
from soundsight.training.result import save_model
from soundsight.training.state import load_state, save_state
from soundsight.training.system import build_system, check_calibration, check_options, check_phases, total
from soundsight.training.teachers import teachers_of

__all__ = ["steps_per_epoch", "train"]

SHEET = (10, 8)
"""Rows (recordings, one per label) and columns (noise draws) of a sample grid."""


def train(
    recipe: Recipe,
    out: Path,
    *,
    resume: bool = False,
    root: Path | None = None,
    watch: Callable[[Progress], None] = lambda progress: None,
    stop_after: int | None = None,
) -> Path:
    """Train what ``recipe`` says and leave a model folder in ``out``.

    A run that is resumed, after a kill at any moment, ends with the very weights of an uninterrupted one: everything
    drawn at a step depends on the seed and the step alone.

    Args:
        recipe: The experiment.
        out: Model folder; training state lies in ``out/state``.
        resume: Go on from the saved state, if there is one.
        root: Folder of the data sets; by default where ``soundsight datasets`` puts them.
        watch: Called after every ``LOG_EVERY`` steps.
        stop_after: End after this many steps as if interrupted (for tests and timing).

    Returns:
        ``out``, with ``config.json`` and ``model.safetensors``.

    Raises:
        RecipeError: An option does not fit; the folder holds a training of another recipe, or one that ``resume`` was
            not given for.
        DatasetError: Data are absent, or voices cannot be spoken.
        ModelError: An alignment or a model with frozen parts cannot be read.
        OutputError: The folder cannot be written, or another process trains in it.
        KeyboardInterrupt: Interrupted; the state is saved.
    """
    keep_freed_memory()
    check_options(recipe.model)  # a mistake leaves no folder behind
    claim(out, recipe, resume)
    # The processes of one training share their folder; who is the first of them is known before Accelerate is asked.
    with alone(out, "trains in") if os.environ.get("RANK", "0") == "0" else nullcontext():
        run = _Run(recipe, out, resume, root)
        with interruptible() as interrupted:
            every = {"save_every": recipe.train.save_every, "sample_every": recipe.train.sample_every}
            go_on(run, interrupted, watch, **every, stop_after=stop_after)
        run.finish()
    return out


class _Run:
    """Everything that changes while a system is trained."""

    def __init__(self, recipe: Recipe, out: Path, resume: bool, root: Path | None) -> None:
        self.config, self.recipe, self.out = recipe.train, recipe, out
        self.accelerator = _accelerator(out)
        set_seed(recipe.train.seed)
        self.module, self.system = build_system(recipe.model, num_labels(recipe.data))
        check_phases(self.system, recipe.train)
        check_calibration(self.module, recipe)
        self.frozen = Frozen(recipe, self.module)
        looks_ahead = bool(getattr(self.module, "looks_ahead", False))
        image_size = self.system.image_shape[2]
        data = load_training_data(recipe, self.system.latent_size, root, image_size=image_size, looks_ahead=looks_ahead)
        check_shapes(self.system, data)
        _check_batch(self.module, min(len(data), recipe.train.batch_size))
        # Now, not at the end: what cannot be spoken should not cost a training.
        self._calibration = load_calibration_data(recipe)
        # Small convolutions run up to twice as fast with the channels of a pixel side by side.
        self.module.to(self.accelerator.device)
        self.module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.data = data.to(self.accelerator.device)
        self.teachers = teachers_of(recipe, self.system.image_shape, self.accelerator.device)
        self.average = Average(self.module, recipe.train.ema) if recipe.train.ema else None
        follow: Any = getattr(self.module, "follow", None)
        if self.average is not None and follow is not None:
            follow(self.average.module)
        self.optimizers = {
            phase: adam(parameters, recipe.train.optimizer_of(phase))
            for phase, parameters in self.frozen.trained(self.system).items()
        }
        saved = load_state(out / "state", self.module, self.average, self.optimizers) if resume else None
        for name, weights in self._taught_by.items():
            if saved and saved.get("teachers", {}).get(name) != weights:
                raise RecipeError(f"{out} was begun with another model in '{name}.model'; take that one")
        if saved and saved.get("frozen", {}) != self.frozen.facts:
            raise RecipeError(f"{out} was begun with another model in 'frozen.model'; take that one")
        self.step = int(saved["step"]) if saved else 0
        self._seconds = float(saved["seconds"]) if saved else 0.0
        self.steps_per_epoch = steps_per_epoch(len(data), recipe.train.batch_size)
        self.num_steps = recipe.train.epochs * self.steps_per_epoch
        self._journal = Journal(out, self.step)
        self._order: tuple[int, Tensor] | None = None
        self._sums: dict[str, Tensor] = {}
        self._logged, self._tick = self.step, time.perf_counter()
        self._clock = self._tick
        self.frozen.train_rest(self.module)

    @property
    def epoch(self) -> int:
        """The epoch that the last step belonged to, from 1."""
        return math.ceil(self.step / self.steps_per_epoch)

    @property
    def at_epoch_end(self) -> bool:
        """Whether the last step was the last of its epoch."""
        return self.step % self.steps_per_epoch == 0

    @property
    def best_module(self) -> nn.Module:
        """The weights worth keeping: the average where there is one."""
        return self.average.module if self.average else self.module

    def advance(self) -> None:
        """One batch, one optimiser step of every phase."""
        batch = self._share(self.data.batch(self._rows(), self.step))
        # What a system draws itself (dropout) depends on step and process, not on what ran before.
        own = self.step * self.accelerator.num_processes + self.accelerator.process_index
        torch.manual_seed(int(stream(self.config.seed, "dropout", own).integers(2**63)))
        losses = self._step(batch)
        self.step += 1
        if self.average is not None:
            self.average.update(self.module, self.step)
        for name, value in losses.items():
            self._sums[name] = self._sums[name] + value if name in self._sums else value

    def _step(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """One optimiser step of every phase; returns the named losses, detached."""
        named: dict[str, Tensor] = {}
        for phase, optimizer in self.optimizers.items():
            options = self.config.optimizer_of(phase)
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(options, self.step, self.num_steps)
            optimizer.zero_grad(set_to_none=True)
            # Accelerate's own mixed precision would be one for all trainings of a process.
            bf16 = self.config.precision == "bf16"
            with torch.autocast(self.accelerator.device.type, torch.bfloat16, enabled=bf16):
                losses = self.system.losses(phase, batch, self.step)
                if phase == self.system.phases[-1]:
                    losses = losses | {name: teacher(batch) for name, teacher in self.teachers.items()}
                loss = total(losses)
            self.accelerator.backward(loss)
            _average_gradients(self.accelerator, self.system.parameters_of(phase))
            optimizer.step()
            prefix = f"{phase}." if len(self.optimizers) > 1 else ""
            named |= {prefix + name: value.detach() for name, value in losses.items()}
        return named

    def _rows(self) -> Tensor:
        """Pairs of the next batch."""
        epoch, place = divmod(self.step, self.steps_per_epoch)
        if self._order is None or self._order[0] != epoch:
            self._order = (epoch, self.data.order(epoch))
        size = self.config.batch_size
        last = place + 1 == self.steps_per_epoch
        return self._order[1][place * size : None if last else (place + 1) * size]

    def _share(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """This process's part of a batch, cut after all was drawn: noise does not depend on the number of processes."""
        first, every = self.accelerator.process_index, self.accelerator.num_processes
        return {name: value[first::every] for name, value in batch.items()} if every > 1 else batch

    def log(self) -> Progress:
        """Write the mean losses since the last line."""
        steps = max(self.step - self._logged, 1)
        means = {name: float(value) / steps for name, value in self._sums.items()}
        now = time.perf_counter()
        rate = steps * self.config.batch_size / (now - self._tick)
        self._sums, self._logged, self._tick = {}, self.step, now
        _check_finite(means, self.step)
        if self.accelerator.is_main_process:
            self._journal.write(step=self.step, epoch=self.epoch, samples_per_s=round(rate, 1), **means)
        self.accelerator.log(means, step=self.step)
        return Progress(self.step, self.num_steps, self.epoch, means)

    @property
    def seconds(self) -> float:
        """Time spent on steps, over all resumptions."""
        return self._seconds + time.perf_counter() - self._clock

    @property
    def _taught_by(self) -> dict[str, dict[str, str]]:
        return {name: teacher.weights for name, teacher in self.teachers.items()}

    def save(self) -> None:
        """Save the state to resume from."""
        if self.accelerator.is_main_process:
            progress = {
                "step": self.step,
                "seconds": self.seconds,
                "teachers": self._taught_by,
                "frozen": self.frozen.facts,
            }
            save_state(self.out / "state", self.module, self.average, self.optimizers, progress)

    def draw_samples(self) -> None:
        """Save a sheet of pictures, always of the same sounds and the same noise."""
        paints = self.system.latent_size or (self.recipe.data.pairs and hasattr(self.module, "generate"))
        if self.accelerator.is_main_process and paints:
            draw = _beside_real if self.recipe.data.pairs else _samples
            self._journal.picture(f"epoch-{self.epoch:04d}.png", draw(self.best_module, self.data))
            self.frozen.train_rest(self.module)

    def finish(self) -> None:
        """Write the model folder."""
        if self.accelerator.is_main_process:
            self._calibrate()
            facts = self.data.facts | self.frozen.facts
            save_model(
                self.out,
                self.recipe,
                self.best_module,
                self.system,
                facts,
                self.step,
                self.seconds,
                sources=self.frozen.sources,
            )
        # A process that ends while another still writes can take the whole group down with it.
        self.accelerator.wait_for_everyone()
        self.accelerator.end_training()

    def _calibrate(self) -> None:
        if self._calibration is not None:
            features_RFN, labels_R = (tensor.to(self.accelerator.device) for tensor in self._calibration)
            self.best_module.eval().calibrate(features_RFN, labels_R)  # type: ignore[operator]


def steps_per_epoch(num: int, batch_size: int) -> int:
    """Batches of an epoch; one that would be left alone goes with the batch before it.

    Batch normalisation has nothing to normalise by in a batch of one.

    >>> [steps_per_epoch(num, 32) for num in (1, 32, 33, 34)]
    [1, 1, 1, 2]
    """
    return max(1, math.ceil((num - 1) / batch_size)) if batch_size > 1 else num


def _average_gradients(accelerator: Accelerator, parameters: list[nn.Parameter]) -> None:
    """Give each gradient its mean over the processes.

    PyTorch's own wrapper expects one backward pass over all weights for each forward pass; adversaries have two.
    """
    if accelerator.num_processes > 1:
        for parameter in parameters:
            if parameter.grad is not None:
                parameter.grad = accelerator.reduce(parameter.grad, "mean")


def _check_batch(module: nn.Module, size: int) -> None:
    if size == 1 and any(isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d) for layer in module.modules()):
        raise RecipeError("a batch of one has no spread to normalise by; this model learns from two or more at a time")


def _accelerator(out: Path) -> Accelerator:
    accelerator = Accelerator(mixed_precision="no", log_with="tensorboard", project_dir=str(out))
    accelerator.init_trackers("tensorboard")
    return accelerator


def _check_finite(losses: dict[str, float], step: int) -> None:
    for name, value in losses.items():
        if not math.isfinite(value):
            raise RecipeError(f"the loss '{name}' became {value} by step {step}: try a lower learning rate")


@torch.no_grad()
def _samples(module: nn.Module, data: TrainingData) -> Any:
    """Pictures (rows, columns, C, H, W) of the first recording of each label, always with the same noise."""
    assert data.features_RKFN is not None
    assert data.sounds_P is not None
    labels_P = data.labels_N[data.images_P]
    pairs = [int(torch.nonzero(labels_P == label)[0]) for label in range(SHEET[0]) if bool((labels_P == label).any())]
    features_BFN = data.features_RKFN[data.sounds_P[pairs], 0].repeat_interleave(SHEET[1], dim=0)
    noise = stream(data.seed, "samples").standard_normal((SHEET[1], data.latent_size), dtype="float32")
    noise_BD = torch.from_numpy(noise).repeat(len(pairs), 1).to(features_BFN.device)
    pictures = module.eval().generate(features_BFN, noise_BD)  # type: ignore[operator]
    return pictures.float().unflatten(0, (len(pairs), SHEET[1])).cpu().numpy()


@torch.no_grad()
def _beside_real(module: nn.Module, data: TrainingData) -> Any:
    """Pictures (2, columns, C, H, W) of some training pairs: above the real ones, below those that are made."""
    assert data.features_RKFN is not None
    assert data.sounds_P is not None
    pairs = torch.linspace(0, len(data) - 1, SHEET[1]).long()
    noise = stream(data.seed, "samples").standard_normal((SHEET[1], data.latent_size), dtype="float32")
    features_BFN = data.features_RKFN[data.sounds_P[pairs], 0]
    made = module.eval().generate(features_BFN, torch.from_numpy(noise).to(features_BFN.device))  # type: ignore[operator]
    real = data.images_NCHW[data.images_P[pairs]].float() / 255
    return torch.stack([real, made.float()]).cpu().numpy()
