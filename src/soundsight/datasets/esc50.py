"""ESC-50: 2,000 five-second recordings of 50 kinds of everyday sounds, in five folds (Piczak, 2015).

``{fold}-{clip}-{take}-{target}.wav``: the takes A, B, … of one source clip were cut out of one recording from
freesound.org. They share a room, a microphone and often the very same animal, so that a split must not divide them.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from soundsight.datasets.check import Report, check_sounds
from soundsight.datasets.info import DatasetInfo, RemoteFile, absent
from soundsight.datasets.types import SoundSet
from soundsight.errors import DatasetError

__all__ = ["INFO", "check", "load"]

# A commit, as a branch could change under us.
_COMMIT = "33c8ce9eb2cf0b1c2f8bcf322eb349b6be34dbb6"

INFO = DatasetInfo(
    name="esc50",
    kind="sound",
    title="ESC-50: Dataset for Environmental Sound Classification",
    licence="CC BY-NC 3.0; its ten classes ESC-10 CC BY 3.0",
    attribution="Karol J. Piczak; the authors on freesound.org whom its LICENSE names for each recording",
    homepage="https://github.com/karolpiczak/ESC-50",
    files=(
        RemoteFile(
            path=f"ESC-50-{_COMMIT}.tar.gz",
            urls=(f"https://github.com/karolpiczak/ESC-50/archive/{_COMMIT}.tar.gz",),
            # GitHub packs such archives on demand and promises no checksum: `check` looks at every recording instead.
            max_bytes=2**30,
            unpack=True,
            strip=1,
            max_unpacked_bytes=2 * 2**30,
            max_unpacked_files=10_000,
        ),
    ),
    # In the order of the publisher's targets, 0 to 49.
    classes=(
        *("dog", "rooster", "pig", "cow", "frog", "cat", "hen", "insects", "sheep", "crow"),
        *("rain", "sea_waves", "crackling_fire", "crickets", "chirping_birds", "water_drops", "wind"),
        *("pouring_water", "toilet_flush", "thunderstorm"),
        *("crying_baby", "sneezing", "clapping", "breathing", "coughing", "footsteps", "laughing"),
        *("brushing_teeth", "snoring", "drinking_sipping"),
        *("door_wood_knock", "mouse_click", "keyboard_typing", "door_wood_creaks", "can_opening"),
        *("washing_machine", "vacuum_cleaner", "clock_alarm", "clock_tick", "glass_breaking"),
        *("helicopter", "chainsaw", "siren", "car_horn", "engine", "train", "church_bells", "airplane"),
        *("fireworks", "hand_saw"),
    ),
)

_LISTS = ("esc50.csv", "meta/esc50.csv")
_COLUMNS = {"filename", "fold", "target", "category"}
_MAX_LIST_BYTES = 16 * 2**20
_NAME = re.compile(r"(\d)-(\d{1,9})-([A-Z])-(\d{1,2})\.(?:wav|flac)")
# Recordings of each class in each fold.
_PER_FOLD = 8


@dataclass(frozen=True, slots=True, order=True)
class _Row:
    """A line of the list; rows sort by class, fold, source clip and take."""

    label: int
    fold: int
    clip: int
    take: int
    stem: str


def load(folder: Path) -> SoundSet:
    """List the recordings whose files are there, sorted by class, fold, source clip and take.

    Args:
        folder: The official repository, or a folder with ``esc50.csv`` beside ``audio/``; recordings are WAV or FLAC,
            whatever the list says.

    Returns:
        The recordings with their source clips and folds; it names no speakers and has no official split.

    Raises:
        DatasetError: The list is absent or not ESC-50's, or not one recording of it is there.
    """
    folder = Path(folder)
    found = [(row, path) for row in _read_list(folder) if (path := _find(folder, row.stem)) is not None]
    if not found:
        raise absent(INFO.name, folder, "no recordings")
    rows, paths = zip(*found, strict=True)
    return SoundSet(
        paths=paths,
        labels=np.array([row.label for row in rows], np.int64),
        speakers=None,
        indices=np.array([row.take for row in rows], np.int64),
        source_clips=tuple(str(row.clip) for row in rows),
        folds=np.array([row.fold for row in rows], np.int64),
    )


def check(folder: Path) -> Report:
    """Decode every recording and look for gaps: it stands in for the checksum that the archive does not have.

    A fold of which nothing is there is noted only, as the others can be used; a gap in a fold is damage.
    """
    folder = Path(folder)
    sounds, rows = load(folder), _read_list(folder)
    have = {path.stem for path in sounds.paths}
    folds = {row.fold for row in rows if row.stem in have}
    missing = [f"audio/{row.stem}.wav" for row in rows if row.fold in folds and row.stem not in have]
    notes = [f"recordings of {len({row.clip for row in rows if row.stem in have})} source clips"]
    if absent_folds := sorted({row.fold for row in rows} - folds):
        num = sum(row.fold in absent_folds for row in rows)
        notes.append(f"nothing of fold {', '.join(map(str, absent_folds))}: {num} of {len(rows)} recordings")
    notes += _divided(rows)
    report = check_sounds(INFO, folder, sounds, missing=missing, notes=notes)
    return replace(report, problems=(*report.problems, *_miscounted(rows)))


def _miscounted(rows: list[_Row]) -> list[str]:
    """Classes of which the list does not have what each fold of ESC-50 has."""
    counts = Counter((row.fold, row.label) for row in rows)
    return [
        f"the list has {count} recordings of {name} in fold {fold}, expected {_PER_FOLD}"
        for fold in sorted({row.fold for row in rows})
        for label, name in enumerate(INFO.classes)
        if (count := counts[fold, label]) != _PER_FOLD
    ]


def _divided(rows: list[_Row]) -> list[str]:
    """Source clips that the publisher has put into several folds, against his own rule."""
    folds: dict[int, set[int]] = {}
    for row in rows:
        folds.setdefault(row.clip, set()).add(row.fold)
    return [
        f"source clip {clip} is in folds {', '.join(map(str, sorted(of_clip)))}: 'fold:N' divides it"
        for clip, of_clip in sorted(folds.items())
        if len(of_clip) > 1
    ]


def _read_list(folder: Path) -> list[_Row]:
    """The publisher's list of recordings, sorted."""
    path = next((folder / name for name in _LISTS if (folder / name).is_file()), None)
    if path is None:
        raise absent(INFO.name, folder, f"no {' or '.join(_LISTS)}")
    if path.stat().st_size > _MAX_LIST_BYTES:
        raise DatasetError(f"{path}: larger than {_MAX_LIST_BYTES} bytes; not the publisher's list")
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            reader = csv.DictReader(stream)
            if lacking := _COLUMNS - set(reader.fieldnames or ()):
                raise DatasetError(f"{path}: no column {', '.join(sorted(lacking))}; not the publisher's list")
            rows = sorted(_read_line(path, reader.line_num, line) for line in reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{path}: cannot be read: {error}") from error
    twice = [stem for stem, count in Counter(row.stem for row in rows).items() if count > 1]
    if twice:
        raise DatasetError(f"{path}: {twice[0]} stands there twice; not the publisher's list")
    return rows


def _read_line(path: Path, number: int, line: dict[str, str | None]) -> _Row:
    """One recording. Its name says all that the columns say, and must say the same."""
    name = line["filename"] or ""
    match = _NAME.fullmatch(name)
    if match is None:
        raise DatasetError(f"{path}: line {number}: '{name}' is not named {{fold}}-{{clip}}-{{take}}-{{target}}.wav")
    fold, clip, take, target = match.groups()
    label = int(target)
    category = INFO.classes[label] if label < len(INFO.classes) else None
    if (line["fold"], line["target"], line["category"]) != (fold, str(label), category):
        raise DatasetError(
            f"{path}: line {number}: {name} is listed as fold {line['fold']}, target {line['target']}, "
            f"{line['category']}; not the publisher's list"
        )
    return _Row(label, int(fold), int(clip), ord(take) - ord("A"), name.rpartition(".")[0])


def _find(folder: Path, stem: str) -> Path | None:
    """The recording's file; the official ones are WAV."""
    paths = (folder / "audio" / f"{stem}{suffix}" for suffix in (".wav", ".flac"))
    return next((path for path in paths if path.is_file()), None)
