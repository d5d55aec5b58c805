"""A folder of pairs made of videos: which options it was made with, which video became which clip, and the table.

``DIR/from-video.json`` holds the options, ``DIR/CLIP/`` the files of one video with their ``clip.json``, and
``DIR/pairs.csv`` a line for each pair. A clip is made in ``DIR/.unfinished/`` and renamed when it is whole, so that a
folder of a clip's name is always a whole clip.
"""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from soundsight.datasets.pairs import MADE, TABLE
from soundsight.errors import DatasetError, OutputError
from soundsight.files import replace_file

__all__ = ["Footage", "Note", "file_stem"]

_FORMAT_VERSION = 1
_NOTE, _UNFINISHED = "clip.json", ".unfinished"
_HEADER = ("sound", "image", "clip", "time_s")
# What some file system does not take in a name, Windows' for most of it.
_UNSAFE = frozenset('<>:"/\\|?*')
# A name of 255 bytes is the most that common file systems take; numbers are appended to it.
_MAX_NAME_BYTES = 240


@dataclass(frozen=True, slots=True)
class Note:
    """What became of one video.

    Attributes:
        source: Its path, absolute.
        size: Its size in bytes.
        modified_ns: When it was last changed.
        duration_s: How long its pictures play.
        times_ms: Time of each pair after the first frame, rising.
        left_out: How many pictures have no pair, by reason.
    """

    source: str
    size: int
    modified_ns: int
    duration_s: float
    times_ms: tuple[int, ...]
    left_out: Mapping[str, int]


def file_stem(time_ms: int) -> str:
    """Name of a pair's files without suffix: its seconds, so that names sort by time.

    >>> file_stem(12500)
    '000012.500'
    """
    return f"{time_ms // 1000:06}.{time_ms % 1000:03}"


