"""What the user named as sounds: files, folders, standard input."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

from soundsight.errors import SoundsightError

__all__ = ["SUFFIXES", "VIDEO_SUFFIXES", "Source", "collect"]

# What a folder is searched for; a file that is named itself is tried whatever it is called.
SUFFIXES = frozenset((
    ".3gp", ".aac", ".aif", ".aifc", ".aiff", ".amr", ".au", ".avi", ".caf", ".flac", ".m4a", ".m4v", ".mka", ".mkv",
    ".mov", ".mp3", ".mp4", ".mpeg", ".mpg", ".oga", ".ogg", ".ogv", ".opus", ".rf64", ".snd", ".voc", ".w64", ".wav",
    ".wave", ".webm", ".wma", ".wmv",
))  # fmt: skip
VIDEO_SUFFIXES = frozenset((
    ".3g2", ".3gp", ".asf", ".avi", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".nut",
    ".ogv", ".rm", ".ts", ".webm", ".wmv",
))  # fmt: skip
_HERE = PurePath()


@dataclass(frozen=True, slots=True)
class Source:
    """One sound to work on, or the reason why there is none.

    Attributes:
        given: What to call it in messages: its path as the user would write it.
        path: The file; None for standard input.
        folder: Where below the output its pictures go.
        error: Set if what was named is no sound.
    """

    given: str
    path: Path | None
    folder: PurePath = _HERE
    error: str = ""

    @property
    def name(self) -> str:
        """Name of the file."""
        return "stdin" if self.path is None else self.path.name


def collect(arguments: Sequence[str], *, suffixes: Collection[str] = SUFFIXES, kind: str = "sound") -> list[Source]:
    """All sounds that the arguments stand for, in their order; folders are searched to the bottom, sorted by name.

    Hidden files and folders are left out, and so is what has no suffix of a sound.

    Args:
        arguments: Files, folders, or ``-`` once.
        suffixes: What folders are searched for.
        kind: What that is, for messages.

    Returns:
        The sources; an argument that stands for nothing gives one with an ``error``.

    Raises:
        SoundsightError: ``-`` was given twice.
    """
    if arguments.count("-") > 1:
        raise SoundsightError("'-' is given twice; standard input can be read once")
    sources: list[Source] = []
    for argument in arguments:
        path = Path(argument)
        if not argument:
            sources.append(Source("''", path, error="'': no name of a file"))
        elif argument == "-":
            sources.append(Source("stdin", None))
        elif os.path.isdir(argument):  # noqa: PTH112 - Path.is_dir() raises on some names, os.path does not
            found = list(_search(path, suffixes))
            sources += found or [Source(argument, path, error=f"{argument}: a folder without {kind} in it")]
        else:
            sources.append(Source(argument, path))
    return sources


def _search(top: Path, suffixes: Collection[str]) -> Iterator[Source]:
    unreadable: list[OSError] = []
    for folder, subfolders, names in os.walk(top, onerror=unreadable.append):
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        for name in sorted(names):
            path = Path(folder, name)
            if not name.startswith(".") and path.suffix.lower() in suffixes:
                yield Source(str(path), path, path.parent.relative_to(top))
    for error in unreadable:
        yield Source(str(error.filename), Path(error.filename), error=f"{error.filename}: {error.strerror}")
