"""A folder of shards, and the list of those that are whole: what was made, with what, and what could not be heard.

``DIR/embeddings.json`` is written anew, whole or not at all, when a shard has got its name. A shard that is not in it,
or whose hash is another, is made again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from soundsight.errors import DatasetError, OutputError
from soundsight.files import check_writable, replace_file

__all__ = ["INDEX", "Entry", "Ledger"]

INDEX = "embeddings.json"
_FORMAT_VERSION = 1
_MAX_INDEX_BYTES = 256 << 20


@dataclass(frozen=True, slots=True)
class Entry:
    """A shard that is whole.

    Attributes:
        sha256: Of its file.
        num_bytes: Its size.
        num_recordings: In it.
        num_tokens: In all its embeddings.
        sounds: A hash of the files that it was made of.
        failed: Key to fault of the recordings that could not be heard, and are not in it.
    """

    sha256: str
    num_bytes: int
    num_recordings: int
    num_tokens: int
    sounds: str
    failed: Mapping[str, str] = field(default_factory=dict)


class Ledger:
    """The folder, opened to add shards to it.

    Args:
        folder: To be made when the first shard is added.
        made_with: What all its shards have in common, JSON's values; that of a folder with shards must be the same.

    Attributes:
        entries: Name to entry of each whole shard.

    Raises:
        DatasetError: The folder holds something else, or was made with something else. Nothing is changed then.
    """

    def __init__(self, folder: Path, made_with: Mapping[str, Any]) -> None:
        self.folder = folder
        self.entries: dict[str, Entry] = {}
        # As it will be read again.
        self._made_with = json.loads(json.dumps(made_with))
        if folder.exists() and not folder.is_dir():
            raise DatasetError(f"{folder}: a file; expected a folder for the shards")
        if (folder / INDEX).is_file():
            self._open(folder / INDEX)
        elif folder.is_dir() and any(folder.iterdir()):
            raise DatasetError(
                f"{folder} holds other files (no {INDEX} is among them); choose an empty folder, or a new one"
            )

    def state(self, name: str, sounds: str) -> Literal["whole", "new", "changed", "damaged"]:
        """What is there of a shard that is to be made of sounds with that hash."""
        entry = self.entries.get(name)
        if entry is None:
            return "new"
        if entry.sounds != sounds:
            return "changed"
        try:
            with (self.folder / name).open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError:
            return "damaged"
        return "whole" if digest == entry.sha256 else "damaged"

    def begin(self) -> None:
        """Make the folder with its list, and take away what a process that was killed has left in it.

        Raises:
            OutputError: It cannot be written.
        """
        check_writable(self.folder)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            for path in self.folder.glob(".*.tar.*.tmp"):
                path.unlink(missing_ok=True)
        except OSError as error:
            raise OutputError(f"{self.folder}: cannot be written to ({error.strerror})") from error
        # From now on the folder is one of shards, also if the first of them is never finished.
        self._write()

    def add(self, name: str, entry: Entry) -> None:
        """Note a shard that has got its name.

        Raises:
            OutputError: The list cannot be written.
        """
        self.entries[name] = entry
        self._write()

    def _write(self) -> None:
        entries = [self.entries[name] for name in sorted(self.entries)]
        content = {
            "format_version": _FORMAT_VERSION,
            "made_with": self._made_with,
            "counts": {
                "shards": len(entries),
                "recordings": sum(entry.num_recordings for entry in entries),
                "failed": sum(len(entry.failed) for entry in entries),
                "tokens": sum(entry.num_tokens for entry in entries),
                "bytes": sum(entry.num_bytes for entry in entries),
            },
            "shards": {name: asdict(self.entries[name]) for name in sorted(self.entries)},
        }
        try:
            replace_file(self.folder / INDEX, (json.dumps(content, indent=1) + "\n").encode())
        except OSError as error:
            raise OutputError(f"{self.folder / INDEX}: cannot be written ({error.strerror})") from error

    def _open(self, path: Path) -> None:
        saved = _read(path)
        self.entries = {name: _entry(path, entry) for name, entry in saved["shards"].items()}
        if not self.entries:
            return
        for key in dict.fromkeys((*saved["made_with"], *self._made_with)):
            theirs, ours = saved["made_with"].get(key), self._made_with.get(key)
            if theirs != ours:
                raise DatasetError(
                    f"{self.folder} holds embeddings made with {key.replace('_', ' ')} {_shown(theirs)}, not "
                    f"{_shown(ours)}; use the same, or choose another folder"
                )


def _read(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > _MAX_INDEX_BYTES:
            raise _damaged(path)
        saved = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise _damaged(path) from error
    if not isinstance(saved, dict) or saved.get("format_version") != _FORMAT_VERSION:
        raise _damaged(path)
    if not all(isinstance(saved.get(key), dict) for key in ("made_with", "shards")):
        raise _damaged(path)
    return saved


def _entry(path: Path, saved: Any) -> Entry:
    """An entry of the list in a file, if it is one."""
    try:
        entry = Entry(**saved)
    except TypeError as error:
        raise _damaged(path) from error
    counts = (entry.num_bytes, entry.num_recordings, entry.num_tokens)
    if not all(isinstance(count, int) for count in counts) or not isinstance(entry.failed, dict):
        raise _damaged(path)
    return entry


def _damaged(path: Path) -> DatasetError:
    return DatasetError(f"{path} is damaged, or of another version of soundsight; choose another folder")


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        value = ", ".join(f"{key}={inner}" for key, inner in value.items())
    text = "none" if value is None else str(value)
    return text if len(text) <= 60 else f"{text[:59]}…"
