"""Options of ``soundsight generate`` for adapters with a text-to-image model: texts, and sounds in layers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from soundsight.errors import SoundsightError

__all__ = ["Asked", "options"]


@dataclass(frozen=True, slots=True)
class Asked:
    """What was asked for, as it came."""

    prompt: str | None
    text_share: float | None
    negative: str | None
    place: list[str]
    then: str | None
    follow_loudness: bool

    def controls(self) -> dict[str, Any]:
        """As keywords of the pipeline; None, or left out, where nothing was asked for.

        Raises:
            SoundsightError: A layer is not FILE@PLACE or FILE@SHARE.
        """
        found: dict[str, Any] = {"prompt": self.prompt, "text_share": self.text_share, "negative": self.negative}
        if self.place:
            found["places"] = [_divide(text, "--place", "dog.wav@left") for text in self.place]
        if self.then is not None:
            sound, share = _divide(self.then, "--then", "rain.wav@0.5")
            try:
                found["then"] = sound, float(share)
            except ValueError as error:
                raise SoundsightError(f"--then {self.then}: {share!r:.60} is no share, from 0 to 1") from error
        if self.follow_loudness:
            found["follow_loudness"] = True
        return found


def options(precision: str | None, offload: str | None, save_memory: bool, without: list[str]) -> dict[str, Any]:
    """How a backbone is loaded; empty where nothing was asked for."""
    found: dict[str, Any] = {"precision": precision, "offload": offload, "without": tuple(without) or None}
    found = {name: value for name, value in found.items() if value is not None}
    return found | dict.fromkeys(("attention_slicing", "vae_slicing", "vae_tiling"), True) if save_memory else found


def _divide(text: str, option: str, example: str) -> tuple[str, str]:
    """``dog.wav@left`` as a file and what is behind the last @."""
    sound, _, rest = text.rpartition("@")
    if not sound or not rest:
        raise SoundsightError(f"{option} {text!r:.100}: expected {example}")
    return sound, rest
