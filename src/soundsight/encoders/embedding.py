"""What every encoder gives, and what every encoder is."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from soundsight.audio import Clip

__all__ = ["Embedding", "Encoder", "identity_of", "pool"]

Float32 = NDArray[np.float32]

_UNIT = 1e-3


@dataclass(frozen=True, slots=True, eq=False)
class Embedding:
    """What an encoder makes of one sound.

    Attributes:
        tokens_LD: (L, D) float32, finite, from the sound's start to its end; L is at least 1.
        pooled_D: (D,) float32, the whole sound in one vector.
    """

    tokens_LD: Float32
    pooled_D: Float32

    def __post_init__(self) -> None:
        assert self.tokens_LD.dtype == self.pooled_D.dtype == np.float32
        assert self.tokens_LD.ndim == 2
        assert len(self.tokens_LD) >= 1
        assert self.pooled_D.shape == self.tokens_LD.shape[1:]


class Encoder(Protocol):
    """A frozen network that hears."""

    @property
    def name(self) -> str:
        """Its module's name."""

    @property
    def size(self) -> int:
        """Width D of its embeddings."""

    @property
    def sample_rate_hz(self) -> int:
        """Rate the clips must have."""

    @property
    def identity(self) -> str:
        """A SHA-256 in hexadecimal digits, of all that its embeddings depend on: weights and options.

        Two encoders that agree in it give the same embeddings, so that they can share a cache; an adapter that was
        trained on another identity does not understand these embeddings.
        """

    def encode(self, clips: Sequence[Clip]) -> list[Embedding]:
        """An embedding of each clip; a clip's neighbours change nothing in it, to the bit.

        Raises:
            ModelError: The weights give numbers that are not finite.
        """


def pool(tokens_LD: Float32) -> Float32:
    """The whole sound in one vector (D,) from its tokens (L, D): their mean.

    Where all of them have length 1, as CLAP's, so has their mean: a long sound is to be no fainter than a short one.
    It is a rule about tokens alone, so that shards, which hold no more than these, say what the encoder says.
    """
    mean_D: Float32 = tokens_LD.mean(axis=0)
    lengths_L = np.linalg.norm(tokens_LD, axis=1)
    if len(tokens_LD) == 1 or np.abs(lengths_L - 1).max() > _UNIT:  # one token is what the encoder said, to the bit
        return mean_D
    return np.asarray(mean_D / max(np.linalg.norm(mean_D), np.finfo(np.float32).tiny), np.float32)


def identity_of(options: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> str:
    """SHA-256 of options and named arrays, in whatever order they are given.

    Args:
        options: Anything that JSON has words for.
        arrays: The weights; their types and shapes count, too.

    Returns:
        64 hexadecimal digits.
    """
    content = hashlib.sha256(json.dumps(options, sort_keys=True, allow_nan=False).encode())
    for name, array in sorted(arrays.items()):
        content.update(f"\n{name} {array.dtype.str} {array.shape}\n".encode())
        content.update(np.ascontiguousarray(array).data)
    return content.hexdigest()
