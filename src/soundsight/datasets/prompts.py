"""Prompts for classes, from a template: «an image of a dog» in as many words as a data set has classes."""

from __future__ import annotations

from collections.abc import Sequence
from string import Formatter

from soundsight.errors import RecipeError

__all__ = ["class_prompts"]

_FIELD = "label"
_MAX_CHARACTERS = 1000


def class_prompts(template: str, classes: Sequence[str]) -> tuple[str, ...]:
    """The prompt of each class; underscores in its name become spaces.

    Args:
        template: With ``{label}`` once, where the name goes.
        classes: Names.

    Raises:
        RecipeError: The template has no ``{label}`` or another field, or is too long.

    >>> class_prompts("an image of {label}", ["dog", "chirping_birds"])
    ('an image of dog', 'an image of chirping birds')
    """
    shown = repr(template) if len(template) <= 80 else f"{template[:79]!r}…"
    if len(template) > _MAX_CHARACTERS:
        raise RecipeError(
            f"the template {shown} has {len(template):,} characters; at most {_MAX_CHARACTERS:,} are read"
        )
    try:
        fields = [(name, form, way) for _, name, form, way in Formatter().parse(template) if name is not None]
    except ValueError as error:
        raise RecipeError(f"the template {shown} cannot be read ({error}); expected {{{_FIELD}}} in it once") from error
    # No attributes, no indices, no formats: a template fills in a name and does nothing else.
    if fields != [(_FIELD, "", None)]:
        raise RecipeError(f"the template {shown} must have {{{_FIELD}}} in it once and no other field")
    return tuple(template.format(label=name.replace("_", " ")) for name in classes)
