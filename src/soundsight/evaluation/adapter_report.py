"""The report of an adapter in front of a backbone: what it says, and what is read in the pictures of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from itertools import islice
from typing import Any

from soundsight.evaluation import text
from soundsight.evaluation.report import Report, without_nan
from soundsight.training.adapter_report import AdapterReport

__all__ = ["Painted", "Pictures", "Sound"]


@dataclass(frozen=True, slots=True)
class Sound:
    """Pictures of one class of sounds.

    Attributes:
        name: Of the class.
        label: What the judge calls it.
        accuracy: Share of its pictures that were read so.
        own_prompt: The same of the pictures of its own prompt.
        num_pictures: Of each.
    """

    name: str
    label: str
    accuracy: float
    own_prompt: float
    num_pictures: int


@dataclass(frozen=True, slots=True, eq=False)
class Pictures(Report):
    """What was read in the pictures.

    Attributes:
        backbone: ``name``, ``family``, ``steps`` and ``guidance``, where they were asked for, and the SHA-256 of each
            file of weights that paints.
        by_sound: Accuracy of each class of sounds.
    """

    backbone: dict[str, Any] = field(default_factory=dict)
    by_sound: tuple[Sound, ...] = ()

    @property
    def score_note(self) -> str:
        """What the scores are, in a few lines."""
        return (
            "±: standard error over recordings; takes of one source clip count as one. Each recording has noise of its "
            "own, and all rows have the same. Prompts are told in the parts that the adapter says, the rest of what "
            "the backbone hears is that of an empty text; what rows with prompts and real images reach is not what an "
            "adapter must beat."
        )

    def facts(self) -> list[tuple[str, list[str]]]:
        """What else is needed to repeat it, as names and lines."""
        weights = [f"{name}, SHA-256 {digest}" for name, digest in self.backbone.get("weights", {}).items()]
        name = f"{self.backbone.get('name')}, a {self.backbone.get('family')}"
        # As the class is made anew for its slots, super() would not find itself.
        return [*Report.facts(self), ("Backbone", [name, *weights])]

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values, without the pictures."""
        table = Report.to_json(self)
        table["by_sound"] = [without_nan(asdict(sound)) for sound in self.by_sound]
        return table


@dataclass(frozen=True, slots=True, eq=False)
class Painted:
    """All of an evaluation.

    Attributes:
        adapter: What is said, beside what texts say.
        pictures: What is painted of it.
    """

    adapter: AdapterReport
    pictures: Pictures

    def lines(self) -> Iterator[str]:
        """As plain lines; a score that is reached without the adapter is marked."""
        yield from self.adapter.lines()
        yield ""
        yield f"{self.pictures.model}: pictures"
        yield from islice(text.lines(self.pictures), 1, None)
        yield ""
        yield "sounds"
        for sound in self.pictures.by_sound:
            yield (
                f"  {sound.name}, to be read as {sound.label}: {100 * sound.accuracy:.2f} % of {sound.num_pictures:,}; "
                f"of its own prompt {100 * sound.own_prompt:.2f} %"
            )

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {**self.adapter.to_json(), "pictures": self.pictures.to_json()}
