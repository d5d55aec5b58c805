"""Unpack a tar archive that may have been made to harm: only plain files, only below the folder, only so much."""

from __future__ import annotations

import gzip
import shutil
import tarfile
import zlib
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from soundsight.datasets.info import RemoteFile
from soundsight.errors import DatasetError

__all__ = ["STAGING", "unpack"]

# Everything is unpacked here first; what is in it was never complete.
STAGING = ".unpacking"
# Long names and other headers of a tar archive come on top of its files.
_HEADER_BYTES_PER_FILE = 4096


def unpack(archive: Path, folder: Path, file: RemoteFile) -> None:
    """Unpack a ``.tar`` or ``.tar.gz`` into a folder, replacing files of the same name and leaving the others.

    The archive is unpacked beside its destination and moved when it is complete, so that a kill or a bad archive leaves
    nothing half-written.

    Args:
        archive: The archive.
        folder: Its destination.
        file: Its limits, and how many leading folders to strip.

    Raises:
        DatasetError: Damaged, empty, beyond the limits, or with names or links that lead out of the folder.
        OSError: The folder cannot be written, or the disk is full.
    """
    staging = folder / STAGING
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    try:
        with archive.open("rb") as raw:
            plain = gzip.GzipFile(fileobj=raw) if raw.read(2) == b"\x1f\x8b" else raw
            raw.seek(0)
            limit = file.max_unpacked_bytes + _HEADER_BYTES_PER_FILE * file.max_unpacked_files
            num = _extract(_Limited(plain, limit, archive), archive, staging, file)  # type: ignore[arg-type]
        if not num:
            raise DatasetError(f"{archive}: holds no files")
        for entry in sorted(staging.iterdir()):
            _move(entry, folder / entry.name)
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DatasetError(f"{archive}: not a tar archive, or damaged: {error}") from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)


class _Limited:
    """A stream that refuses to yield more than a number of bytes: the end of a decompression bomb."""

    def __init__(self, stream: BinaryIO, limit: int, archive: Path) -> None:
        self._stream, self._left, self._archive = stream, limit, archive

    def read(self, size: int) -> bytes:
        block = self._stream.read(size)
        self._left -= len(block)
        if self._left < 0:
            raise DatasetError(f"{self._archive}: unpacks to more than its limit; not the published archive")
        return block


def _extract(stream: _Limited, archive: Path, target: Path, file: RemoteFile) -> int:
    """Write the archive's files below ``target``; returns their number."""
    num, num_bytes = 0, 0
    # Streamed: tarfile then asks for nothing but `read`, which its types do not say.
    with tarfile.open(fileobj=stream, mode="r|") as tar:  # type: ignore[call-overload]
        for member in tar:
            name = _safe_name(member, archive, file.strip)
            if name is None:
                continue
            num, num_bytes = num + 1, num_bytes + member.size
            if num > file.max_unpacked_files or num_bytes > file.max_unpacked_bytes:
                raise DatasetError(
                    f"{archive}: holds more than {file.max_unpacked_files} files or {file.max_unpacked_bytes} bytes; "
                    "not the published archive"
                )
            source = tar.extractfile(member)
            assert source is not None, "a plain file has content"
            path = target / name
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("wb") as out:
                shutil.copyfileobj(source, out)
        # Reading to the end checks the compressed stream's own checksum.
        while stream.read(2**20):
            pass
    return num


def _safe_name(member: tarfile.TarInfo, archive: Path, strip: int) -> PurePosixPath | None:
    """Where a member goes, or None for what needs no file: folders, and names that are stripped away."""
    parts = PurePosixPath(member.name).parts
    # Backslash and colon separate folders and drives on Windows.
    if member.name.startswith("/") or ".." in parts or any(c in member.name for c in "\\:\0"):
        raise DatasetError(f"{archive}: holds {member.name!r}, which leads out of its folder; not unpacked")
    if member.isdir():
        return None
    if not member.isfile():
        raise DatasetError(f"{archive}: holds {member.name!r}, which is a link or a device; not unpacked")
    parts = parts[strip:]
    return PurePosixPath(*parts) if parts else None


def _move(source: Path, target: Path) -> None:
    """Rename a file or a whole folder; a folder that exists already is merged into."""
    if source.is_dir() and target.is_dir():
        for entry in source.iterdir():
            _move(entry, target / entry.name)
    else:
        source.replace(target)
