"""What a backbone that was trained here says of itself, in ``card.json`` beside the files of ``diffusers``."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from soundsight.errors import ModelError
from soundsight.texts.diffusion.weights import hashes_of, read_json

__all__ = ["CARD", "Words", "check_weights", "words_of"]

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


def check_weights(folder: Path) -> None:
    """Compare weights with the hashes in the card, where it has some; those of others have no card.

    Raises:
        ModelError: The card is damaged, or a file of weights is missing or not the one that was written.
    """
    path = folder / CARD
    expected = read_json(path).get("weights") if path.is_file() else None
    if not isinstance(expected, dict):
        return
    found = hashes_of(folder)
    if wrong := [name for name, digest in expected.items() if found.get(name) != digest]:
        raise ModelError(
            f"{folder}: {wrong[0]!r:.100} is missing, or not the file that {CARD} describes; take the folder from its "
            "source again"
        )
