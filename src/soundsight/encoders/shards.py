"""Embeddings in shards as WebDataset has them: tar archives of ``KEY.npy`` and ``KEY.json``, read from start to end."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from soundsight.encoders.array import parse_npy
from soundsight.encoders.stored import MAX_BYTES, Stored, tokens_of
from soundsight.errors import DatasetError

__all__ = ["Record", "read_shards", "records"]

Float32 = NDArray[np.float32]

MAX_ARRAY_BYTES = 64 << 20
MAX_FACTS_BYTES = 1 << 20
_ARRAY, _FACTS = "npy", "json"
_LIMITS = {_ARRAY: MAX_ARRAY_BYTES, _FACTS: MAX_FACTS_BYTES}


class Record(NamedTuple):
    """What a shard has of one recording.

    Attributes:
        key: The name that its members share, up to the first dot.
        tokens_LD: (L, D) float32, finite; L is 1 where the member is (D,).
        facts: What ``KEY.json`` says of it; empty if there is none.
    """

    key: str
    tokens_LD: Float32
    facts: dict[str, Any]


def read_shards(paths: Sequence[Path]) -> Stored:
    """All embeddings of some shards.

    Args:
        paths: The shards; which of them a recording is in does not matter.

    Raises:
        DatasetError: As for ``records``; or a recording is in them twice, widths or encoders differ, or there are none.
    """
    tokens: dict[str, Float32] = {}
    facts: dict[str, dict[str, Any]] = {}
    num_bytes, size, maker = 0, None, None
    for path in paths:
        for record in records(path):
            if record.key in tokens:
                raise DatasetError(f"{path}: {record.key!r:.200} is there twice, in it or in an earlier shard")
            size = record.tokens_LD.shape[1] if size is None else size
            if record.tokens_LD.shape[1] != size:
                raise DatasetError(
                    f"{path}: the embedding of {record.key!r:.200} has {record.tokens_LD.shape[1]} numbers; "
                    f"expected {size}, as the others have"
                )
            said = record.facts.get("encoder"), record.facts.get("identity")
            maker = maker or (said if any(said) else None)  # shards of others may not say it
            if maker is not None and any(said) and said != maker:
                raise DatasetError(
                    f"{path}: {record.key!r:.200} was embedded by {said[0]!r:.60} ({str(said[1])[:12]}), others by "
                    f"{maker[0]!r:.60} ({str(maker[1])[:12]}); shards of one encoder are wanted"
                )
            num_bytes += record.tokens_LD.nbytes
            if num_bytes > MAX_BYTES:
                raise DatasetError(f"{path}: the shards hold more than {MAX_BYTES >> 30} GiB, the most that is read")
            tokens[record.key], facts[record.key] = record.tokens_LD, record.facts
    what = str(paths[0]) if len(paths) == 1 else f"{len(paths)} shards"
    if not tokens:
        raise DatasetError(f"{what}: no embeddings; expected tar archives with KEY.npy for each recording")
    return Stored(tokens, what, facts)


def records(path: Path) -> Iterator[Record]:
    """The recordings of a shard, in the order in which they are in it.

    Members with other endings than ``npy`` and ``json`` are passed over; nothing is written anywhere.

    Raises:
        DatasetError: No tar archive, damaged or compressed; a member whose name leads elsewhere, that is a link, a
            device or too large, no array (L, D) or (D,), or holds NaN; a recording without an array.
    """
    key, found = "", dict[str, bytes]()
    for name, ending, data in _members(path):
        if name != key and found:
            yield _record(path, key, found)
            found = {}
        if ending in found:
            raise DatasetError(f"{path}: holds '{name}.{ending}' twice")
        key, found[ending] = name, data
    if found:
        yield _record(path, key, found)


def _members(path: Path) -> Iterator[tuple[str, str, bytes]]:
    """Key, ending and content of the members that count."""
    try:
        if not path.is_file():
            raise DatasetError(f"{path}: there is no such file")
        # As a stream, without compression: what is read is no larger than the file.
        with path.open("rb") as file, tarfile.open(fileobj=file, mode="r|") as tar:
            for member in tar:
                if member.isdir():
                    _check_name(path, member.name)
                    continue
                key, ending = _check_member(path, member)
                if ending not in _LIMITS:
                    continue
                source = tar.extractfile(member)
                assert source is not None, "a plain file has content"
                yield key, ending, source.read()
    except (tarfile.TarError, OSError, EOFError) as error:
        raise DatasetError(f"{path}: not a tar archive, or damaged: {error}") from error


def _check_name(path: Path, name: str) -> None:
    # Backslash and colon separate folders and drives on Windows.
    if name.startswith("/") or ".." in PurePosixPath(name).parts or any(c in name for c in "\\:\0"):
        raise DatasetError(f"{path}: holds {name!r:.200}, which leads out of its folder; not read")


def _check_member(path: Path, member: tarfile.TarInfo) -> tuple[str, str]:
    """Key and ending of a member that is safe to read: split at the first dot behind the last slash."""
    _check_name(path, member.name)
    if not member.isreg() or member.issparse():
        raise DatasetError(f"{path}: holds {member.name!r:.200}, which is a link, a device or sparse; not read")
    place = PurePosixPath(member.name)
    base, _, ending = place.name.partition(".")
    ending = ending.lower()
    if ending in _LIMITS and member.size > _LIMITS[ending]:
        raise DatasetError(f"{path}: {member.name!r:.200} is larger than {_LIMITS[ending] >> 20} MiB; not read")
    return str(place.with_name(base)) if base else member.name, ending


def _record(path: Path, key: str, found: dict[str, bytes]) -> Record:
    if _ARRAY not in found:
        raise DatasetError(f"{path}: {key!r:.200} has no {_ARRAY}; expected the members of a recording side by side")
    try:
        array = parse_npy(found[_ARRAY])
    except ValueError as error:
        raise DatasetError(f"{path}: the array of {key!r:.200} is damaged: {error}") from error
    if array.ndim not in (1, 2) or 0 in array.shape:
        raise DatasetError(f"{path}: the array of {key!r:.200} is {array.shape}; expected (L, D) or (D,)")
    (tokens_LD,) = tokens_of(array.reshape(1, -1, array.shape[-1]), [key], str(path))
    return Record(key, tokens_LD, _facts(path, key, found.get(_FACTS, b"{}")))


def _facts(path: Path, key: str, text: bytes) -> dict[str, Any]:
    try:
        facts = json.loads(text)
        json.dumps(facts, ensure_ascii=False).encode()  # half a character is nothing that a text encoder reads
    except (ValueError, RecursionError) as error:
        raise DatasetError(f"{path}: the JSON of {key!r:.200} is damaged: {error}") from error
    if not isinstance(facts, dict):
        raise DatasetError(f"{path}: the JSON of {key!r:.200} is no object")
    return facts
