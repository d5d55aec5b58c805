"""What the libraries of others say, kept to one line where it matters and away where it does not."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

__all__ = ["line", "quiet"]


@contextmanager
def quiet(*others: str) -> Iterator[None]:
    """Without the progress bars and reports of ``transformers``; what matters in them is told as an error.

    Args:
        others: Further libraries with the same logging, such as ``diffusers``.
    """
    loggers: list[Any] = [import_module(name).utils.logging for name in ("transformers", *others)]
    levels, shows_bar = [logging.get_verbosity() for logging in loggers], loggers[0].is_progress_bar_enabled()
    for logging in loggers:
        logging.set_verbosity_error()
    loggers[0].disable_progress_bar()
    try:
        with warnings.catch_warnings():
            # What one library tells another to do differently by its next release.
            for category in (DeprecationWarning, FutureWarning):
                warnings.simplefilter("ignore", category)
            yield
    finally:
        for logging, level in zip(loggers, levels, strict=True):
            logging.set_verbosity(level)
        if shows_bar:
            loggers[0].enable_progress_bar()


def line(error: BaseException) -> str:
    """What an error of somebody else says, on one line of bearable length."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 200 else text[:199] + "…"
