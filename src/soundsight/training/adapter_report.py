"""What was found of an adapter, each number beside what needs no adapter; as lines and as JSON."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from soundsight.folder import ModelFolder

__all__ = ["PUBLISHED", "AdapterReport", "PartScore"]

_SOURCE = "IE643 «The ReLUtionaries», V2D, 2025; other data, other targets"
# Combined loss, MSE and cosine, as printed; which sounds they were measured on is not.
PUBLISHED = {
    "main (AudioSet, pooled)": {"combined": 0.225, "mse": 0.31, "cosine": 0.81},
    "novelty 1": {"combined": 0.9863, "mse": 0.5342, "cosine": 0.5479},
    "novelty 2": {"combined": 0.4360, "mse": 0.5462, "cosine": 0.5640},
    "novelty 3": {"combined": 0.2311, "mse": 0.9653, "cosine": 0.7689},
}
_TITLES = {"mse": "Mean squared error", "cosine": "Cosine with the target", "combined": "Combined loss"}
_MISREAD = 5


@dataclass(frozen=True, slots=True)
class PartScore:
    """One part of what an adapter says.

    Attributes:
        name: Of the part.
        errors: ``mse``, ``cosine`` and ``combined``.
        mean_target: The same of a constant, the mean of the training targets.
        retrieval: k to the share of sounds whose own prompt is among the k nearest.
        beside: What needs no adapter, by name, likewise.
        by_label: Class to the share of its sounds whose own prompt is the nearest.
    """

    name: str
    errors: dict[str, float]
    mean_target: dict[str, float]
    retrieval: dict[int, float]
    beside: dict[str, dict[int, float]]
    by_label: dict[str, float]


@dataclass(frozen=True, slots=True, eq=False)
class AdapterReport:
    """All of an evaluation.

    Attributes:
        folder: The adapter.
        encoder: Who heard for it.
        target: Whose words it learned.
        num_prompts: That are told apart.
        template: Of the prompts; None where they are captions.
        split: Which folds tested.
        num_train: Recordings that trained it.
        num_test: Recordings that tested it.
        num_heard: Test recordings that trained it; above 0 the scores are no test.
        parts: Scores.
        notes: What a reader must know besides.
    """

    folder: ModelFolder
    encoder: str
    target: str
    num_prompts: int
    template: str | None
    split: str
    num_train: int
    num_test: int
    num_heard: int
    parts: tuple[PartScore, ...]
    notes: tuple[str, ...] = ()

    @property
    def prompts(self) -> str:
        """What they are, for readers."""
        return "captions" if self.template is None else f"«{self.template}»"

    def lines(self) -> Iterator[str]:
        """As plain lines; a score that a constant or chance reaches is marked."""
        yield f"{self.folder.name}: evaluation"
        yield (
            f"{self.folder.system}: {self.num_test:,} test recordings heard by {self.encoder} ({self.split}), "
            f"against {self.num_prompts:,} prompts of {self.target} ({self.prompts})"
        )
        if self.num_heard:
            yield f"note: {self.num_heard:,} of the test recordings trained this adapter: the scores are no test of it"
        yield from (f"note: {note}" for note in self.notes)
        for part in self.parts:
            yield from self._part(part)

    def _part(self, part: PartScore) -> Iterator[str]:
        prefix = f"{part.name}: " if len(self.parts) > 1 else ""
        for key, title in _TITLES.items():
            ours, theirs = part.errors[key], part.mean_target[key]
            reached = theirs >= ours if key == "cosine" else theirs <= ours
            yield ""
            yield f"{prefix}{title}: {ours:.4f}{' *' if reached else ''}"
            yield f"  mean target, no sound heard: {theirs:.4f}"
            for row, numbers in PUBLISHED.items():
                yield f"  published, {row}: {numbers[key]:g} ({_SOURCE})"
            if reached:
                yield "  * reached without hearing anything"
        for k, share in part.retrieval.items():
            reached_by = [name for name, found in part.beside.items() if found[k] >= share]
            yield ""
            error = (share * (1 - share) / self.num_test) ** 0.5
            yield f"{prefix}Own prompt among the {k} nearest: {_percent(share)} ± {100 * error:.2f}" + (
                " *" if reached_by else ""
            )
            yield from (f"  {name}: {_percent(found[k])}" for name, found in part.beside.items())
            if reached_by:
                yield f"  * reached without an adapter by {', '.join(reached_by)}"
        if not part.by_label:
            return
        worst = sorted(part.by_label.items(), key=lambda item: item[1])[:_MISREAD]
        yield ""
        yield f"{prefix}lowest: " + ", ".join(f"{label} {_percent(share)}" for label, share in worst)

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {
            "format_version": 1,
            "model": self.folder.name,
            "kind": "adapter",
            "system": self.folder.system,
            "weights": self.folder.weights,
            "encoder": self.folder.features,
            "target": self.folder.target,
            "split": self.split,
            "num_train": self.num_train,
            "num_test": self.num_test,
            "num_heard": self.num_heard,
            "notes": list(self.notes),
            "parts": {part.name: asdict(part) for part in self.parts},
            "published": {"source": _SOURCE, "rows": PUBLISHED},
        }


def _percent(share: float) -> str:
    return f"{100 * share:.2f} %"
