"""Options of a component that is chosen by name, as ``KEY=VALUE`` on the command line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from soundsight.errors import SoundsightError

__all__ = ["parse"]


def parse(option: str, texts: Sequence[str]) -> dict[str, Any]:
    """Options by name; values are TOML's, and a bare word needs no quotes, as for ``soundsight train --set``.

    Args:
        option: What it is called on the command line.
        texts: As they came.

    Raises:
        SoundsightError: One is no KEY=VALUE, or a key is given twice.
    """
    found: dict[str, Any] = {}
    for text in texts:
        from soundsight.config import value_of

        key, equals, value = text.partition("=")
        key = key.strip()
        if not equals or not key.isidentifier():
            raise SoundsightError(f"{option} takes KEY=VALUE, for example output=quantised; got {text!r:.100}")
        if key in found:
            raise SoundsightError(f"{option} {text}: '{key}' is given twice")
        found[key] = value_of(value)
    return found
