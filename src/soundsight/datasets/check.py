"""What is really in a data set's folder: counts, durations, formats, damage, gaps, and items that occur twice."""

from __future__ import annotations

import gzip
import hashlib
import os
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from soundsight import audio
from soundsight.datasets.info import DatasetInfo
from soundsight.datasets.types import ImageSet, SoundSet
from soundsight.errors import AudioError, DatasetError

__all__ = ["Report", "check_images", "check_sounds", "content_md5", "statistics", "twice"]


@dataclass(frozen=True, slots=True)
class Report:
    """The findings of a check.

    Attributes:
        name: The data set.
        kind: ``"sound"`` or ``"image"``.
        folder: Where it was looked for.
        num_items: Recordings or images.
        classes: Items per class.
        speakers: Recordings per speaker.
        durations_s: ``min``, ``median`` and ``max`` of the recordings.
        formats: Items per format.
        missing: Names of items that should be there.
        corrupt: One line for each item that cannot be used.
        problems: One line for anything else that is broken.
        duplicates: Groups of items with the same content. No damage, but a leak if split between train and test.
        notes: Worth knowing, not broken.
    """

    name: str
    kind: str
    folder: Path
    num_items: int = 0
    classes: Mapping[str, int] = field(default_factory=dict)
    speakers: Mapping[str, int] = field(default_factory=dict)
    durations_s: Mapping[str, float] = field(default_factory=dict)
    formats: Mapping[str, int] = field(default_factory=dict)
    missing: tuple[str, ...] = ()
    corrupt: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    duplicates: tuple[tuple[str, ...], ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether the data set can be used as it is."""
        return not (self.missing or self.corrupt or self.problems)

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        keys = ("name", "kind", "num_items", "missing", "corrupt", "problems", "duplicates", "notes")
        plain = {key: getattr(self, key) for key in keys}
        counts = {key: dict(getattr(self, key)) for key in ("classes", "speakers", "durations_s", "formats")}
        return plain | counts | {"folder": str(self.folder), "ok": self.ok}


@dataclass(frozen=True, slots=True)
class _File:
    """One recording: its raw duration, format and a digest of its samples; or why it cannot be used."""

    duration_s: float = 0.0
    format: str = ""
    digest: bytes = b""
    error: str = ""


def check_sounds(
    info: DatasetInfo,
    folder: Path,
    sounds: SoundSet,
    *,
    missing: Iterable[str] = (),
    expected_format: str | None = None,
    notes: Iterable[str] = (),
) -> Report:
    """Decode and condition every recording, as training would.

    Args:
        info: The data set; its classes name the labels.
        folder: Its folder, for shorter names in the report.
        sounds: Its recordings.
        missing: Names that the caller knows to be missing.
        expected_format: What every recording should be, as in ``Report.formats``; others count as problems.
        notes: Passed on.

    Returns:
        The report.
    """
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        files = list(pool.map(_inspect, sounds.paths))
    names = [path.relative_to(folder).as_posix() for path in sounds.paths]
    good = [file for file in files if not file.error]
    formats = Counter(file.format for file in good)
    problems = [
        f"{count} recordings are {form}, expected {expected_format}"
        for form, count in formats.items()
        if expected_format is not None and form != expected_format
    ]
    seconds = np.array([file.duration_s for file in good])
    return Report(
        name=info.name,
        kind=info.kind,
        folder=folder,
        num_items=len(sounds),
        classes=_count(info, sounds.labels),
        speakers=dict(sorted(Counter(sounds.speakers or ()).items())),
        durations_s=statistics(seconds) if len(seconds) else {},
        formats=dict(formats),
        missing=tuple(missing),
        corrupt=tuple(f"{name}: {file.error}" for name, file in zip(names, files, strict=True) if file.error),
        problems=tuple(problems),
        duplicates=twice(names, [file.digest for file in files]),
        notes=tuple(notes),
    )


def statistics(values: NDArray[np.float64]) -> dict[str, float]:
    """Least, middle and largest, for ``Report.durations_s``."""
    return {"min": float(values.min()), "median": float(np.median(values)), "max": float(values.max())}


def _inspect(path: Path) -> _File:
    import soundfile

    try:
        with soundfile.SoundFile(path) as file:
            rate_hz, frames, channels = file.samplerate, file.frames, file.channels
            form = f"{file.format} {file.subtype}, {rate_hz} Hz, {channels} channel{'s' if channels != 1 else ''}"
        clip = audio.decode(path, sample_rate_hz=rate_hz)
        audio.condition(clip)
    except (AudioError, OSError, soundfile.LibsndfileError) as error:
        # The report names the file itself.
        return _File(error=" ".join(str(error).replace(f"{path}: ", "").split()))
    # Of the samples, so that the same recording under another header is found too.
    digest = hashlib.sha256(clip.samples.tobytes()).digest()
    return _File(frames / rate_hz, form, digest)


def check_images(info: DatasetInfo, folder: Path, parts: Mapping[str, ImageSet], *, problems: Iterable[str]) -> Report:
    """Count images per class and find those that occur twice.

    Args:
        info: The data set; its classes name the labels.
        folder: Its folder.
        parts: ``"train"`` and ``"test"``, or whatever parts it has.
        problems: Passed on.

    Returns:
        The report; images are named ``part:row``.
    """
    labels_N = np.concatenate([part.labels for part in parts.values()])
    names = [f"{key}:{row}" for key, part in parts.items() for row in range(len(part))]
    digests = [hashlib.sha256(image.tobytes()).digest() for part in parts.values() for image in part.images_NCHW]
    formats: Counter[str] = Counter()
    for part in parts.values():
        _, num_channels, height, width = part.images_NCHW.shape
        formats[f"{height}×{width} {'grey' if num_channels == 1 else 'colour'}, 8 bit"] += len(part)
    return Report(
        name=info.name,
        kind=info.kind,
        folder=folder,
        num_items=len(labels_N),
        classes=_count(info, labels_N),
        formats=dict(formats),
        problems=tuple(problems),
        duplicates=twice(names, digests),
        notes=tuple(f"{key}: {len(part)} images" for key, part in parts.items()),
    )


def content_md5(path: Path) -> str:
    """MD5 of a file, or of what is inside where its name ends in ``.gz``.

    Raises:
        DatasetError: The file cannot be read, or its gzip stream is damaged.
    """
    digest = hashlib.md5(usedforsecurity=False)
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as stream:
            while block := stream.read(2**20):
                digest.update(block)
    except (OSError, EOFError, zlib.error) as error:
        raise DatasetError(f"{path}: cannot be read: {error}") from error
    return digest.hexdigest()


def _count(info: DatasetInfo, labels: Iterable[int]) -> dict[str, int]:
    counts = Counter(int(label) for label in labels)
    return {name: counts[label] for label, name in enumerate(info.classes)}


def twice(names: Sequence[str], digests: Sequence[bytes]) -> tuple[tuple[str, ...], ...]:
    """Names that share a digest; an empty digest is shared with nobody."""
    groups: dict[bytes, list[str]] = {}
    for name, digest in zip(names, digests, strict=True):
        if digest:
            groups.setdefault(digest, []).append(name)
    return tuple(tuple(group) for group in groups.values() if len(group) > 1)
