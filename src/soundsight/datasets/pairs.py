"""A folder of pairs: one's own, or one that ``soundsight datasets from-video`` made.

Either ``pairs.csv`` names them, with the columns ``sound`` and ``image`` and, if need be, ``clip`` and ``time_s``;
paths are those below the folder. Or there is no table, and files of one stem belong together: ``bark.wav`` with
``bark.jpg``, ``bark_2.jpg``, in one folder or each in its own subfolder.
"""

from __future__ import annotations

import csv
import io
import json
import math
import os
import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath

import numpy as np

from soundsight.datasets.check import Report
from soundsight.datasets.check_pairs import check_pairs
from soundsight.datasets.info import DatasetInfo
from soundsight.datasets.pair_set import PairSet, join_clips
from soundsight.errors import DatasetError

__all__ = ["INFO", "check", "inside", "load", "number", "read_table"]

INFO = DatasetInfo(
    name="pairs",
    kind="pair",
    title="A folder of pairs of one's own",
    licence="that of its files",
    attribution="",
    homepage="",
    files=(),
    classes=(),
)
TABLE = "pairs.csv"
"""Name of the table, where there is one."""
MADE = "from-video.json"
"""What ``datasets from-video`` notes in a folder before it fills it; the table comes last."""
MAX_TABLE_BYTES = 256 << 20
_LARGEST = float(np.finfo(np.float32).max)
_SOUNDS = frozenset(
    (".aac", ".aif", ".aiff", ".flac", ".m4a", ".mp3", ".oga", ".ogg", ".opus", ".wav", ".wave", ".wma")
)
_IMAGES = frozenset((".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"))
# On Windows a colon always names a drive or a stream; elsewhere it may be part of a name, and "C:/x" is a mistake.
_DRIVE = re.compile(r".*:" if os.name == "nt" else r"[A-Za-z]:(?:[\\/]|$)")
_NUMBERED = re.compile(r"^(.+?)_\d+$")


def load(folder: Path) -> PairSet:
    """The pairs of a folder.

    Raises:
        DatasetError: There is no such folder, or its table or its files make no pairs.
    """
    if not folder.is_dir():
        raise DatasetError(
            f"{folder}: no such folder; a folder of pairs holds {TABLE}, or sounds and pictures of one stem"
        )
    if (folder / TABLE).exists():
        return _from_table(folder)
    if (folder / MADE).exists():
        raise DatasetError(f"{folder}: no {TABLE} yet, it is not finished; run 'soundsight datasets from-video' again")
    return _from_stems(folder)


def check(folder: Path) -> Report:
    """Counts, durations, what is missing or damaged, what occurs twice, and how much a random split would leak."""
    pairs = load(folder)
    report = check_pairs(INFO, folder, pairs)
    if (folder / TABLE).exists():
        return report
    return replace(report, notes=(*report.notes, *_without_partner(folder, pairs)))