class Footage:
    """The folder, opened to add clips to it.

    Args:
        folder: Made if need be.
        options: How pairs are made; JSON's values. Those of a folder with clips must be the same.

    Attributes:
        notes: The whole clips in it, by name.

    Raises:
        DatasetError: It holds something else, or clips made with other options. Nothing is changed then.
        OutputError: It cannot be written.
    """

    def __init__(self, folder: Path, options: Mapping[str, Any]) -> None:
        self.folder = folder
        self._options = dict(options)
        try:
            self._check()
            self.notes = dict(self._find())
            if self.notes:
                self._compare()
            folder.mkdir(parents=True, exist_ok=True)
            # Left behind by a process that was killed.
            shutil.rmtree(folder / _UNFINISHED, ignore_errors=True)
            replace_file(folder / MADE, _json({"format_version": _FORMAT_VERSION, "options": self._options}))
        except OSError as error:
            raise OutputError(f"{error.filename or folder}: cannot be written ({error.strerror})") from error

    def names(self, videos: Sequence[Path]) -> list[str]:
        """A clip's name for each video: of finished ones the one they have, of others their stem, made unique.

        Names that differ in nothing but case, or in how accents are coded, are one to some file systems.
        """
        by_source = {note.source: name for name, note in self.notes.items()}
        taken = {_key(name) for name in (*self.notes, *(entry.name for entry in self.folder.iterdir()))}
        taken |= {_key(name) for name in (TABLE, _UNFINISHED)}
        names = []
        for video in videos:
            name = by_source.get(_absolute(video))
            if name is None:
                candidates = _candidates(video)
                name = next(candidate for candidate in candidates if _key(candidate) not in taken)
                taken.add(_key(name))
            names.append(name)
        return names

    def is_finished(self, name: str, video: Path) -> bool:
        """Whether a clip is there, of the video as it is now."""
        note = self.notes.get(name)
        if note is None:
            return False
        status = video.stat()
        return (note.size, note.modified_ns) == (status.st_size, status.st_mtime_ns)

    @contextmanager
    def clip(self, name: str) -> Iterator[Path]:
        """A new folder for the files of a clip; ``finish`` makes it the clip's, anything else loses it."""
        unfinished = self.folder / _UNFINISHED / name
        try:
            unfinished.mkdir(parents=True)
            yield unfinished
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)

    def finish(self, name: str, unfinished: Path, note: Note) -> None:
        """Give a whole clip its name; an older one of that name makes way."""
        (unfinished / _NOTE).write_bytes(_json(asdict(note)))
        if name in self.notes:
            (self.folder / name).replace(self.folder / _UNFINISHED / f"{name}.old")
        unfinished.replace(self.folder / name)
        self.notes[name] = note

    def close(self, suffix: str) -> None:
        """Write ``pairs.csv`` of all clips in the folder, whole or not at all."""
        buffer = io.StringIO()
        table = csv.writer(buffer, lineterminator="\n")
        table.writerow(_HEADER)
        for name in sorted(self.notes):
            for time_ms in self.notes[name].times_ms:
                stem = f"{name}/{file_stem(time_ms)}"
                table.writerow((f"{stem}.wav", f"{stem}.{suffix}", name, f"{time_ms / 1000:.3f}"))
        shutil.rmtree(self.folder / _UNFINISHED, ignore_errors=True)
        replace_file(self.folder / TABLE, buffer.getvalue().encode())

    @property
    def table(self) -> Path:
        """``pairs.csv``."""
        return self.folder / TABLE

    def _check(self) -> None:
        if self.folder.exists() and not self.folder.is_dir():
            raise DatasetError(f"{self.folder}: a file; expected a folder for the pairs")
        if self.folder.is_dir() and not (self.folder / MADE).is_file() and any(self.folder.iterdir()):
            raise DatasetError(
                f"{self.folder} holds other files (no {MADE} is among them); choose an empty folder, or a new one"
            )

    def _compare(self) -> None:
        saved = _read(self.folder / MADE)
        if not isinstance(saved, dict) or saved.get("format_version") != _FORMAT_VERSION:
            raise DatasetError(
                f"{self.folder / MADE} is damaged, or of another version of soundsight; choose another folder"
            )
        theirs = saved.get("options")
        theirs = theirs if isinstance(theirs, dict) else {}
        for key, ours in self._options.items():
            if theirs.get(key) != ours:
                raise DatasetError(
                    f"{self.folder} holds pairs made with {key} {_shown(theirs.get(key))}, not {_shown(ours)}; "
                    "use the same options, or choose another folder"
                )

    def _find(self) -> Iterator[tuple[str, Note]]:
        """Whole clips; a folder whose note cannot be read is left alone, and its name is taken."""
        if not self.folder.is_dir():
            return
        for path in sorted(self.folder.glob(f"*/{_NOTE}")):
            saved = _read(path)
            try:
                note = Note(**saved | {"times_ms": tuple(map(int, saved["times_ms"]))})
            except (TypeError, KeyError, ValueError):
                continue
            yield path.parent.name, note


def _absolute(video: Path) -> str:
    # Links are not followed: two of them are two videos, with two names.
    return os.path.abspath(video)  # noqa: PTH100 - Path.absolute() keeps the dots


def _candidates(video: Path) -> Iterator[str]:
    """Names for a clip, the best first: the stem, the whole name, the whole name with a number."""
    yield _safe(video.stem)
    full = _safe(video.name)
    yield full
    number = 2
    while True:
        yield f"{full}.{number}"
        number += 1


def _safe(name: str) -> str:
    """A name for a folder on any system, in any alphabet."""
    safe = "".join("_" if c in _UNSAFE or not c.isprintable() else c for c in name)
    while len(safe.encode()) > _MAX_NAME_BYTES:
        safe = safe[:-1]
    # Windows drops dots and blanks at the end; what begins with a dot is hidden elsewhere, and tables drop blanks.
    safe = safe.rstrip(". ").lstrip()
    return f"_{safe}" if safe.startswith(".") or not safe else safe


def _key(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def _shown(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _json(value: Any) -> bytes:
    # Names of files that are no text are kept, too: ASCII's escapes hold anything.
    return (json.dumps(value, indent=1) + "\n").encode()


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
