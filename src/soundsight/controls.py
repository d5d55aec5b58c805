"""What may be turned when pictures are made: guidance, steps, variation and style."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict, cast

import numpy as np
from numpy.typing import NDArray

from soundsight.errors import SoundsightError

if TYPE_CHECKING:
    from soundsight.manifest import ModelFolder

__all__ = ["MAX_GUIDANCE", "MAX_STEPS", "MAX_VARIATION", "Controls", "check", "check_whole", "inputs_of"]

MAX_GUIDANCE, MAX_STEPS, MAX_VARIATION = 20.0, 200, 2.0


class Controls(TypedDict, total=False):
    """Keywords of the pipeline; what is left out is as the model was made.

    - ``guidance``: how much the picture insists on what was heard, 0 to 20. 0 paints anything, 1 is the model's own
      answer, more is surer and less varied. It doubles the work where it is not 1.
    - ``steps``: steps from noise to picture, 1 to 200.
    - ``variation``: how far from the middle of all handwritings, 0 to 2: 0 is always the same picture for a sound.
    - ``style``: file of a picture whose handwriting is taken: the first picture's exactly, the others' nearly.
    """

    guidance: float
    steps: int
    variation: float
    style: str | Path


_RANGES = {"guidance": MAX_GUIDANCE, "variation": MAX_VARIATION}
# The network's inputs that a control needs.
_NEEDS = {"guidance": {"weights"}, "steps": {"times"}, "style": {"times", "given", "share"}}


def check(asked: Mapping[str, object], inputs: frozenset[str], folder: ModelFolder) -> Controls:
    """What was asked for, as it came; refuses what is out of range or what a model does not have.

    Args:
        asked: Keywords of a caller.
        inputs: The optional inputs that the model's network has.
        folder: The model.

    Raises:
        TypeError: No such control.
        SoundsightError: A number is out of range, or the model cannot do this.
    """
    for name, value in asked.items():
        if name not in Controls.__annotations__:
            raise TypeError(f"there is no control {name!r}; known: {', '.join(Controls.__annotations__)}")
        if name == "steps":
            check_whole("steps", value, 1, MAX_STEPS)
        elif name == "style":
            if not isinstance(value, str | Path):
                raise SoundsightError(f"style is {value!r}; expected the file of a picture")
        else:
            _check_number(name, value, _RANGES[name])
        if not _NEEDS.get(name, set()) <= inputs:
            raise SoundsightError(f"the model '{folder.name}' has no {name}: it draws a picture at once")
        if name == "variation" and not folder.latent_size:
            raise SoundsightError(f"the model '{folder.name}' has no variation: one sound, one picture")
    return cast(Controls, dict(asked))


def check_whole(name: str, value: object, low: int, high: int) -> None:
    """Refuse what is no whole number in a range.

    Raises:
        SoundsightError: The value is not.
    """
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or not low <= int(value) <= high:
        raise SoundsightError(f"{name} is {value!r}; expected a whole number from {low} to {high}")


def _check_number(name: str, value: object, highest: float) -> None:
    is_number = isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
    if not is_number or math.isnan(float(value)) or not 0 <= float(value) <= highest:  # type: ignore[arg-type]
        raise SoundsightError(f"{name} is {value!r}; expected a number from 0 to {highest:g}")


def inputs_of(asked: Controls) -> dict[str, NDArray[np.float32]]:
    """The network's inputs for what ``check`` has let through; ``variation`` and ``style`` are about the noise."""
    inputs = {}
    if "steps" in asked:
        inputs["times"] = np.linspace(1, 0, asked["steps"] + 1, dtype=np.float32)
    if "guidance" in asked:
        guidance = float(asked["guidance"])
        inputs["weights"] = np.array([1.0] if guidance == 1 else [guidance, 1 - guidance], np.float32)
    return inputs
