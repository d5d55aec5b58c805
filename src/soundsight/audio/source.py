"""What a sound is read from: a regular file, bytes, or a stream, opened so that nothing can block or be endless."""

from __future__ import annotations

import io
import os
import stat
from pathlib import Path
from typing import BinaryIO

from soundsight.audio.clip import printable
from soundsight.errors import AudioError

__all__ = ["MAX_STREAM_BYTES", "Memory", "Source", "open_source"]

# Bytes taken from a stream, which is read whole; a file on disk may be larger, as it is read in blocks.
MAX_STREAM_BYTES = 2 * 1024**3

# Either can seek; the first has a file descriptor that libsndfile reads without a detour through Python.
Source = io.FileIO | io.BytesIO


class Memory(io.BytesIO):
    """Bytes to read, where any seek succeeds.

    A damaged header may send libsndfile to before their start. There io.BytesIO raises an error, inside libsndfile's
    callback, which Python prints and nobody can catch.
    """

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """Go to a position, or to the start where it lies before that."""
        base = (0, self.tell(), self.getbuffer().nbytes)[whence]
        return super().seek(max(0, base + offset))


def open_source(source: str | Path | bytes | BinaryIO, kind: str = "sound") -> tuple[Source, str]:
    """Open a source for reading.

    Args:
        source: A path to a regular file, the bytes of one, or a binary stream, which is read to its end.
        kind: What it is expected to be, for messages.

    Returns:
        The open source, at its start, and its name for messages.

    Raises:
        AudioError: It does not exist, may not be read, is a folder, a pipe or a device, is empty, or too large.
    """
    if isinstance(source, (str, os.PathLike)):
        path = Path(source)
        name = printable(str(path))
        return _open_file(path, name, kind), name
    if isinstance(source, (bytes, bytearray, memoryview)):
        data, name = bytes(source), "the given bytes"
    elif hasattr(source, "read"):
        name = _stream_name(source)
        data = _read_stream(source, name)
    else:
        raise AudioError(f"a {kind} cannot be read from {type(source).__name__!r}; expected a path, bytes or a stream")
    if not data:
        raise AudioError(f"{name}: empty, 0 bytes; expected a {kind}")
    return Memory(data), name


def _open_file(path: Path, name: str, kind: str) -> io.FileIO:
    try:
        # Looked at before it is opened: opening a pipe would wait for its other end.
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            if stat.S_ISDIR(status.st_mode):
                raise AudioError(f"{name}: a folder; expected a {kind} file")
            hint = " ('generate -' reads standard input)" if kind == "sound" else ""
            raise AudioError(f"{name}: a pipe or a device; expected a {kind} file{hint}")
        if status.st_size == 0:
            raise AudioError(f"{name}: empty, 0 bytes; expected a {kind}")
        return io.FileIO(path)
    except OSError as error:
        raise AudioError(f"{name}: cannot be read: {error.strerror or error}") from error
    except ValueError as error:  # a NUL character in the name
        raise AudioError(f"{name}: no possible file name: {error}") from error


def _stream_name(stream: BinaryIO) -> str:
    name = getattr(stream, "name", None)
    return "standard input" if name == "<stdin>" else printable(name) if isinstance(name, str) else "the stream"


def _read_stream(stream: BinaryIO, name: str) -> bytes:
    """All that is left in a stream, in pieces, so that a stream without an end stops at the limit."""
    pieces: list[bytes] = []
    size = 0
    try:
        while piece := stream.read(min(1 << 20, MAX_STREAM_BYTES + 1 - size)):
            if not isinstance(piece, bytes):
                raise AudioError(f"{name}: gives {type(piece).__name__}; expected bytes, open it in binary mode ('rb')")
            pieces.append(piece)
            size += len(piece)
            if size > MAX_STREAM_BYTES:
                limit_gib = MAX_STREAM_BYTES / 1024**3
                raise AudioError(f"{name}: more than {limit_gib:g} GiB, the most a stream may hold; give it as a file")
    except (OSError, ValueError) as error:  # ValueError: the stream is closed, or holds no valid text
        raise AudioError(f"{name}: cannot be read: {error}") from error
    return b"".join(pieces)
