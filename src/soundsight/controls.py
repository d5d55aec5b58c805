"""What may be turned when pictures are made: guidance, steps, variation, style, and what text-to-image models have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, cast

import numpy as np
from numpy.typing import NDArray

from soundsight import noise, picture
from soundsight.errors import SoundsightError

if TYPE_CHECKING:
    from soundsight.manifest import ImageShape, ModelFolder

__all__ = [
    "MAX_GUIDANCE",
    "MAX_NUM_IMAGES",
    "MAX_STEPS",
    "MAX_VARIATION",
    "OF_BACKBONES",
    "Controls",
    "check",
    "check_numbers",
    "check_whole",
    "inputs_of",
    "told",
]

MAX_NUM_IMAGES = 1000
# Bytes of the pictures of one sound: 1,000 of 28 by 28 scaled to 512 pixels just fit.
_MAX_VALUES = 1 << 28
MAX_GUIDANCE, MAX_STEPS, MAX_VARIATION = 20.0, 200, 2.0


class Controls(TypedDict, total=False):
    """Keywords of the pipeline; what is left out is as the model was made.

    - ``guidance``: how much the picture insists on what was heard, 0 to 20. 0 paints anything, 1 is the model's own
      answer, more is surer and less varied. It doubles the work where it is not 1.
    - ``steps``: steps from noise to picture, 1 to 200.
    - ``variation``: how far from the middle of all handwritings, 0 to 2: 0 is always the same picture for a sound.
    - ``style``: file of a picture whose handwriting is taken: the first picture's exactly, the others' nearly.

    Of adapters with a text-to-image model, beside ``guidance`` and ``steps``:

    - ``prompt``: a text beside the sound, and ``text_share``, how much it counts where both speak, 0 to 1.
    - ``negative``: a text that says what not to paint.
    - ``follow_loudness``: guidance by how loud the sound is.
    - ``then``: a sound that takes over, and the share of the steps before it does, 0 to 1.
    - ``places``: sounds, each with its place in the picture: left, right, top, bottom, centre or four edges, 0 to 1.
    """

    guidance: float
    steps: int
    variation: float
    style: str | Path
    prompt: str
    text_share: float
    negative: str
    follow_loudness: bool
    then: tuple[Any, float]
    places: Sequence[tuple[Any, str | tuple[float, float, float, float]]]


_RANGES = {"guidance": MAX_GUIDANCE, "variation": MAX_VARIATION, "text_share": 1.0}
_MAX_TEXT = 10_000
# Those that a text-to-image model alone has; it has a use for the inputs of these names.
OF_BACKBONES = frozenset(("prompt", "text_share", "negative", "follow_loudness", "then", "places"))
# The network's inputs that a control needs.
_NEEDS = {"guidance": {"weights"}, "steps": {"times"}, "style": {"times", "given", "share"}} | {
    name: {name} for name in OF_BACKBONES
}


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
        _check_value(name, value)
        if not _NEEDS.get(name, set()) <= inputs:
            why = "no text-to-image model paints for it" if name in OF_BACKBONES else "it draws a picture at once"
            raise SoundsightError(f"the model '{folder.name}' has no {name}: {why}")
        if name == "variation" and not folder.latent_size:
            raise SoundsightError(f"the model '{folder.name}' has no variation: one sound, one picture")
    return cast(Controls, dict(asked))


def _check_value(name: str, value: object) -> None:
    if name == "steps":
        check_whole("steps", value, 1, MAX_STEPS)
    elif name == "style":
        if not isinstance(value, str | Path) or not str(value):
            raise SoundsightError(f"style is {value!r:.60}; expected the file of a picture")
    elif name in ("prompt", "negative"):
        if not isinstance(value, str) or len(value) > _MAX_TEXT:
            raise SoundsightError(f"{name} is {value!r:.60}; expected a text of at most {_MAX_TEXT:,} characters")
    elif name in ("then", "places"):
        pairs = [value] if name == "then" else value
        if not isinstance(pairs, list | tuple) or not all(isinstance(p, list | tuple) and len(p) == 2 for p in pairs):
            wanted = "a sound and a share" if name == "then" else "pairs of a sound and its place"
            raise SoundsightError(f"{name} is {value!r:.60}; expected {wanted}")
        if name == "then":
            _check_number("the share of the first sound", pairs[0][1], 1.0)
    elif name in _RANGES:
        _check_number(name, value, _RANGES[name])


def check_whole(name: str, value: object, low: int, high: int) -> None:
    """Refuse what is no whole number in a range.

    Raises:
        SoundsightError: The value is not.
    """
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or not low <= int(value) <= high:
        raise SoundsightError(f"{name} is {value!r:.60}; expected a whole number from {low} to {high}")


def check_numbers(num_images: int, seed: int, size: int | None, shape: ImageShape) -> None:
    """Refuse numbers that are out of range, and more pictures than fit into memory.

    Raises:
        SoundsightError: One is, or they are.
    """
    check_whole("num_images", num_images, 1, MAX_NUM_IMAGES)
    check_whole("seed", seed, 0, noise.MAX_SEED)
    if size is not None:
        check_whole("size", size, picture.MIN_SIZE, picture.MAX_SIZE)
    side = int(size or max(shape.height, shape.width))
    if int(num_images) * shape.channels * side**2 > _MAX_VALUES:
        raise SoundsightError(f"{num_images} pictures of {side} pixels at once need too much memory; ask for fewer")


def _check_number(name: str, value: object, highest: float) -> None:
    is_number = isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
    if not is_number or not 0 <= value <= highest:  # type: ignore[operator] # NaN is in no range
        raise SoundsightError(f"{name} is {value!r:.60}; expected a number from 0 to {highest:g}")


def told(asked: Mapping[str, Any]) -> dict[str, str | float]:
    """What was turned, as it is kept with a picture: numbers and texts, of a style the name of its file."""
    plain = {name: value for name, value in asked.items() if isinstance(value, str | int | float | np.number)}
    plain |= {"style": Path(asked["style"]).name} if "style" in asked else {}
    return {name: value.item() if isinstance(value, np.number) else value for name, value in plain.items()}


def inputs_of(asked: Controls) -> dict[str, NDArray[np.float32]]:
    """The network's inputs for what ``check`` has let through; ``variation`` and ``style`` are about the noise."""
    inputs = {}
    if "steps" in asked:
        inputs["times"] = np.linspace(1, 0, asked["steps"] + 1, dtype=np.float32)
    if "guidance" in asked:
        guidance = float(asked["guidance"])
        inputs["weights"] = np.array([1.0] if guidance == 1 else [guidance, 1 - guidance], np.float32)
    return inputs
