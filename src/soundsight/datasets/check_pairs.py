"""What is really in a folder of pairs: damage, gaps, what occurs twice, and how much a random split would leak."""

from __future__ import annotations

import hashlib
import os
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from soundsight import audio, photo
from soundsight.audio.level import SILENCE_PEAK
from soundsight.datasets.check import Report, statistics, twice
from soundsight.datasets.info import DatasetInfo
from soundsight.datasets.pair_set import PairSet
from soundsight.datasets.pair_splits import Leak, leak, split_pairs
from soundsight.datasets.splits import Split
from soundsight.errors import AudioError, DatasetError, ImageError

__all__ = ["check_pairs"]

_RATE_HZ = 16_000
_SIDE = 64


@dataclass(frozen=True, slots=True)
class _File:
    """A picture's or a sound's size and a digest of its contents; or why it cannot be used."""

    size: str = ""
    duration_s: float = 0.0
    digest: bytes = b""
    error: str = ""
    is_silent: bool = False


def check_pairs(info: DatasetInfo, folder: Path, pairs: PairSet) -> Report:
    """Decode every picture and every sound once, and compare a split at random with one by blocks of time.

    Args:
        info: The data set.
        folder: Its folder, for shorter names in the report.
        pairs: Its pairs.

    Returns:
        The report. What occurs twice is no damage; where it lies in two clips, a split by clip leaks it.
    """
    images, sounds = sorted(set(pairs.images)), sorted(set(pairs.sounds or ()))
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        files = dict(
            zip(
                [*images, *sounds],
                pool.map(_inspect, [*images, *sounds], [True] * len(images) + [False] * len(sounds)),
                strict=True,
            )
        )
    missing = pairs.absent()
    corrupt = [
        f"{_name(path, folder)}: {file.error}" for path, file in files.items() if file.error and path not in missing
    ]
    seconds = np.array([files[path].duration_s for path in sounds if not files[path].error])
    return Report(
        name=info.name,
        kind=info.kind,
        folder=folder,
        num_items=len(pairs),
        durations_s={} if not len(seconds) else statistics(seconds),
        formats=dict(Counter(files[path].size for path in images if not files[path].error).most_common()),
        missing=tuple(_name(path, folder) for path in missing),
        corrupt=tuple(corrupt),
        duplicates=twice([_name(path, folder) for path in files], [file.digest for file in files.values()]),
        notes=(*_clips(pairs), *_silent(sounds, files, folder), *_across(pairs, files), *_splits(pairs, files)),
    )


def _inspect(path: Path, is_image: bool) -> _File:
    try:
        if is_image:
            height, width, digest = photo.fingerprint(path)
            return _File(f"{height}×{width}", digest=digest)
        clip = audio.decode(path, sample_rate_hz=_RATE_HZ)
    except (AudioError, ImageError) as error:
        return _File(error=" ".join(str(error).replace(f"{path}: ", "").split()))
    # Of the samples, so that the same recording under another header is found too.
    is_silent = bool(np.abs(clip.samples - clip.samples.mean()).max() < SILENCE_PEAK)
    return _File(
        duration_s=clip.duration_s, digest=hashlib.sha256(clip.samples.tobytes()).digest(), is_silent=is_silent
    )


def _clips(pairs: PairSet) -> list[str]:
    counts = Counter(pairs.clips)
    each = (
        f"{min(counts.values())} to {max(counts.values())}"
        if len(set(counts.values())) > 1
        else f"{counts[pairs.clips[0]]}"
    )
    silent = [] if pairs.sounds is not None or pairs.features_PFN is not None else ["pictures alone, without sounds"]
    return [f"{_counted(len(counts), 'clip', 'clips')} of {each} pair{'' if each == '1' else 's'}", *silent]


def _silent(sounds: list[Path], files: dict[Path, _File], folder: Path) -> list[str]:
    """What is no damage, and yet nothing to a front end that listens for something."""
    silent = [path for path in sounds if files[path].is_silent]
    return (
        [f"{_counted(len(silent), 'sound is', 'sounds are')} silent (first: {_name(silent[0], folder)})"]
        if silent
        else []
    )


def _across(pairs: PairSet, files: dict[Path, _File]) -> list[str]:
    """Whether the same contents lie in two clips."""
    clips: dict[bytes, set[str]] = defaultdict(set)
    for column in (pairs.images, pairs.sounds or ()):
        for path, clip in zip(column, pairs.clips, strict=False):
            if files[path].digest:
                clips[files[path].digest].add(clip)
    shared = sum(len(names) > 1 for names in clips.values())
    lies = _counted(shared, "picture or sound lies", "pictures or sounds lie")
    return [f"{lies} in more than one clip: a split by clip leaks them"] if shared else []


def _splits(pairs: PairSet, files: dict[Path, _File]) -> list[str]:
    """For each split that there can be: test files that train, too, and how near the nearest training frame is."""
    lines = []
    for name in ("random", "block", "clip"):
        try:
            split = split_pairs(pairs, name, seed=0)
        except DatasetError:
            continue
        num = _known(pairs, files, split)
        found = None if any(file.error for file in files.values()) else leak(pairs, split, size=_SIDE)
        if found is not None or num:
            found = replace(found or Leak(len(split.test), num), num_shared=num)
            lines.append(f"split '{name}': {found.text}")
    return lines


def _known(pairs: PairSet, files: dict[Path, _File], split: Split) -> int:
    """Test pairs whose picture or sound has the contents of one that trains."""

    def digests(row: int) -> set[bytes]:
        paths = [pairs.images[row], *([] if pairs.sounds is None else [pairs.sounds[row]])]
        return {files[path].digest for path in paths} - {b""}

    train = set().union(*(digests(row) for row in split.train))
    return sum(not train.isdisjoint(digests(row)) for row in split.test)


def _counted(num: int, one: str, many: str) -> str:
    return f"{num:,} {one if num == 1 else many}"


def _name(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else str(path)
