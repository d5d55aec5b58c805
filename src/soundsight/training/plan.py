"""``--dry-run``: what a recipe would do, with a measured estimate of its time, before anything is trained."""

from __future__ import annotations

import json
import statistics
import time
from dataclasses import dataclass
from typing import Any

import torch

from soundsight.config import Augment, Recipe
from soundsight.datasets.selection import num_labels
from soundsight.models.layers import count_parameters
from soundsight.training.average import Average
from soundsight.training.data import check_shapes
from soundsight.training.frozen import Frozen
from soundsight.training.loading import load_training_data
from soundsight.training.memory import keep_freed_memory
from soundsight.training.system import build_system, check_calibration, check_phases, total
from soundsight.training.teachers import teachers_of
from soundsight.training.trainer import steps_per_epoch

__all__ = ["Plan", "plan"]

_PLACES, _WARM_STEPS, _TIMED_STEPS = 5, 1, 2


@dataclass(frozen=True, slots=True)
class Plan:
    """What a training would be.

    Attributes:
        recipe: Resolved.
        parameters: Of each part of the system, and ``all``.
        num_pairs: That train.
        num_steps: Of all epochs.
        step_s: Time of one, measured on this machine; the mean where steps change on the way.
    """

    recipe: Recipe
    parameters: dict[str, int]
    num_pairs: int
    num_steps: int
    step_s: float

    @property
    def text(self) -> str:
        """The recipe as JSON, and the rest in lines."""
        parts = "".join(f"  {name:<24}{count:>12,}\n" for name, count in self.parameters.items())
        train = self.recipe.train
        return (
            f"{json.dumps(self.recipe.model_dump(mode='json'), indent=2)}\n\n"
            f"parameters\n{parts}\n"
            f"pairs {self.num_pairs:,}, {self.num_steps:,} steps of {train.batch_size} in {train.epochs} epochs\n"
            f"about {_duration(self.step_s * self.num_steps)} on this machine "
            f"({self.step_s * 1000:.0f} ms a step, measured)"
        )

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {
            "recipe": self.recipe.model_dump(mode="json"),
            "parameters": self.parameters,
            "pairs": self.num_pairs,
            "steps": self.num_steps,
            "step_s": round(self.step_s, 6),
            "seconds": round(self.step_s * self.num_steps, 1),
        }


def plan(recipe: Recipe) -> Plan:
    """The resolved recipe, parameter counts, pairs, steps and estimated time.

    The time is that of real steps at a few places on this machine, without the preparation of augmented copies.

    Raises:
        DatasetError, ModelError, RecipeError, UnknownNameError: As training would.
    """
    keep_freed_memory()
    module, system = build_system(recipe.model, num_labels(recipe.data))
    check_phases(system, recipe.train)
    check_calibration(module, recipe)
    frozen = Frozen(recipe, module)
    # Copies and voices change no size of a step; leaving them out makes the answer quick.
    few = {"augment": Augment(), "voices": 0, "outliers": min(recipe.data.outliers, 2)}
    data_config = recipe.data.model_copy(update=few)
    quick = recipe.model_copy(update={"data": data_config})
    looks_ahead = bool(getattr(module, "looks_ahead", False))
    data = load_training_data(quick, system.latent_size, image_size=system.image_shape[2], looks_ahead=looks_ahead)
    check_shapes(system, data)
    teachers = teachers_of(recipe, system.image_shape, torch.device("cpu"))
    frozen.train_rest(module)
    average = Average(module, recipe.train.ema) if recipe.train.ema else None
    follow: Any = getattr(module, "follow", None)
    if average is not None and follow is not None:
        follow(average.module)
    optimizers = {p: torch.optim.AdamW(left, fused=True) for p, left in frozen.trained(system).items()}
    num_steps = recipe.train.epochs * steps_per_epoch(len(data), recipe.train.batch_size)
    times = []
    # Steps change on the way: what begins later is in no early one.
    for step in sorted(num_steps * (2 * k + 1) // (2 * _PLACES) for k in range(_PLACES)):
        for _ in range(_WARM_STEPS + _TIMED_STEPS):
            began = time.perf_counter()
            batch = data.batch(data.order(0)[: recipe.train.batch_size], step)
            for phase, optimizer in optimizers.items():
                with torch.autocast("cpu", torch.bfloat16, enabled=recipe.train.precision == "bf16"):
                    losses = system.losses(phase, batch, step)
                    if phase == system.phases[-1]:
                        losses = losses | {name: teacher(batch) for name, teacher in teachers.items()}
                    loss = total(losses)
                optimizer.zero_grad(set_to_none=True)
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
            if average is not None:
                average.update(module, step + 1)
            times.append(time.perf_counter() - began)
    each = _WARM_STEPS + _TIMED_STEPS
    step_s = statistics.mean(statistics.median(times[i + _WARM_STEPS : i + each]) for i in range(0, len(times), each))
    counts = {name: count_parameters(child) for name, child in module.named_children()}
    counts["all"] = count_parameters(module)
    return Plan(recipe, counts, len(data), num_steps, step_s)


def _duration(seconds: float) -> str:
    hours, rest = divmod(round(seconds), 3600)
    return f"{hours} h {rest // 60} min" if hours else f"{rest // 60} min {rest % 60} s"
