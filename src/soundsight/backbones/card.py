"""What a backbone that was trained here says of itself, in ``card.json`` beside the files of ``diffusers``."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from soundsight.texts.diffusion.weights import read_json

__all__ = ["CARD", "Words", "words_of"]

CARD = "card.json"


class Words(NamedTuple):
    """The text encoder that said what the pictures show: its name, and its SHA-256 in hexadecimal digits."""

    name: str
    identity: str


def words_of(folder: Path) -> Words | None:
    """Whose words a backbone was taught, where its folder says so; others bring their text encoders with them.

    Raises:
        ModelError: The card is damaged.
    """
    path = folder / CARD
    said = read_json(path).get("text_encoder") if path.is_file() else None
    if not isinstance(said, dict) or not all(isinstance(said.get(key), str) for key in Words._fields):
        return None
    return Words(said["name"], said["identity"])
