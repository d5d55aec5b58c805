"""Texts: frozen networks that say what a prompt means, which adapters learn to say of a sound.

A component is a module with ``load(source, **options) -> TextEncoder``: a network that somebody else trained, from a
folder that the user has.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from soundsight import registry
from soundsight.conditioning import Conditioning
from soundsight.errors import require

__all__ = ["TextEncoder", "Unread", "load", "unread_end", "unread_line"]

# Of a word that is cut in two, so many characters before the cut are told with the rest of it.
_WORD = 30
# Characters of a long text that are shown.
_START = 60


class Unread(NamedTuple):
    """The end of a text that is too long.

    Attributes:
        part: Who does not read it: of a text-to-image model, the part of a ``Conditioning`` that it says.
        num_tokens: How many tokens are read.
        rest: The words that are lost.
    """

    part: str
    num_tokens: int
    rest: str


class TextEncoder(Protocol):
    """A frozen network that reads. It may have ``unread(prompt) -> list[Unread]``, which tells what it does not."""

    @property
    def name(self) -> str:
        """Its module's name."""

    @property
    def identity(self) -> str:
        """A SHA-256 in hexadecimal digits, of all that its answers depend on: weights and options."""

    def encode(self, prompts: Sequence[str]) -> Conditioning:
        """What it says of B prompts; a prompt's neighbours change nothing in it beyond float32's rounding."""


def load(name: str, source: str | Path, **options: Any) -> TextEncoder:
    """The text encoder of this name, ready to be used.

    Args:
        name: Of a module in this room, or of a plug-in.
        source: Its folder, or what else the module's ``load`` takes.
        options: What else the module's ``load`` takes.

    Raises:
        UnknownNameError: No such text encoder.
        MissingExtraError: PyTorch or ``transformers`` is not installed.
        ModelError: The folder is absent, or not what it should be.
    """
    component = registry.find("texts", name)
    for module in ("torch", "transformers", "safetensors"):
        require(module, "sd3", f"the text encoder '{name}'")
    encoder: TextEncoder = component.load(source, **options)
    return encoder


def unread_end(tokenizer: Any, text: str, num_tokens: int) -> str:
    """The words at the end of a text that have no place in what is read; nothing where it is read whole.

    Args:
        tokenizer: Of ``transformers``.
        text: The text.
        num_tokens: How many are read, marks of start and end among them.
    """
    cut = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    room = num_tokens - tokenizer.num_special_tokens_to_add(pair=False)
    if len(cut["input_ids"]) <= room:
        return ""
    start = int(cut["offset_mapping"][room][0])
    # A word of which the end is lost is lost.
    space = text.rfind(" ", 0, start) + 1
    return text[space if space > 0 and start - space <= _WORD else start :].strip()


def unread_line(encoder: Any, prompts: Sequence[str], what: str = "text") -> str:
    """One line about prompts that are too long for a text encoder; empty where it reads them whole.

    Args:
        encoder: A ``TextEncoder``.
        prompts: One or more.
        what: What a prompt is called.
    """
    read = getattr(encoder, "unread", None)
    found = {prompt: ends for prompt in prompts if (ends := read(prompt))} if read is not None else {}
    if not found:
        return ""
    prompt, ends = next(iter(found.items()))
    told: dict[tuple[int, str], list[str]] = {}
    for part, num_tokens, rest in ends:
        told.setdefault((num_tokens, rest), []).append(part)
    parts = (f"{' and '.join(who)} ({num} tokens) without {_both_ends(rest)}" for (num, rest), who in told.items())
    how = f"is read by {', by '.join(parts)}"
    start = repr(prompt if len(prompt) <= _START else f"{prompt[:_START]}…")
    if len(prompts) == 1:
        return f"the {what} {start} is too long, and {how}"
    return f"{len(found)} of {len(prompts)} {what}s are too long; {start} {how}"


def _both_ends(text: str) -> str:
    """A text in quotes, its middle left out where it is long."""
    return repr(text if len(text) <= 2 * _START else f"{text[:_START]} … {text[-_START:]}")
