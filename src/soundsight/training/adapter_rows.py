"""Which recordings an adapter learns from or is tested on, what each of them shows, and which fold it is in."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from soundsight.encoders.stored import key_of
from soundsight.errors import DatasetError

__all__ = ["Row", "read_table", "rows_of", "section"]

_MAX_TABLE_BYTES = 256 << 20


class Row(NamedTuple):
    """A recording.

    Attributes:
        name: As its embedding is found by.
        shows: Its labels or its captions, one at least.
        fold: Which it is in.
        source: What it was cut from.
    """

    name: str
    shows: tuple[str, ...]
    fold: str
    source: str


def read_table(path: Path, columns: tuple[str, str, str]) -> list[Row]:
    """The recordings that a CSV names.

    Args:
        path: The file.
        columns: In which are the name of a recording's file, its class and its fold.

    Raises:
        DatasetError: It is absent or damaged, lacks a column or a field, or names a recording twice.
    """
    try:
        if not path.is_file():
            raise DatasetError(
                f"{path}: there is no such file; point SOUNDSIGHT_DATA to the data sets, or --set data.table"
            )
        if path.stat().st_size > _MAX_TABLE_BYTES:
            raise DatasetError(f"{path}: larger than {_MAX_TABLE_BYTES >> 20:,} MiB, the most that is read")
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream)
            if lacking := [name for name in columns if name not in (reader.fieldnames or ())]:
                known = ", ".join(reader.fieldnames or ()) or "none"
                raise DatasetError(f"{path}: no column '{lacking[0]}'; columns: {known:.200}")
            lines = [(line[columns[0]] or "", line[columns[1]] or "", line[columns[2]] or "") for line in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{path}: cannot be read: {error}") from error
    for number, line in enumerate(lines, start=2):
        if "" in line:
            raise DatasetError(f"{path}: line {number} lacks its {columns[line.index('')]}")
    # Once in a training and once in a test fold, it would be known.
    first: dict[str, int] = {}
    for number, (name, _, _) in enumerate(lines, start=2):
        if (before := first.setdefault(key_of(name), number)) != number:
            raise DatasetError(f"{path}: line {number}: {name!r:.100} is the recording of line {before}; name it once")
    return [Row(name, (label,), fold, name) for name, label, fold in lines]


def rows_of(facts: Mapping[str, Mapping[str, Any]], what: str) -> tuple[list[Row], bool]:
    """The recordings of shards that say themselves what they hold, as ``soundsight datasets embed`` writes them.

    Args:
        facts: Key of each recording to what ``KEY.json`` says of it.
        what: The shards, for messages.

    Returns:
        The recordings, which show their labels where they have some, else their captions; and whether it is captions.

    Raises:
        DatasetError: A recording has neither, or no fold; or some have labels, and others captions alone.
    """
    rows, captioned = [], set[bool]()
    for key, said in facts.items():
        shows = next((texts for name in ("labels", "prompts") if (texts := _texts(said.get(name)))), ())
        if not shows:
            raise DatasetError(
                f"{what}: nothing says what {key!r:.200} shows; make the shards with 'soundsight datasets embed', or "
                "name a table of its classes with --set data.table"
            )
        fold = str(said.get("split") or "") if said.get("fold") in (None, "") else str(said["fold"])
        if not fold:
            raise DatasetError(
                f"{what}: {key!r:.200} is in no fold, nor in a part of its data set; a list of one's own needs a "
                "column 'fold' or 'split'"
            )
        captioned.add(not _texts(said.get("labels")))
        rows.append(Row(key, shows, fold, str(said.get("source") or key)))
    if len(captioned) > 1:
        raise DatasetError(f"{what}: some recordings have labels, others captions alone; train on either")
    return rows, captioned == {True}


def section(rows: Sequence[Row], train: Sequence[object], test: Sequence[object], what: str) -> list[Row]:
    """The recordings of some folds.

    Raises:
        DatasetError: A fold is not there, or sections of one recording are on both sides.
    """
    known = sorted({row.fold for row in rows})
    sides = {str(fold) for fold in train}, {str(fold) for fold in test}
    for fold in (*train, *test):
        if str(fold) not in known:
            raise DatasetError(f"{what}: there is no fold {fold}; folds: {', '.join(known) or 'none':.200}")
    # Lists write one file in several ways, and find a FLAC by the name of a WAV.
    learned = {key_of(row.source) for row in rows if row.fold in sides[0]}
    if leak := next((row for row in rows if row.fold in sides[1] and key_of(row.source) in learned), None):
        raise DatasetError(f"{what}: sections of {leak.source!r:.100} train and test; keep a recording in one fold")
    return [row for row in rows if row.fold in sides[0] | sides[1]]


def _texts(value: Any) -> tuple[str, ...]:
    """Different texts of a list that may hold anything."""
    texts = value if isinstance(value, list) else []
    return tuple(dict.fromkeys(text for text in texts if isinstance(text, str) and text.strip()))
