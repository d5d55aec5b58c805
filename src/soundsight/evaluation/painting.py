"""Pictures of what a frozen text-to-image model is told, each painted once, and read by a judge."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from soundsight.backbones.backbone import Backbone
from soundsight.conditioning import Conditioning
from soundsight.errors import ModelError
from soundsight.evaluation.networks import Judge
from soundsight.evaluation.trial import Watch
from soundsight.evaluation.words import Asked, Words
from soundsight.folder import ModelFolder
from soundsight.training.adapter_evaluation import Trial

__all__ = ["Scene", "Seen", "Settings", "paint"]

Int64 = NDArray[np.int64]
UInt8 = NDArray[np.uint8]
# Pixels that are painted at once: 64 pictures of 32 by 32, one of 256 by 256.
_PIXELS = 1 << 16


@dataclass(frozen=True, slots=True)
class Settings:
    """How it is painted and read.

    Attributes:
        backbone: Name on the hub, or folder, of the model that paints.
        judge: What reads the pictures, by name or folder.
        seed: Of the noise and of the choice of samples.
        draws: Pictures of each recording, each with its own noise.
        num_samples: Random pictures of each label in the report.
        steps: From noise to picture; None for as many as ``generate`` takes.
        guidance: How closely the words are followed; None for as in ``generate``.
        options: Of ``backbones.load``.
    """

    backbone: str
    judge: str
    seed: int = 0
    draws: int = 1
    num_samples: int = 10
    steps: int | None = None
    guidance: float | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def painting(self) -> dict[str, Any]:
        """Of ``Backbone.paint``."""
        asked = {"steps": self.steps, "guidance": self.guidance}
        return {name: value for name, value in asked.items() if value is not None}


class _Job(NamedTuple):
    """A picture: which words of which table, and which noise."""

    table: str
    place: int
    noise: int


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """All that is known before anything is painted.

    Attributes:
        trial: The adapter and its data.
        asked: The P pictures of each row.
        words: What the backbone is told in each row.
        settings: How it is painted and read.
    """

    trial: Trial
    asked: Asked
    words: Words
    settings: Settings

    def samples(self) -> list[int]:
        """Random pictures, some of each label, label by label."""
        rng = np.random.Generator(np.random.Philox(np.random.SeedSequence([self.settings.seed, 1])))
        rows = [np.flatnonzero(self.asked.labels_P == label) for label in np.unique(self.asked.labels_P)]
        return [int(p) for row in rows for p in rng.permutation(row)[: self.settings.num_samples]]


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """What came of it.

    Attributes:
        decisions: Row to what the judge read in each picture, (P,).
        kept: Some of the adapter's pictures, (C, H, W) uint8, by their place.
        num_withheld: Different pictures that a safety checker has made black.
    """

    decisions: dict[str, Int64]
    kept: dict[int, UInt8]
    num_withheld: int


def paint(scene: Scene, painter: Backbone, read: Judge, judge: ModelFolder, watch: Watch | None) -> Seen:
    """Paint what all rows ask for, each picture once, and read it as it would be saved, in 256 levels."""
    jobs = {
        name: [_Job(row.table, place, noise) for noise, place in enumerate(row.index_P.tolist())]
        for name, row in scene.words.rows.items()
    }
    todo = list(dict.fromkeys(job for row in jobs.values() for job in row))
    decided: dict[_Job, int] = {}
    kept: dict[int, UInt8] = {}
    wanted, num_withheld = set(scene.samples()), 0
    for batch in _batches(todo, painter.default_size):
        table = scene.words.tables[batch[0].table]
        said = Conditioning(**{name: part[[job.place for job in batch]] for name, part in table.items()})
        noise = [job.noise for job in batch]
        painting = painter.paint(said, seed=scene.settings.seed, rows=noise, **scene.settings.painting)
        images_BCHW = (painting.images_NCHW * np.float32(255) + np.float32(0.5)).astype(np.uint8)
        logits_BL = read(images_BCHW)[0]
        if not np.isfinite(logits_BL).all():
            raise ModelError(
                f"{judge.path}: the judge's logits hold NaN or infinity; choose another, or train it again"
            )
        decided |= zip(batch, logits_BL.argmax(axis=1).tolist(), strict=True)
        num_withheld += len(painting.withheld)
        if batch[0].table == "adapter":
            kept |= {job.noise: images_BCHW[i] for i, job in enumerate(batch) if job.noise in wanted}
        if watch is not None:
            watch(len(decided), len(todo))
    return Seen({row: np.array([decided[job] for job in own]) for row, own in jobs.items()}, kept, num_withheld)


def _batches(jobs: list[_Job], side: int) -> Iterator[list[_Job]]:
    """Jobs of one table each, as many as can be painted at once."""
    size = max(1, _PIXELS // side**2)
    for table in dict.fromkeys(job.table for job in jobs):
        own = [job for job in jobs if job.table == table]
        yield from (own[first : first + size] for first in range(0, len(own), size))
