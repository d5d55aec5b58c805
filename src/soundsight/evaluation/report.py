"""The result of an evaluation, complete: scores, baselines, pictures, and all that is needed to repeat it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from soundsight.evaluation.protocol import Data
from soundsight.evaluation.published import Published
from soundsight.manifest import Kind

__all__ = ["OURS", "Baseline", "Group", "Report", "Sample", "Score", "number", "ours", "shown_groups", "without_nan"]

FORMAT_VERSION = 1
OURS = "this model"
# Speech Commands has thousands of speakers.
_SHOWN_GROUPS = 20
_DIGITS = {True: 4, False: 3}
"""That are shown of a share, which is told in per cent, and of other scores."""


@dataclass(frozen=True, slots=True)
class Baseline:
    """A score that needs no model.

    Attributes:
        name: What was scored.
        value: Its score.
        ceiling: It is what real data reach, not what a model should beat.
    """

    name: str
    value: float
    ceiling: bool = False


@dataclass(frozen=True, slots=True)
class Score:
    """A number with what it must be read beside.

    Attributes:
        name: Of the metric.
        title: In words.
        value: Of what was scored: a share from 0 to 1, a ratio, or a distance.
        error: Standard error over test recordings, where these are what was drawn; None where it cannot be told.
        baselines: The same score without the model.
        published: The paper's number, where there is one for the same data and split.
        lower_is_better: It is a distance.
        table: Where it stands: single pictures, all pictures at once beside real ones, or what was heard.
    """

    name: str
    title: str
    value: float
    error: float | None = None
    baselines: tuple[Baseline, ...] = ()
    published: Published | None = None
    lower_is_better: bool = False
    table: Literal["pictures", "set", "hearing"] = "pictures"

    @property
    def reached_by(self) -> tuple[str, ...]:
        """Baselines that score as well without the model, as far as is shown; where there is one, it says nothing."""
        sign, digits = -1 if self.lower_is_better else 1, _DIGITS[self.is_share]
        ours = sign * round(self.value, digits)
        return tuple(b.name for b in self.baselines if not b.ceiling and sign * round(b.value, digits) >= ours)

    @property
    def is_share(self) -> bool:
        """Whether it is told in per cent."""
        return "accuracy" in self.name


@dataclass(frozen=True, slots=True)
class Group:
    """Accuracy of a part of the pictures: of a label, or of a speaker."""

    name: str
    accuracy: float
    num_pictures: int


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """A picture, drawn at random.

    Attributes:
        image_HWC: (H, W, C) uint8.
        label: What it should show.
        decision: What the judge reads.
        sound: Name of the recording.
    """

    image_HWC: NDArray[np.uint8]
    label: str
    decision: str
    sound: str


@dataclass(frozen=True, slots=True, eq=False)
class Report:
    """All of an evaluation.

    Attributes:
        model: Name of the model.
        system: The published system it is an instance of.
        summary: The card's first line.
        kind: What the model does.
        split: Which recordings tested; None for a judge.
        seed: Of the pairs, the noise and the choice of samples.
        num_pictures: Pictures judged.
        num_recordings: Test recordings; None for a judge.
        num_heard: Test recordings that the model was trained on; above 0 the scores are no test.
        labels: Names of the L labels; none for pairs.
        scores: With their baselines.
        confusion_LL: (L, L) int64; row the label, column what the judge read.
        by_label: Accuracy of each label.
        by_speaker: Accuracy of each speaker.
        samples: Random pictures, label by label.
        data: Data sets with their fingerprints.
        judge: Name and SHA-256 of the judge; empty where pictures of pairs are compared in the features of none.
        alignment: Name and SHA-256 of the space of the alignment score; empty without one.
        more_notes: What a reader must know besides.
        weights: File name to SHA-256 of the model's weights.
        versions: Of what ran.
        command: What printed this.
        date: Day, UTC.
        seconds: Wall-clock time.
    """

    model: str
    system: str
    summary: str
    kind: Kind
    split: str | None
    seed: int
    num_pictures: int
    num_recordings: int | None
    num_heard: int
    labels: tuple[str, ...]
    scores: tuple[Score, ...]
    confusion_LL: NDArray[np.int64]
    by_label: tuple[Group, ...]
    by_speaker: tuple[Group, ...]
    samples: tuple[Sample, ...]
    data: tuple[Data, ...]
    judge: dict[str, str]
    weights: dict[str, str]
    versions: dict[str, str]
    command: str
    date: str
    seconds: float
    alignment: dict[str, str] = field(default_factory=dict)
    more_notes: tuple[str, ...] = ()

    @property
    def subtitle(self) -> str:
        """What was tested on what, in one line."""
        if self.kind == "judge":
            return f"{self.system}, a judge, on {self.num_pictures:,} real test images"
        if self.kind == "alignment":
            return (
                f"{self.system}: {self.num_recordings:,} test recordings and {self.num_pictures:,} real test images "
                f"(split '{self.split}')"
            )
        if not self.labels:
            return f"{self.system}: {self.num_pictures:,} test pairs (split '{self.split}', seed {self.seed})"
        return (
            f"{self.system}: {self.num_pictures:,} pictures from {self.num_recordings:,} test recordings "
            f"(split '{self.split}', seed {self.seed}), read by {self.judge['name']}"
        )

    @property
    def score_note(self) -> str:
        """What the scores are, in a few lines."""
        if self.kind == "judge":
            return "±: standard error over test images"
        if self.kind == "alignment" and not self.labels:
            return (
                "R@k: share of the sounds (pictures) that find the picture (sound) of their own moment among the k "
                "nearest. The frame of the nearest training sound finds what its pixels are like, without a space."
            )
        if self.kind == "alignment":
            return (
                "R@k: share of the sounds (pictures) that find a picture (sound) of their label among the k nearest. "
                "In detail below, R@1 from sound to picture."
            )
        if not self.labels:
            retrieval = (
                " R@k: share of the sounds (pictures) that find the picture (sound) of their own moment among the k "
                "nearest."
            )
            return (
                "Scores of single pictures are means over test pairs. Distances compare all pictures with all real "
                "ones, of whatever moment; what as many real training frames reach is their yardstick. For errors, "
                "losses and distances lower is better. Where a baseline reaches a score, the model's pictures need no "
                "sound to be as like the real ones." + (retrieval if self.alignment else "")
            )
        return (
            "±: standard error over test recordings. Diversity is of the pictures that were read as their label; that "
            "of real test images is 1. Features are those of "
            f"{self.judge['name']}; the distances (lower is better) and what follows them compare the pictures with "
            "real test images there, and say nothing beside numbers from other features."
        )

    def tables(self) -> list[tuple[tuple[Score, ...], list[tuple[str, list[str]]]]]:
        """Tables of scores: of single pictures, of the pictures as a set, and of what was heard.

        Returns:
            For each its scores, which are its columns, and rows of a name and a cell for each score: the model, the
            published number where there is one, the baselines.
        """
        groups = [
            tuple(score for score in self.scores if score.table == table) for table in ("pictures", "set", "hearing")
        ]
        return [(scores, _rows(scores)) for scores in groups if scores]

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader must know before the numbers."""
        if not self.num_heard:
            return self.more_notes
        heard = f"{self.num_heard:,} of the {self.num_recordings:,} test recordings trained this model"
        return (f"{heard}: the scores are no test of it.", *self.more_notes)

    def facts(self) -> list[tuple[str, list[str]]]:
        """What else is needed to repeat it, as names and lines."""
        return [
            ("Model", [self.summary, *_hashes(self.weights)] if self.summary else _hashes(self.weights)),
            *([("Alignment", [self.alignment["name"], *_hashes(_but_name(self.alignment))])] if self.alignment else []),
            *([("Judge", [self.judge["name"], *_hashes(_but_name(self.judge))])] if self.judge else []),
            *(
                (
                    data.title,
                    [
                        f"{data.num_train:,} train, {data.num_test:,} test; SHA-256 of the contents {data.sha256}",
                        f"{data.licence}; {data.attribution}",
                    ],
                )
                for data in self.data
            ),
            ("Versions", [", ".join(f"{name} {number}" for name, number in self.versions.items())]),
            ("Date and time taken", [f"{self.date}, {self.seconds:g} s"]),
        ]

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values, without the pictures."""
        table: dict[str, Any] = {"format_version": FORMAT_VERSION}
        for name in self.__dataclass_fields__:
            table[name] = getattr(self, name)
        table["scores"] = {score.name: {**_plain(score), "reached_by": list(score.reached_by)} for score in self.scores}
        table["confusion"] = table.pop("confusion_LL").tolist()
        for name in ("by_label", "by_speaker", "data"):
            table[name] = [_plain(item) for item in table[name]]
        table["notes"] = list(self.notes)
        table["samples"] = [{"label": s.label, "read_as": s.decision, "sound": s.sound} for s in self.samples]
        return table


def _rows(scores: Sequence[Score]) -> list[tuple[str, list[str]]]:
    names = dict.fromkeys(baseline.name for score in scores for baseline in score.baselines)
    beside = [{b.name: number(score, b.value) for b in score.baselines} for score in scores]
    # Of pairs alone, without a model, there are baselines and nothing else.
    rows = [] if all(math.isnan(score.value) for score in scores) else [(OURS, [ours(score) for score in scores])]
    if any(score.published for score in scores):
        papers = [number(score, score.published.value) if score.published else "–" for score in scores]
        rows.append(("published", papers))
    return rows + [(name, [values.get(name, "–") for values in beside]) for name in names]


def _plain(item: Any) -> dict[str, Any]:
    """A dataclass as JSON values; what could not be computed is null, never a stand-in number."""
    table: dict[str, Any] = without_nan(asdict(item))
    return table


def without_nan(value: Any) -> Any:
    """Nested JSON values with null in place of NaN and infinity, which JSON does not have."""
    if isinstance(value, dict):
        return {key: without_nan(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def number(score: Score, value: float) -> str:
    """A value as text: accuracies in per cent, others as they are, a dash for what could not be computed."""
    if math.isnan(value):
        return "–"
    if math.isinf(value):  # the PSNR of a picture that is the real one itself
        return "∞"
    return f"{100 * value:.2f} %" if score.is_share else f"{value:.{_DIGITS[False]}f}"


def ours(score: Score) -> str:
    """The model's own score as text, with its error, and a star where a baseline reaches it."""
    error = "" if score.error is None else f" ± {100 * score.error:.2f}"
    return number(score, score.value) + error + (" *" if score.reached_by else "")


def shown_groups(groups: Sequence[Group]) -> tuple[list[Group], int]:
    """All groups where they are few, else those of lowest accuracy, and how many are left out."""
    if len(groups) <= _SHOWN_GROUPS:
        return list(groups), 0
    return sorted(groups, key=lambda group: group.accuracy)[:_SHOWN_GROUPS], len(groups) - _SHOWN_GROUPS


def _but_name(described: Mapping[str, str]) -> dict[str, str]:
    return {key: value for key, value in described.items() if key != "name"}


def _hashes(weights: Mapping[str, str]) -> list[str]:
    return [f"{name}, SHA-256 {digest}" for name, digest in weights.items()]
