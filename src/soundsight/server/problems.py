"""What goes wrong, as RFC 9457 has it: ``application/problem+json``, one line of detail, never a path or a trace."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from soundsight.audio.clip import printable
from soundsight.errors import (
    AudioError,
    MissingExtraError,
    ModelError,
    SoundsightError,
    TooLargeError,
    UnknownNameError,
)

__all__ = ["MEDIA_TYPE", "Problem", "problem_of"]

MEDIA_TYPE = "application/problem+json"


class Problem(Exception):  # noqa: N818 - RFC 9457 calls it so
    """An answer that says what is wrong.

    Args:
        status: Of HTTP.
        detail: One line: what came, what was expected, what to do.
        title: What kind of problem it is; the status's own phrase if None.
        headers: That go with it.
        errors: One ``field`` and ``detail`` for each option that is wrong.
    """

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        title: str | None = None,
        headers: Mapping[str, str] | None = None,
        errors: Sequence[Mapping[str, str]] = (),
    ) -> None:
        super().__init__(detail)
        self.status, self.detail = status, printable(" ".join(detail.split()))
        self.title = title or HTTPStatus(status).phrase
        self.headers = dict(headers or {})
        self.errors = [{name: printable(text) for name, text in error.items()} for error in errors]

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        told: dict[str, Any] = {
            "type": "about:blank",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
        }
        if "Retry-After" in self.headers:
            told["retry_after_s"] = int(self.headers["Retry-After"])
        return told | ({"errors": self.errors} if self.errors else {})

    def body(self) -> bytes:
        """The answer's body; what is no text in Unicode is escaped."""
        return json.dumps(self.to_json()).encode()


def problem_of(error: Exception) -> Problem:
    """What a caller is told of an error.

    A mistake in what was sent is told as it is; what is the server's own fault says so and nothing of the inside.
    """
    if isinstance(error, Problem):
        return error
    if isinstance(error, MissingExtraError):
        return Problem(415, str(error), title="Unsupported sound")
    if isinstance(error, AudioError):
        # The sender knows which one it was, and the sound has no other name here.
        told = re.sub("^(the given bytes|bytes|samples): ", "the sound: ", str(error))
        return Problem(422, told, title="Unusable sound")
    if isinstance(error, UnknownNameError):
        return Problem(422, str(error), title="Unknown name")
    if isinstance(error, TooLargeError):
        told = "such pictures are too large for this machine's memory; ask for smaller ones"
        return Problem(422, told, title="Unusable option")
    if isinstance(error, SoundsightError) and not isinstance(error, ModelError):
        return Problem(422, str(error), title="Unusable option")
    return Problem(500, "the server failed; the fault is not in what was sent")
