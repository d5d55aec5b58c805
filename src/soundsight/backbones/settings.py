"""What may be asked of a backbone, checked before anything is painted."""

from __future__ import annotations

from soundsight.errors import SoundsightError
from soundsight.noise import MAX_SEED

__all__ = ["check_settings", "sides_of"]

MAX_IMAGES, MAX_STEPS, MAX_GUIDANCE, MAX_SIDE = 1000, 1000, 100.0, 4096


def check_settings(num_images: int, seed: int, steps: int, guidance: float, share: float, prompt: str) -> None:
    """Refuse numbers out of range, and a share of a text that is not there.

    Raises:
        SoundsightError: One is.
    """
    for name, value, low, high in (
        ("num_images", num_images, 1, MAX_IMAGES),
        ("seed", seed, 0, MAX_SEED),
        ("steps", steps, 1, MAX_STEPS),
    ):
        if not isinstance(value, int) or not low <= value <= high:
            raise SoundsightError(f"{name} is {value!r}; expected a whole number from {low} to {high}")
    for name, number, most in (("guidance", guidance, MAX_GUIDANCE), ("share", share, 1.0)):
        if not 0 <= number <= most:  # not so for NaN, either
            raise SoundsightError(f"{name} is {number!r}; expected a number from 0 to {most:g}")
    if share > 0 and not prompt:
        raise SoundsightError(f"a share of {share:g} for the text needs a text; name a prompt")


def sides_of(size: int | tuple[int, int], step: int, most: int | None, name: str) -> tuple[int, int]:
    """Height and width in pixels.

    Args:
        size: One for both, or both.
        step: Both are multiples of it.
        most: What the backbone can paint; None where it does not say.
        name: The backbone's, for the message.

    Raises:
        SoundsightError: They are not.
    """
    sides = (size, size) if isinstance(size, int) else tuple(size)
    most = min(MAX_SIDE, most or MAX_SIDE)
    if len(sides) != 2 or not all(isinstance(side, int) and step <= side <= most for side in sides):
        raise SoundsightError(f"size is {size!r}; {name} paints sides of {step} to {most} pixels, multiples of {step}")
    if any(side % step for side in sides):
        raise SoundsightError(f"size is {size!r}; {name} paints sides that are multiples of {step}, up to {most}")
    return sides[0], sides[1]