def read_table(file: Path, columns: tuple[str, ...]) -> dict[int, dict[str, str]]:
    """Rows of a CSV by their number, the header's being 1; the fields of each by the header's names.

    Args:
        file: UTF-8, with or without a mark.
        columns: What must be there; more may.

    Raises:
        DatasetError: It cannot be read, lacks a column, has a row of another length, or none.
    """
    try:
        if file.stat().st_size > MAX_TABLE_BYTES:
            raise DatasetError(f"{file}: larger than {MAX_TABLE_BYTES >> 20} MiB; this is no table of pairs")
        reader = csv.reader(io.StringIO(file.read_text(encoding="utf-8-sig"), newline=""), strict=True)
        rows = list(reader)
    except OSError as error:
        raise DatasetError(f"{file}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise DatasetError(f"{file}: not UTF-8 text") from error
    except csv.Error as error:
        raise DatasetError(f"{file}: no CSV ({error})") from error
    header = [name.strip() for name in rows[0]] if rows else []
    if missing := [name for name in columns if name not in header]:
        raise DatasetError(f"{file}: no column {_few(missing)}; its columns are {_few(header) or 'none'}")
    if len(set(header)) < len(header):
        raise DatasetError(f"{file}: a column is named twice")
    table = {}
    for line, row in enumerate(rows[1:], start=2):
        if not row:
            continue
        if len(row) != len(header):
            raise DatasetError(f"{file}, row {line}: {len(row)} fields; the header has {len(header)}")
        table[line] = dict(zip(header, (field.strip() for field in row), strict=True))
    if not table:
        raise DatasetError(f"{file}: no pairs in it")
    return table


def inside(folder: Path, name: str, where: str) -> Path:
    """A file that a table names, which must lie in the folder.

    Raises:
        DatasetError: The name is empty, absolute, or leads out of the folder.
    """
    plain = PurePosixPath(name.replace("\\", "/"))
    is_elsewhere = plain.is_absolute() or ".." in plain.parts or _DRIVE.match(name) is not None
    if not plain.parts or is_elsewhere or "\0" in name:
        raise DatasetError(f"{where}: {name!r} is no file below the folder; expected a path from {folder.name} on")
    return folder / plain


def number(text: str, where: str) -> float:
    """A number that single precision can hold.

    Raises:
        DatasetError: It is none.
    """
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not abs(value) <= _LARGEST:
        raise DatasetError(f"{where}: {text!r} is not a number")
    return value


def _from_table(folder: Path) -> PairSet:
    file = folder / TABLE
    rows = read_table(file, ("sound", "image"))
    sounds, images, times_s = [], [], []
    for line, row in rows.items():
        where = f"{file}, row {line}"
        sounds.append(inside(folder, row["sound"], where))
        images.append(inside(folder, row["image"], where))
        times_s.append(number(row["time_s"], where) if row.get("time_s") else 0.0)
    _refuse_twice(file, list(rows), sounds, images)
    for column in ("clip", "time_s"):
        _refuse_gaps(file, rows, column)
    clips = tuple(row.get("clip", "") for row in rows.values())
    if not all(clips):
        clips = join_clips([str(path) for path in sounds], [str(path) for path in images])
    return PairSet(tuple(images), tuple(sounds), clips, np.array(times_s, np.float64), window_s=_window(folder))


def _window(folder: Path) -> float:
    """Seconds of sound around each picture, as ``datasets from-video`` noted them; one where nobody did."""
    try:
        window_s = json.loads((folder / MADE).read_text(encoding="utf-8"))["options"]["window"]
    except (OSError, ValueError, KeyError, TypeError):
        return 1.0
    return float(window_s) if isinstance(window_s, int | float) else 1.0


def _refuse_gaps(file: Path, rows: Mapping[int, Mapping[str, str]], column: str) -> None:
    """A column is filled or empty: one blank field would make a clip of its own, or a moment at the start."""
    blank = [line for line, row in rows.items() if not row.get(column)]
    if blank and len(blank) < len(rows):
        raise DatasetError(f"{file}, row {blank[0]}: no {column}, which other rows have; fill in all or none")


def _refuse_twice(file: Path, lines: list[int], sounds: list[Path], images: list[Path]) -> None:
    first: dict[tuple[Path, Path], int] = {}
    for line, pair in zip(lines, zip(sounds, images, strict=True), strict=True):
        if first.setdefault(pair, line) != line:
            raise DatasetError(f"{file}, row {line}: the same pair as in row {first[pair]}; name it once")


def _from_stems(folder: Path) -> PairSet:
    """Pairs of a sound and every picture of its stem in its folder, in the order of their names."""
    files = _files(folder)
    images: dict[tuple[Path, str], list[Path]] = defaultdict(list)
    for path in files:
        if path.suffix.lower() in _IMAGES:
            images[path.parent, path.stem].append(path)
            if numbered := _NUMBERED.match(path.stem):
                images[path.parent, numbered[1]].append(path)
    sounds = [path for path in files if path.suffix.lower() in _SOUNDS]
    pairs = [(sound, image) for sound in sounds for image in images[sound.parent, sound.stem]]
    if not pairs:
        raise DatasetError(
            f"{folder}: no pairs in it; expected {TABLE}, or sounds and pictures of one stem, as bark.wav and bark.jpg"
        )
    clips = join_clips([s.relative_to(folder).as_posix() for s, _ in pairs], [str(i) for _, i in pairs])
    return PairSet(tuple(i for _, i in pairs), tuple(s for s, _ in pairs), clips, np.zeros(len(pairs)))


def _without_partner(folder: Path, pairs: PairSet) -> list[str]:
    """A line of the sounds and the pictures that no other file has the stem of."""
    taken = {*pairs.images, *(pairs.sounds or ())}
    left = [path for path in _files(folder) if path.suffix.lower() in _SOUNDS | _IMAGES and path not in taken]
    if not left:
        return []
    num_sounds = sum(path.suffix.lower() in _SOUNDS for path in left)
    return [
        f"{num_sounds} sounds without a picture of their stem, {len(left) - num_sounds} pictures without a sound; the "
        f"first is {left[0].relative_to(folder).as_posix()}"
    ]


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and not _hidden(path.relative_to(folder)))


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _few(names: list[str]) -> str:
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(f"'{name}'" for name in names[:5]) + more
