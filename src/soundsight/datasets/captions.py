"""What a recording is said to show: one prompt for each of its labels, from a template."""

from __future__ import annotations

import string
from collections.abc import Sequence

from soundsight.errors import DatasetError

__all__ = ["TEMPLATE", "prompts_of"]

TEMPLATE = "an image of {label}"
"""As V2D (2025) has it."""
_MAX_CHARACTERS = 1000


def prompts_of(template: str, labels: Sequence[str]) -> tuple[str, ...]:
    """A prompt for each label; underscores in a label become spaces.

    Args:
        template: Text with ``{label}`` in it, and with no other field.
        labels: Names of classes.

    Raises:
        DatasetError: The template has no ``{label}``, another field, or a brace that is none; or it is too long.

    >>> prompts_of("an image of {label}", ["dog", "sea_waves"])
    ('an image of dog', 'an image of sea waves')
    """
    if len(template) > _MAX_CHARACTERS:
        raise DatasetError(f"template {template!r:.80}: {len(template):,} characters; {_MAX_CHARACTERS:,} are read")
    try:
        # No attributes, no indices, no formats: a template fills in a name and does nothing else.
        # Of each field its name, its format and its conversion; text without a field has None for its name.
        fields = {part[1:] for part in string.Formatter().parse(template) if part[1] is not None}
    except ValueError as error:
        raise DatasetError(f"template {template!r:.200}: {error}; a brace that is no field is written twice") from error
    if fields != {("label", "", None)}:
        raise DatasetError(f"template {template!r:.200}: expected the field {{label}}, as it is, and no other")
    return tuple(template.format(label=label.replace("_", " ")) for label in labels)
