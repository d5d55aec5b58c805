"""Every error a user can cause, in one place.

A ``SoundsightError`` says what came, what was expected and what to do, in one line. The command line prints it
without a traceback and exits with code 2. Anything else that escapes is a bug of ours.
"""

from __future__ import annotations

__all__ = [
    "AudioError",
    "DatasetError",
    "ImageError",
    "MissingExtraError",
    "ModelError",
    "OutputError",
    "RecipeError",
    "SoundsightError",
    "TooLargeError",
    "UnknownNameError",
    "require",
]


class SoundsightError(Exception):
    """A mistake in what was given to soundsight, told in one line."""


class AudioError(SoundsightError):
    """A sound that cannot be read, or cannot be used: missing, damaged, empty, silent, too long."""


class ImageError(SoundsightError):
    """A picture that cannot be read, or cannot be used."""


class ModelError(SoundsightError):
    """A model folder that is not what it says it is: missing files, wrong hash, foreign format."""


class TooLargeError(ModelError):
    """Pictures for which this machine's memory is too small."""


class RecipeError(SoundsightError):
    """A recipe with an unknown key, or a value that does not fit."""


class DatasetError(SoundsightError):
    """A data set that is absent, incomplete or damaged."""


class OutputError(SoundsightError):
    """A result that cannot be written."""


class UnknownNameError(SoundsightError):
    """A name that no room of soundsight knows; the message lists the known ones."""


class MissingExtraError(SoundsightError):
    """A feature whose optional dependencies are not installed."""


def require(module: str, extra: str, purpose: str) -> None:
    """Check that an optional dependency is there, without importing it.

    Args:
        module: Top-level module to look for, for example ``"torch"``.
        extra: The extra of soundsight that brings it, for example ``"train"``.
        purpose: What the user wanted, as the start of a sentence: ``"training"``.

    Raises:
        MissingExtraError: The module is not installed.
    """
    from importlib.util import find_spec

    if find_spec(module) is None:
        raise MissingExtraError(f"{purpose} needs the extra '{extra}': pip install 'soundsight[{extra}]'")
