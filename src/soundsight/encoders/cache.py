"""Embeddings that were computed before are read instead, found by what was heard and what heard it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from soundsight.audio import Clip
from soundsight.encoders.array import parse_npy, to_npy
from soundsight.encoders.embedding import Embedding, Encoder
from soundsight.errors import OutputError
from soundsight.files import check_writable, replace_file

__all__ = ["Cached", "key_of", "load_cached"]

# Four hours, the longest sound that is read, are 15,000 tokens of VGGish: 7.7 MB.
MAX_FILE_BYTES = 256 << 20
_SUFFIX = ".embedding"
_DIGEST_BYTES = hashlib.sha256().digest_size


class Cached:
    """An encoder with a memory: the same embeddings, the second time from a folder.

    Each embedding is a file, written when it is ready, so that a kill loses at most one. A file that is damaged, cut
    short or of another size is computed and written again. Several encoders can share a folder.

    Args:
        encoder: What hears.
        folder: Where the files go; it is made.

    Raises:
        OutputError: The folder cannot be written to.
    """

    def __init__(self, encoder: Encoder, folder: Path) -> None:
        check_writable(folder)
        self._encoder, self._folder = encoder, folder
        self.name, self.size, self.sample_rate_hz = encoder.name, encoder.size, encoder.sample_rate_hz
        self.identity = encoder.identity

    def encode(self, clips: Sequence[Clip]) -> list[Embedding]:
        """An embedding of each clip, as the encoder's own.

        Raises:
            ModelError: The weights give numbers that are not finite.
            OutputError: What was computed cannot be written.
        """
        return [self._encode(clip) for clip in clips]

    def _encode(self, clip: Clip) -> Embedding:
        key = key_of(clip, self.identity)
        # Two levels, as folders of many thousand files are slow in places.
        path = self._folder / key[:2] / f"{key[2:]}{_SUFFIX}"
        if (known := _read(path, self.size)) is not None:
            return known
        (embedding,) = self._encoder.encode([clip])
        rows_LD = np.concatenate([embedding.tokens_LD, embedding.pooled_D[None]])  # (L + 1, D)
        data = to_npy(rows_LD)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            replace_file(path, hashlib.sha256(data).digest() + data)
        except OSError as error:
            raise OutputError(f"{path}: the embedding cannot be saved ({error.strerror})") from error
        return embedding


def load_cached(load: Callable[[], Encoder], folder: Path) -> Cached:
    """The encoder that ``load`` makes, with a memory in ``folder``.

    Raises:
        OutputError: The folder cannot be written to.
        As ``load``.
    """
    return Cached(load(), folder)


def key_of(clip: Clip, identity: str) -> str:
    """SHA-256, in hexadecimal digits, of a clip's samples, their rate, and the identity of what hears them."""
    key = hashlib.sha256(f"{identity} {clip.sample_rate_hz} {len(clip.samples)}\n".encode())
    key.update(np.ascontiguousarray(clip.samples, np.dtype("<f4")).data)
    return key.hexdigest()


def _read(path: Path, size: int) -> Embedding | None:
    """The embedding in a file, or None if there is none that is whole."""
    with suppress(OSError, ValueError):
        if path.stat().st_size > MAX_FILE_BYTES:
            return None
        stored = path.read_bytes()
        digest, data = stored[:_DIGEST_BYTES], stored[_DIGEST_BYTES:]
        if hashlib.sha256(data).digest() != digest:
            return None
        rows_LD = parse_npy(data)
        if rows_LD.ndim == 2 and len(rows_LD) >= 2 and rows_LD.shape[1] == size and np.isfinite(rows_LD).all():
            rows_LD = rows_LD.astype(np.float32)  # a copy, that can be written to
            return Embedding(rows_LD[:-1], rows_LD[-1])
    return None
