"""Keep C libraries from writing to the terminal behind Python's back."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["quiet_libraries"]


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Send what goes to file descriptor 2 nowhere, but not what Python writes to ``sys.stderr``.

    The MP3 decoder inside libsndfile reports each damaged frame there, with file and line of its own source. What it
    finds reaches us as an error, too, and is told once and in our words.
    """
    original = sys.stderr
    try:
        saved = os.dup(2)
    except OSError:  # there is no stderr
        yield
        return
    is_ours = _writes_to(original, 2)
    try:
        original.flush()
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 2)
        os.close(nowhere)
        if is_ours:
            sys.stderr = os.fdopen(
                saved, "w", buffering=1, encoding=original.encoding, errors="backslashreplace", closefd=False
            )
        yield
    finally:
        if is_ours:
            sys.stderr.flush()
            sys.stderr = original
        os.dup2(saved, 2)
        os.close(saved)


def _writes_to(stream: object, descriptor: int) -> bool:
    """Whether a text stream ends in that file descriptor (a test's, or a notebook's, may not)."""
    try:
        return stream.fileno() == descriptor  # type: ignore[attr-defined, no-any-return]
    except (AttributeError, OSError, ValueError):
        return False
