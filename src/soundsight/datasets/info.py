"""What is known about a data set without having it: origin, licence, files and checksums; and where it is kept."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from soundsight.errors import DatasetError

__all__ = ["DatasetInfo", "RemoteFile", "absent", "data_root", "folder_of"]

GIB = 2**30


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file to download, and how to know that it is the right one.

    A checksum that its publisher does not state is None, never made up; the data set's ``check`` then looks at the
    content instead.

    Attributes:
        path: Name below the data set's folder.
        urls: Mirrors, tried in this order.
        sha256: Of the file as downloaded.
        md5: Of the file as downloaded.
        content_md5: Of what is inside a ``.gz``; mirrors may compress the same content differently.
        num_bytes: Exact size, where it is known.
        max_bytes: A download larger than this is refused.
        unpack: The file is a tar archive, to be unpacked into the data set's folder and then deleted.
        strip: Leading folders to drop from the names in the archive.
        max_unpacked_bytes: An archive that holds more than this is refused.
        max_unpacked_files: An archive that holds more files than this is refused.
    """

    path: str
    urls: tuple[str, ...]
    sha256: str | None = None
    md5: str | None = None
    content_md5: str | None = None
    num_bytes: int | None = None
    max_bytes: int = 4 * GIB
    unpack: bool = False
    strip: int = 0
    max_unpacked_bytes: int = 8 * GIB
    max_unpacked_files: int = 200_000

    @property
    def has_checksum(self) -> bool:
        """Whether a wrong byte in the download will be noticed by its checksum."""
        return any((self.sha256, self.md5, self.content_md5))


@dataclass(frozen=True, slots=True)
class DatasetInfo:
    """A data set as its publisher describes it.

    Attributes:
        name: Its module's name, and its folder's below ``data_root()``.
        kind: What it holds.
        title: Its full name.
        licence: Its licence, with version.
        attribution: Who to name, as the licence asks.
        homepage: Where it is described.
        files: What to download.
        classes: Names of the classes, in the order of the labels.
    """

    name: str
    kind: Literal["sound", "image", "pair"]
    title: str
    licence: str
    attribution: str
    homepage: str
    files: tuple[RemoteFile, ...]
    classes: tuple[str, ...]


def data_root() -> Path:
    """Folder with one folder per data set: ``SOUNDSIGHT_DATA``, else the user's cache."""
    if chosen := os.environ.get("SOUNDSIGHT_DATA"):
        return Path(chosen).expanduser()
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA")
        return (Path(base) if base else Path.home() / "AppData" / "Local") / "soundsight" / "data"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "soundsight" / "data"
    base = os.environ.get("XDG_CACHE_HOME")
    # The specification says that a relative path there is to be ignored.
    cache = Path(base) if base and Path(base).is_absolute() else Path.home() / ".cache"
    return cache / "soundsight" / "data"


def folder_of(name: str) -> Path:
    """Folder where the data set ``name`` is looked for and put."""
    return data_root() / name


def absent(name: str, folder: Path, what: str) -> DatasetError:
    """The error for a data set that is not where it should be, saying how to get it."""
    return DatasetError(
        f"{name}: {what} in {folder}; get it with 'soundsight datasets prepare {name}' or point SOUNDSIGHT_DATA to it"
    )
