"""What the options of every front end are checked for."""

from __future__ import annotations

import math

__all__ = ["check_positive", "check_whole"]


def check_whole(options: object, *names: str) -> None:
    """Refuse counts that are none.

    Args:
        options: A front end's ``Config``.
        names: Those of its fields that count something.

    Raises:
        ValueError: One of them is not a whole number of at least 1.
    """
    for name in names:
        value = getattr(options, name)
        if not isinstance(value, int) or value < 1:
            raise ValueError(f"{name} must be a whole number of at least 1, not {value!r}")


def check_positive(options: object, *names: str) -> None:
    """Refuse sizes that are none.

    Args:
        options: A front end's ``Config``.
        names: Those of its fields that are lengths or ranges.

    Raises:
        ValueError: One of them is not above 0 and finite.
    """
    for name in names:
        value = getattr(options, name)
        if not 0 < value < math.inf:
            raise ValueError(f"{name} must be above 0 and finite, not {value:g}")
