"""Lists of recordings with what they are said to show: AudioSet's, AudioCaps', one's own, or a data set that is here.

One's own is a CSV with a header: ``filename``, the path from the list or from the folder of the recordings on; then
``caption``, or ``label`` (``category``, as ESC-50 calls it); and if need be ``split``, ``fold``, and ``start`` and
``end`` of a section in seconds.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from soundsight import registry
from soundsight.audio import MIN_DURATION_S
from soundsight.datasets import audiocaps, audioset
from soundsight.datasets.info import DatasetInfo, folder_of
from soundsight.datasets.pairs import inside, number, read_table
from soundsight.datasets.records import SOUNDS, Record, check_keys, key_of
from soundsight.datasets.types import SoundSet
from soundsight.errors import DatasetError, UnknownNameError

__all__ = ["MIN_QUALITY", "Manifest", "keep_quality", "read"]

MIN_QUALITY = 0.6
"""Of AudioSet's labels, as V2D (2025) keeps them."""
_LABELS = ("label", "category")
_MAX_HEADER_CHARACTERS = 1 << 16


@dataclass(frozen=True, slots=True)
class Manifest:
    """Recordings, sorted by their keys.

    Attributes:
        what: Where they come from, as messages call it.
        folder: Where their files are.
        records: All that are listed, also those that have no file.
        min_quality: Of the labels that were kept, 0 for all.
        num_left_out: How many more are listed, but have no label of that quality.
    """

    what: str
    folder: Path
    records: tuple[Record, ...]
    min_quality: float = 0.0
    num_left_out: int = 0

    @property
    def found(self) -> list[Record]:
        """Those that have a file."""
        return [record for record in self.records if record.path is not None]

    @property
    def missing(self) -> list[Record]:
        """Those that have none."""
        return [record for record in self.records if record.path is None]


def read(source: str, folder: Path | None = None) -> Manifest:
    """The recordings of a list, or of a data set.

    Args:
        source: A CSV of AudioSet, AudioCaps or one's own, told apart by their first lines; or a data set's name.
        folder: Where the recordings are; by default that of the list, or the data set's own.

    Raises:
        UnknownNameError: There is no such file, nor a data set of that name.
        DatasetError: The list cannot be read, lacks a column, is empty, has a recording twice, or a name that leads out
            of the folder.
    """
    file = Path(source)
    if file.is_file():
        folder = folder or file.parent
        records = _read_list(file, folder)
    else:
        folder = folder or folder_of(source)
        records = _read_set(source, folder)
    check_keys(records, source)
    if not records:
        raise DatasetError(f"{source}: no recordings in it; expected one in each row")
    return Manifest(source, folder, tuple(sorted(_settled(records), key=lambda record: record.key)))


def keep_quality(manifest: Manifest, min_quality: float | None) -> Manifest:
    """Without the labels that raters found wrong too often, and without the recordings that then have none.

    A label that nobody has rated is kept by 0 alone.

    Args:
        manifest: To be filtered.
        min_quality: 0 to 1; None for ``MIN_QUALITY`` where labels have a quality, and for all where they have none.

    Raises:
        DatasetError: It is out of its range, or is asked of labels that have no quality.
    """
    if min_quality is not None and not 0 <= min_quality <= 1:
        raise DatasetError(f"a label's quality is a share from 0 to 1, not {min_quality:g}")
    has_quality = any(record.quality for record in manifest.records)
    if min_quality == 0 or (min_quality is None and not has_quality):
        return manifest
    if not any(share is not None for record in manifest.records for share in record.quality):
        raise DatasetError(
            f"{manifest.what}: nothing says of what quality its labels are; AudioSet's qa_true_counts.csv belongs "
            "beside its list; a minimum of 0 takes all labels"
        )
    threshold = MIN_QUALITY if min_quality is None else min_quality
    kept = []
    for record in manifest.records:
        both = zip(record.labels, record.quality, strict=True)
        good = [(label, share) for label, share in both if share is not None and share >= threshold]
        if good:
            labels, shares = tuple(label for label, _ in good), tuple(share for _, share in good)
            kept.append(replace(record, labels=labels, quality=shares))
    if not kept:
        raise DatasetError(f"{manifest.what}: not one recording has a label of quality {threshold:g} or more")
    num_left_out = len(manifest.records) - len(kept)
    return replace(manifest, records=tuple(kept), min_quality=threshold, num_left_out=num_left_out)


