"""Recordings as a manifest names them, each with its file: found by its name, never by its place in a folder."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from soundsight import audio
from soundsight.audio import Clip
from soundsight.errors import AudioError, DatasetError

__all__ = ["SOUNDS", "Clips", "Record", "check_keys", "digest_of", "key_of", "read_sound"]

SOUNDS = frozenset((
    ".aac", ".aif", ".aiff", ".flac", ".m4a", ".mka", ".mkv", ".mov", ".mp3", ".mp4", ".oga", ".ogg", ".opus", ".wav",
    ".wave", ".webm", ".wma",
))  # fmt: skip
"""Endings of files with sound in them, also of films."""
# Cutters of films keep whole packets, and seconds in lists are rounded.
_SLACK_S = 0.5


@dataclass(frozen=True, slots=True)
class Record:
    """One recording of a manifest.

    Attributes:
        key: Its name in a shard; no two of a manifest have the same.
        name: What the manifest calls it.
        path: Its file; None where there is none.
        start_s: Where in the recording its section begins; None for all of the file.
        end_s: Where that section ends; None as above.
        begins_s: Where in the recording the file begins; None where it may be the whole recording or the section alone.
        captions: Texts about it.
        labels: Names of its classes.
        quality: Share of each label's examples that raters found right, 0 to 1, None where nobody is known to have
            looked; empty if the manifest is of a kind that has no such thing.
        split: The publisher's part, such as ``train``; empty if there is none.
        fold: The publisher's part for cross-validation.
    """

    key: str
    name: str
    path: Path | None
    start_s: float | None = None
    end_s: float | None = None
    begins_s: float | None = 0.0
    captions: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    quality: tuple[float | None, ...] = ()
    split: str = ""
    fold: int | None = None

    def __post_init__(self) -> None:
        assert (self.start_s is None) == (self.end_s is None)
        assert len(self.quality) in (0, len(self.labels))


def key_of(name: str) -> str:
    """The name of a file without its ending, and without what a shard cannot have in a name.

    WebDataset splits the names in a shard at the first dot behind the last slash.

    >>> key_of("dogs/bark.wav"), key_of("v1.2.flac")
    ('dogs/bark', 'v1_2')
    """
    path = PurePosixPath(name)
    stem = path.name[: -len(path.suffix)] if path.suffix.lower() in SOUNDS else path.name
    key = path.with_name(stem.replace(".", "_")).as_posix()
    return "".join(c if c.isprintable() and c not in "\\:" else "_" for c in key)


def check_keys(records: Iterable[Record], what: str) -> None:
    """Refuse two recordings of one name.

    Raises:
        DatasetError: There are; ``what`` begins the message.
    """
    first: dict[str, Record] = {}
    for record in records:
        if (other := first.setdefault(record.key, record)) is not record:
            both = "" if other.name == record.name else f", as is {other.name!r:.200}"
            raise DatasetError(
                f"{what}: {record.name!r:.200} is there twice, in a shard as {record.key!r:.200}{both}; "
                "expected each once"
            )


def digest_of(records: Iterable[Record]) -> str:
    """SHA-256 of all that a manifest says, in hexadecimal digits, wherever its files are."""
    content = hashlib.sha256()
    for r in records:
        said = [r.key, r.name, r.start_s, r.end_s, r.captions, r.labels, r.quality, r.split, r.fold]
        content.update(json.dumps(said, allow_nan=False).encode() + b"\n")
    return content.hexdigest()


def read_sound(record: Record, sample_rate_hz: int) -> Clip:
    """Decode a recording, or its section.

    A file that may be either is the section alone if it is no longer than that, give or take half a second.

    Args:
        record: One that has a file.
        sample_rate_hz: The rate wanted.

    Raises:
        AudioError: As ``audio.decode``; or the file ends before the section does.
        MissingExtraError: Only PyAV could read the format.
    """
    assert record.path is not None, "what is missing is not asked for"
    clip = audio.decode(record.path, sample_rate_hz=sample_rate_hz)
    if record.start_s is None or record.end_s is None:
        return clip
    length_s, begins_s = record.end_s - record.start_s, record.begins_s
    if begins_s is None:
        begins_s = record.start_s if clip.duration_s <= length_s + _SLACK_S else 0.0
    start_s = record.start_s - begins_s
    # A file that is the section alone may be shorter: the recording may end before the list says.
    if start_s > 0 and start_s + length_s > clip.duration_s + _SLACK_S:
        raise AudioError(
            f"{record.path}: lasts {clip.duration_s:.2f} s, which is neither the section from {record.start_s:g} s to "
            f"{record.end_s:g} s nor a recording with it"
        )
    first, last = (round(time_s * sample_rate_hz) for time_s in (start_s, start_s + length_s))
    samples = clip.samples[first:last]
    if len(samples) < audio.MIN_DURATION_S * sample_rate_hz:
        raise AudioError(f"{record.path}: ends where the section from {record.start_s:g} s begins")
    return Clip(samples, sample_rate_hz)


class Clips:
    """Sounds in a folder and all below it, which were cut out of the films of a video site, by their names.

    Args:
        folder: Where they are; what is hidden is passed over.

    Raises:
        DatasetError: It is no folder.
    """

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            raise DatasetError(f"{folder}: no such folder; expected the one with the recordings")
        self._paths: dict[str, list[Path]] = {}
        for place, folders, files in os.walk(folder):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            for name in sorted(files):
                stem, ending = os.path.splitext(name)  # noqa: PTH122 - of as many as two million names
                if ending.lower() in SOUNDS:
                    self._paths.setdefault(stem, []).append(Path(place, name))

    def find(self, video: str, start_s: float, end_s: float) -> tuple[Path | None, float | None]:
        """The file of a section, and where in the film it begins, as ``Record.begins_s``.

        Looked for, in this order and with a ``Y`` before each: ``ID_30``, ``ID_30.000``, ``ID_30000`` (milliseconds),
        each of them with the end behind it, as ``ID_30_40``; then ``ID``, which is the section or the whole film.

        Raises:
            DatasetError: There are several files of that name.
        """
        times = [(f"{time:g}", f"{time:.3f}", f"{round(1000 * time)}") for time in (start_s, end_s)]
        cut = [name for start, end in zip(*times, strict=True) for name in (f"_{start}", f"_{start}_{end}")]
        for ending in (*cut, ""):
            for stem in (f"{video}{ending}", f"Y{video}{ending}"):
                if paths := self._paths.get(stem):
                    if len(paths) > 1:
                        raise DatasetError(f"{paths[0]} and {paths[1]} are both called {stem!r}; keep one of them")
                    return paths[0], start_s if ending else None
        return None, None
