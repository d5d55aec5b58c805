"""One shard as WebDataset has it, written from start to end: the same embeddings give the same bytes, everywhere."""

from __future__ import annotations

import hashlib
import json
import os
import tarfile
from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from soundsight.encoders.array import to_npy
from soundsight.errors import OutputError

__all__ = ["Shard", "num_bytes", "shard_bytes", "write_shard"]

Float32 = NDArray[np.float32]


class Shard:
    """A shard that is being written; ``write_shard`` makes it.

    Attributes:
        num_recordings: Added so far.
        num_tokens: In all their embeddings.
        num_bytes: Written so far.
    """

    def __init__(self, file: BinaryIO) -> None:
        self.num_recordings = self.num_tokens = self.num_bytes = 0
        self._file, self._content = file, hashlib.sha256()

    @property
    def sha256(self) -> str:
        """Of what was written, in hexadecimal digits."""
        return self._content.hexdigest()

    def add(self, key: str, tokens_LD: Float32, facts: Mapping[str, Any]) -> None:
        """Add a recording.

        Args:
            key: Its name, as ``records.key_of`` makes it.
            tokens_LD: (L, D) float32.
            facts: What goes into ``KEY.json``; JSON's values.
        """
        assert tokens_LD.ndim == 2
        assert tokens_LD.dtype == np.float32
        for name, data in ((f"{key}.json", _to_json(facts)), (f"{key}.npy", to_npy(tokens_LD))):
            self._write(_head(name, len(data)))
            self._write(data + bytes(-len(data) % tarfile.BLOCKSIZE))
        self.num_recordings += 1
        self.num_tokens += len(tokens_LD)

    def close(self) -> None:
        """End the archive: two blocks of zeros, and more to a whole record."""
        self._write(bytes(shard_bytes(self.num_bytes) - self.num_bytes))

    def _write(self, data: bytes) -> None:
        self._file.write(data)
        self._content.update(data)
        self.num_bytes += len(data)


@contextmanager
def write_shard(path: Path) -> Generator[Shard, None, None]:
    """A shard to add recordings to; at the end it gets its name, if nothing was raised, and else it is gone.

    Raises:
        OutputError: It cannot be written.
    """
    # The process' number keeps two processes apart.
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            shard = Shard(file)
            yield shard
            shard.close()
        temporary.replace(path)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror})") from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def num_bytes(key: str, shape: tuple[int, int], facts: Mapping[str, Any]) -> int:
    """What a recording takes in a shard, exactly, if its embedding has that shape (L, D)."""
    header = len(to_npy(np.zeros((0, shape[1]), np.float32)))  # that of any L: NumPy leaves room for its digits
    sizes = {f"{key}.json": len(_to_json(facts)), f"{key}.npy": header + 4 * shape[0] * shape[1]}
    return sum(len(_head(name, size)) + size + -size % tarfile.BLOCKSIZE for name, size in sizes.items())


def shard_bytes(content: int) -> int:
    """Size of a shard whose recordings take so many bytes."""
    ended = content + 2 * tarfile.BLOCKSIZE
    return ended + -ended % tarfile.RECORDSIZE


def _head(name: str, size: int) -> bytes:
    """A plain file of nobody, from 1970: nothing in it tells where and when it was written."""
    member = tarfile.TarInfo(name)
    member.size, member.mode = size, 0o644
    return member.tobuf(tarfile.PAX_FORMAT, "utf-8", "strict")


def _to_json(facts: Mapping[str, Any]) -> bytes:
    return json.dumps(facts, sort_keys=True, allow_nan=False).encode()
