"""AudioSet: its lists of ten-second segments of films, with the names and the quality of their labels.

Gemmeke et al., *Audio Set: An ontology and human-labeled dataset for audio events*, ICASSP 2017;
research.google.com/audioset/download.html. A list (``balanced_train_segments.csv``, ``eval_segments.csv``, …) has three
lines of comment, then ``YTID, start_seconds, end_seconds, "label ids"``. Beside it lie what names its labels,
``class_labels_indices.csv`` or ``ontology.json``, and ``qa_true_counts.csv``: of how many examples of a label that
raters have looked at it was true. The sounds themselves are not published, and none is fetched here: they are local
files, as ``records.Clips.find`` names them.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator
from pathlib import Path

from soundsight.datasets.pairs import number, read_table
from soundsight.datasets.records import Clips, Record
from soundsight.errors import DatasetError

__all__ = ["VIDEO", "read"]

VIDEO = re.compile(r"[A-Za-z0-9_-]{11}")
"""What a film is called on the site."""
_NAMES, _ONTOLOGY, _QUALITY = "class_labels_indices.csv", "ontology.json", "qa_true_counts.csv"
_MAX_LIST_BYTES = 256 << 20
_MAX_ONTOLOGY_BYTES = 16 << 20


def read(segments: Path, folder: Path) -> list[Record]:
    """The segments of a list, with the sounds that are there.

    Args:
        segments: The list.
        folder: Where the sounds are.

    Returns:
        A record for each segment; its split is the list's name, such as ``balanced_train``.

    Raises:
        DatasetError: A file is absent or no such list, a label has no name, or two sounds have one name.
    """
    names, quality, clips = _names(segments.parent), _quality(segments.parent), Clips(folder)
    records = []
    for where, video, start_s, end_s, labels in _rows(segments):
        if unknown := [label for label in labels if label not in names]:
            raise DatasetError(f"{where}: the label {unknown[0]!r:.60} has no name in {segments.parent}")
        path, begins_s = clips.find(video, start_s, end_s)
        records.append(
            Record(
                # What AudioSet itself calls a segment, in its lists of 2021.
                key=f"{video}_{round(1000 * start_s)}",
                name=video,
                path=path,
                start_s=start_s,
                end_s=end_s,
                begins_s=begins_s,
                labels=tuple(names[label] for label in labels),
                quality=tuple(quality.get(label) for label in labels),
                split=segments.stem.removesuffix("_segments"),
            )
        )
    return records


def _rows(segments: Path) -> Iterator[tuple[str, str, float, float, list[str]]]:
    """Where it stands, film, start and end in seconds, and label ids of each segment."""
    try:
        if segments.stat().st_size > _MAX_LIST_BYTES:
            raise DatasetError(f"{segments}: larger than {_MAX_LIST_BYTES >> 20} MiB; this is no list of segments")
        with segments.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.reader(stream, skipinitialspace=True)
            for row in reader:
                if row and not row[0].startswith("#"):
                    yield _row(f"{segments}, line {reader.line_num}", row)
    except OSError as error:
        raise DatasetError(f"{segments}: cannot be read ({error.strerror})") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{segments}: no CSV in UTF-8 ({error})") from error


def _row(where: str, row: list[str]) -> tuple[str, str, float, float, list[str]]:
    if len(row) != 4:
        raise DatasetError(f'{where}: {len(row)} fields; expected YTID, start_seconds, end_seconds, "label ids"')
    video, start_s, end_s = row[0].strip(), number(row[1], where), number(row[2], where)
    if not VIDEO.fullmatch(video):
        raise DatasetError(f"{where}: {video!r:.60} is no film's id; expected 11 letters, digits, _ or -")
    if not 0 <= start_s < end_s:
        raise DatasetError(f"{where}: from {start_s:g} s to {end_s:g} s; expected a start from 0 on, and a later end")
    labels = [label.strip() for label in row[3].split(",") if label.strip()]
    if not labels:
        raise DatasetError(f"{where}: no label; expected one or more ids")
    return where, video, start_s, end_s, list(dict.fromkeys(labels))


def _names(folder: Path) -> dict[str, str]:
    """Label id to the name that is shown."""
    if (folder / _NAMES).is_file():
        return {row["mid"]: row["display_name"] for row in _table(folder / _NAMES, ("mid", "display_name"))}
    path = folder / _ONTOLOGY
    if not path.is_file():
        raise DatasetError(
            f"{folder}: neither {_NAMES} nor {_ONTOLOGY} is there to name the labels; get one of them from "
            "research.google.com/audioset/download.html, and put it beside the list"
        )
    try:
        if path.stat().st_size > _MAX_ONTOLOGY_BYTES:
            raise DatasetError(f"{path}: larger than {_MAX_ONTOLOGY_BYTES >> 20} MiB; this is not AudioSet's ontology")
        return {str(entry["id"]): str(entry["name"]) for entry in json.loads(path.read_bytes())}
    except (OSError, ValueError, RecursionError, KeyError, TypeError) as error:
        raise DatasetError(f"{path}: not AudioSet's ontology, or damaged ({type(error).__name__})") from error


def _quality(folder: Path) -> dict[str, float | None]:
    """Label id to the share of its rated examples in which it was true; empty if there is no such table."""
    path = folder / _QUALITY
    if not path.is_file():
        return {}
    quality: dict[str, float | None] = {}
    for row in _table(path, ("label_id", "num_rated", "num_true")):
        rated, true = (number(row[column], f"{path}, {row['label_id']}") for column in ("num_rated", "num_true"))
        if not 0 <= true <= rated:
            raise DatasetError(f"{path}: {row['label_id']!r:.60} was true {true:g} times of {rated:g}")
        quality[row["label_id"]] = true / rated if rated else None
    return quality


def _table(path: Path, columns: tuple[str, ...]) -> list[dict[str, str]]:
    return list(read_table(path, columns).values())