def _settled(records: Sequence[Record]) -> list[Record]:
    """A file in which two sections are is neither of them alone: it is the whole recording."""
    uses = Counter(str(record.path) for record in records if record.path is not None)
    return [
        replace(record, begins_s=0.0) if record.begins_s is None and uses[str(record.path)] > 1 else record
        for record in records
    ]


def _read_list(file: Path, folder: Path) -> list[Record]:
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            start = stream.readline(_MAX_HEADER_CHARACTERS)
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{file}: cannot be read as a list of recordings ({error})") from error
    if start.startswith("#"):
        return audioset.read(file, folder)
    header = {name.strip() for name in next(csv.reader([start]), [])}
    if "youtube_id" in header:
        return audiocaps.read(file, folder)
    if not header & {"caption", *_LABELS}:
        raise DatasetError(
            f"{file}: neither a column 'caption' nor 'label'; expected AudioSet's list of segments, AudioCaps', or a "
            "CSV with 'filename' and one of them"
        )
    return [_read_row(f"{file}, row {line}", row, folder) for line, row in read_table(file, ("filename",)).items()]


def _read_row(where: str, row: Mapping[str, str], folder: Path) -> Record:
    """A line of one's own list."""
    name = row["filename"]
    path = _find(inside(folder, name, where))
    caption, label = row.get("caption", ""), next((row[column] for column in _LABELS if row.get(column)), "")
    if not caption and not label:
        raise DatasetError(f"{where}: {name!r:.200} has neither a caption nor a label; expected one of them")
    start_s, end_s = (number(row[key], where) if row.get(key) else None for key in ("start", "end"))
    key = key_of(name)
    if start_s is not None or end_s is not None:
        if start_s is None or end_s is None or not 0 <= start_s <= end_s - MIN_DURATION_S:
            raise DatasetError(f"{where}: a section needs a start from 0 s on, and an end 0.02 s later or more")
        key = f"{key}_{round(1000 * start_s)}"
    fold = row.get("fold", "")
    if fold and not (fold.isascii() and fold.isdigit()):
        raise DatasetError(f"{where}: fold {fold!r:.60}; expected a whole number")
    return Record(
        key,
        name,
        path,
        start_s,
        end_s,
        captions=(caption,) if caption else (),
        labels=(label,) if label else (),
        split=row.get("split", ""),
        fold=int(fold) if fold else None,
    )


def _find(path: Path) -> Path | None:
    """A file, or that of the same name with another ending of a sound: lists outlive conversions to FLAC."""
    if path.is_file():
        return path
    others = (path.with_suffix(ending) for ending in sorted(SOUNDS)) if path.suffix.lower() in SOUNDS else ()
    return next((other for other in others if other.is_file()), None)


def _read_set(name: str, folder: Path) -> list[Record]:
    """The recordings of a data set that are there."""
    known = [name for name in registry.names("datasets") if registry.find("datasets", name).INFO.kind == "sound"]
    if name not in known:
        raise UnknownNameError(
            f"{registry.unknown('data sets with sounds', name, known)}; nor is there a list of that name"
        )
    module = registry.find("datasets", name)
    info: DatasetInfo = module.INFO
    sounds: SoundSet = module.load(folder)
    names = [path.relative_to(folder).as_posix() for path in sounds.paths]
    return [
        Record(
            key,
            source,
            path,
            labels=(info.classes[sounds.labels[row]],),
            split="" if sounds.official_test is None else "test" if sounds.official_test[row] else "train",
            fold=None if sounds.folds is None else int(sounds.folds[row]),
        )
        for row, (key, source, path) in enumerate(zip(_keys(names), names, sounds.paths, strict=True))
    ]


def _keys(names: Sequence[str]) -> list[str]:
    """The files' names alone, as lists of the data sets have them; with their folders where that is not enough."""
    alone = [key_of(PurePosixPath(name).name) for name in names]
    return alone if max(Counter(alone).values()) == 1 else [key_of(name) for name in names]
