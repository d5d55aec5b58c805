"""Embeddings that somebody computed earlier, each found by the name of its recording, never by its place.

Two forms: an array whose rows a list names, and shards as WebDataset has them, tar archives with a ``KEY.npy`` for each
recording. The published notebook of V2D (2025) paired rows in the order of a folder with captions in the order of a
list, so that 38 of 2,000 matched: an order that nobody named is an error that nobody sees.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from soundsight.encoders.array import parse_npy
from soundsight.encoders.embedding import Embedding, identity_of, pool
from soundsight.errors import DatasetError

__all__ = ["MAX_BYTES", "Stored", "key_of", "read_array", "tokens_of"]

Float32 = NDArray[np.float32]

MAX_BYTES = 8 << 30
MAX_LIST_BYTES = 256 << 20
_SOUNDS = frozenset(
    (".wav", ".flac", ".ogg", ".opus", ".mp3", ".aiff", ".aif", ".m4a", ".aac", ".mp4", ".mkv", ".mov", ".webm")
)


class Stored:
    """Embeddings by the names of their recordings.

    Args:
        tokens: Key to tokens (L, D), float32 and finite; D is the same for all.
        what: Where they come from, as messages call it.
        facts: Key to what is said of the recording there.
    """

    def __init__(
        self, tokens: dict[str, Float32], what: str, facts: Mapping[str, Mapping[str, Any]] = MappingProxyType({})
    ) -> None:
        assert tokens, "empty ones are refused where they are read"
        self._tokens, self._what, self.facts = tokens, what, facts
        self.size = next(iter(tokens.values())).shape[1]

    def __len__(self) -> int:
        return len(self._tokens)

    def __contains__(self, name: str) -> bool:
        return key_of(name) in self._tokens

    @property
    def keys(self) -> list[str]:
        """Of all recordings, as ``key_of`` makes them, in the order in which they were read."""
        return list(self._tokens)

    @cached_property
    def identity(self) -> str:
        """SHA-256 of all embeddings and their keys: what computed them is not known, and need not be."""
        return identity_of({"encoder": "stored"}, self._tokens)

    def find(self, name: str) -> Embedding:
        """The embedding of one recording; pooled as ``pool`` does.

        Args:
            name: Of its file, as the list or the shard has it; whether it is a WAV or a FLAC does not matter.

        Raises:
            DatasetError: There is none.
        """
        tokens_LD = self._tokens.get(key_of(name))
        if tokens_LD is None:
            raise DatasetError(f"{self._what}: no embedding of {name!r:.200}; expected one of each recording")
        return Embedding(tokens_LD, pool(tokens_LD))

    def pair(self, names: Sequence[str]) -> list[Embedding]:
        """The embeddings of all these recordings, in their order: not one too many, not one too few.

        Args:
            names: Of all files. To use some of them alone, ``find`` each.

        Raises:
            DatasetError: A recording is named twice or has no embedding, or an embedding has no recording.
        """
        keys = [key_of(name) for name in names]
        _refuse_twins(keys, "the recordings")
        if missing := [name for name, key in zip(names, keys, strict=True) if key not in self._tokens]:
            raise DatasetError(
                f"{self._what}: {len(missing)} of {len(names)} recordings have no embedding, {_some(missing)}"
            )
        if surplus := self._tokens.keys() - set(keys):
            raise DatasetError(
                f"{self._what}: {len(surplus)} of {len(self)} embeddings have no recording, {_some(sorted(surplus))}"
            )
        return [self.find(name) for name in names]


def key_of(name: str) -> str:
    """What a recording is known by: its name without the ending that tells its format.

    >>> key_of("1-100032-A-0.wav"), key_of("dogs/v1.2.flac"), key_of("v1.2")
    ('1-100032-A-0', 'dogs/v1.2', 'v1.2')
    """
    path = PurePosixPath(name)
    return str(path.with_suffix("") if path.suffix.lower() in _SOUNDS else path)


def read_array(array: Path, listing: Path, *, column: str = "filename") -> Stored:
    """Embeddings whose rows a list names: row i of the array is that of line i of the list.

    Args:
        array: ``.npy`` with (N, D) or (N, L, D) numbers.
        listing: CSV with a header, or ``.txt`` with a name on each line.
        column: Of the CSV, in which the names are.

    Raises:
        DatasetError: A file is absent, too large or damaged, holds something else, or NaN; the list has more or fewer
            names than the array has rows, or one of them twice.
    """
    names = _read_names(listing, column)
    rows = _read(array)
    if rows.ndim not in (2, 3) or 0 in rows.shape:
        raise DatasetError(f"{array}: shape {rows.shape}; expected (N, D) or (N, L, D)")
    if len(names) != len(rows):
        fault = f"{_some(names[len(rows) :])} without a row" if len(names) > len(rows) else "rows without a name"
        raise DatasetError(f"{array}: {len(rows)} rows, and {listing} names {len(names)}: {fault}")
    keys = [key_of(name) for name in names]
    _refuse_twins(keys, str(listing))
    tokens_NLD = tokens_of(rows.reshape(len(rows), -1, rows.shape[-1]), names, str(array))
    return Stored(dict(zip(keys, tokens_NLD, strict=True)), str(array))


def tokens_of(rows: NDArray[Any], names: Sequence[str], what: str) -> Float32:
    """Embeddings as float32, whatever numbers they were stored as.

    Args:
        rows: (N, L, D).
        names: Of the N recordings.
        what: Where they come from.

    Raises:
        DatasetError: One of them holds NaN, infinity or more than float32 can; the message names it.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        tokens_NLD = rows.astype(np.float32)
    for row in np.flatnonzero(~np.isfinite(tokens_NLD).all(axis=(1, 2)))[:1]:
        raise DatasetError(f"{what}: the embedding of {names[row]!r:.200} holds NaN or infinity")
    return tokens_NLD


def _read_names(path: Path, column: str) -> list[str]:
    _check_size(path, MAX_LIST_BYTES)
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            if path.suffix.lower() == ".txt":
                names = [line.rstrip("\r\n") for line in stream]
            else:
                reader = csv.DictReader(stream)
                if column not in (reader.fieldnames or ()):
                    known = ", ".join(reader.fieldnames or ()) or "none"
                    raise DatasetError(f"{path}: no column '{column}' to name the rows by; columns: {known:.200}")
                names = [line[column] or "" for line in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{path}: cannot be read: {error}") from error
    if "" in names:
        raise DatasetError(f"{path}: entry {names.index('') + 1} names no recording; expected a name for each row")
    return names


def _read(path: Path) -> NDArray[Any]:
    """The array in a file."""
    _check_size(path, MAX_BYTES)
    try:
        return parse_npy(path.read_bytes())
    except (OSError, ValueError) as error:
        raise DatasetError(f"{path}: not an array in NumPy's format, or damaged: {error}") from error


def _check_size(path: Path, max_bytes: int) -> None:
    try:
        if not path.is_file():
            raise DatasetError(f"{path}: there is no such file")
        if path.stat().st_size > max_bytes:
            raise DatasetError(f"{path}: larger than {max_bytes >> 20:,} MiB, the most that is read")
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({error.strerror})") from error


def _refuse_twins(keys: Iterable[str], what: str) -> None:
    if twins := [key for key, count in Counter(keys).items() if count > 1]:
        raise DatasetError(f"{what}: {_some(twins)} named twice; expected each once")


def _some(names: Sequence[str]) -> str:
    """The first of some names, and how many more there are."""
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return f"{names[0]!r:.200}{more}"
