"""Embeddings that were computed before, in the place of the encoder that computed them: no weights are needed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path, PurePath
from typing import Any

from soundsight.encoders.embedding import Embedding
from soundsight.encoders.shards import read_shards
from soundsight.encoders.stored import Stored, read_array
from soundsight.errors import ModelError, SoundsightError

__all__ = ["Recalled", "is_recalled", "recall"]

# They are found by name; the sounds themselves are only read for their loudness.
_SAMPLE_RATE_HZ = 16_000


class Recalled:
    """What an encoder once said of some recordings; of others, nothing.

    Args:
        stored: The embeddings.
        name: Of the encoder that made them.
        identity: Its SHA-256, where it is known.
    """

    sample_rate_hz = _SAMPLE_RATE_HZ

    def __init__(self, stored: Stored, name: str, identity: str | None) -> None:
        self._stored, self.name, self.identity = stored, name, identity
        self.size = stored.size

    def find(self, sound: object) -> Embedding:
        """The embedding of a recording, by the name of its file; the folders that it is in may belong to the name.

        Args:
            sound: A path, or an open file that has one.

        Raises:
            SoundsightError: It has no name.
            DatasetError: There is none of that name.
        """
        path = sound if isinstance(sound, str | Path) else getattr(sound, "name", None)
        if not isinstance(path, str | Path):
            raise SoundsightError("embeddings that were computed before are found by the name of a file; name one")
        for name in _names(PurePath(path)):
            if name in self._stored:
                return self._stored.find(name)
        return self._stored.find(PurePath(path).name)


def is_recalled(weights: str | Path) -> bool:
    """Whether these are embeddings, and no weights: an array, a shard, or a folder of shards."""
    path = Path(weights)
    try:
        return path.suffix.lower() in (".npy", ".tar") or (path.is_dir() and any(path.glob("*.tar")))
    except OSError:  # too long for a path; whoever looks for weights says so
        return False


def recall(name: str, path: str | Path, options: Mapping[str, Any]) -> Recalled:
    """Embeddings from a file or a folder.

    Args:
        name: Of the encoder that is wanted.
        path: ``.npy``, a shard as ``soundsight datasets embed`` writes it, or a folder of these.
        options: For an array ``rows``, the list that names its rows, CSV or ``.txt``; and ``column``, in which the
            names are in a CSV, 'filename' by default.

    Raises:
        ModelError: Another encoder made them.
        SoundsightError: An array without ``rows``, or an option that there is not.
        DatasetError: A file is absent or damaged.
    """
    path = Path(path)
    if strange := sorted(options.keys() - {"rows", "column"}):
        raise SoundsightError(
            f"{path}: embeddings that were computed before have no option '{strange[0]}'; known: rows, column"
        )
    rows, column = options.get("rows"), str(options.get("column", "filename"))
    if path.suffix.lower() == ".npy":
        if rows is None:
            raise SoundsightError(
                f"{path}: an array does not say whose its rows are; add --encoder-set rows=LIST, a CSV with the column "
                "'filename' or a .txt with a name on each line"
            )
        return Recalled(read_array(path, Path(str(rows)), column=column), name, None)
    if rows is not None:
        raise SoundsightError(f"{path}: shards name their recordings themselves; leave rows={rows} out")
    stored = read_shards([path] if path.suffix.lower() == ".tar" else sorted(path.glob("*.tar")))
    facts = next(iter(stored.facts.values()))
    maker, identity = facts.get("encoder"), facts.get("identity")
    if maker not in (None, name):
        raise ModelError(f"{path}: embeddings of {maker!r:.60}, and '{name}' is wanted")
    return Recalled(stored, name, identity if isinstance(identity, str) else None)


def _names(path: PurePath) -> Iterator[str]:
    """With all its folders, then with fewer: ``a/b/c.wav``, ``b/c.wav``, ``c.wav``."""
    parts = path.parts
    for first in range(len(parts)):
        yield "/".join(parts[first:])
