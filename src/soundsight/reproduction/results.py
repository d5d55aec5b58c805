"""Scores of many runs as rows of the paper's tables: means and ranges, with what they must be read beside."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from soundsight.evaluation.published import Published, published
from soundsight.evaluation.trial import TRAIN_IMAGES
from soundsight.reproduction.plan import PAIRINGS, Pairing, Run

__all__ = ["METRICS", "Result", "Row", "Value", "result_of", "rows", "trend"]

METRICS = ("accuracy", "recording_accuracy", "diversity", "feature_diversity")


@dataclass(frozen=True, slots=True)
class Result:
    """What one run scored.

    Attributes:
        run: The run.
        scores: A value for each of ``METRICS``.
        baselines: For each metric, what scored how much without the model.
    """

    run: Run
    scores: dict[str, float]
    baselines: dict[str, dict[str, float]]


@dataclass(frozen=True, slots=True)
class Value:
    """A mean over runs with the lowest and the highest."""

    mean: float
    low: float
    high: float
    num_runs: int


@dataclass(frozen=True, slots=True)
class Row:
    """A row of Table 4 or 5.

    Attributes:
        title: The system, with α.
        system: Its name.
        alpha: Its α, if it has one.
        pairing: How recordings and pictures are paired.
        split: ``random``, or ``unseen speakers``: the mean over the speakers left out.
        scores: For each metric, ours.
        baselines: For each metric, the mean of each baseline, ``archetype`` among them where it was trained.
        published: The paper's accuracy for the same data and split.
        published_elsewhere: For one-to-one pairing on FSDD the paper's on Speech Commands, which are other data.
    """

    title: str
    system: str
    alpha: float | None
    pairing: Pairing
    split: str
    scores: dict[str, Value]
    baselines: dict[str, dict[str, float]]
    published: Published | None
    published_elsewhere: Published | None

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        return asdict(self)


def result_of(run: Run, report: dict[str, Any]) -> Result:
    """The scores of a run from the JSON of its evaluation."""
    scores = {name: float(report["scores"][name]["value"]) for name in METRICS}
    baselines = {
        name: {b["name"]: float(b["value"]) for b in report["scores"][name]["baselines"] if b["name"] != TRAIN_IMAGES}
        for name in METRICS
    }
    return Result(run, scores, baselines)


def rows(results: Iterable[Result], system: str) -> list[Row]:
    """The rows of one system: for each pairing, split and α what was run of it."""
    everything = list(results)
    groups: dict[tuple[Pairing, str, float], list[Result]] = {}
    for result in everything:
        run = result.run
        if run.system == system:
            groups.setdefault((run.pairing, _split(run), run.alpha or 0.0), []).append(result)
    keys = sorted(groups, key=lambda key: (PAIRINGS.index(key[0]), key[1] != "random", key[2]))
    return [_row(groups[key], everything) for key in keys]


def trend(values: list[tuple[float, float]]) -> float | None:
    """Spearman's rank correlation: 1 always rising, -1 always falling; equal values share their mean rank.

    None where there are fewer than three pairs: two points are no trend.
    """
    if len(values) < 3:
        return None
    first, second = (_ranks(column) for column in zip(*values, strict=True))
    return 0.0 if len(set(second)) == 1 else statistics.correlation(first, second)


def _ranks(values: tuple[float, ...]) -> list[float]:
    in_order = sorted(values)
    return [in_order.index(value) + (in_order.count(value) - 1) / 2 for value in values]


def _split(run: Run) -> str:
    return "random" if run.split == "random" else "unseen speakers"


def _row(group: list[Result], everything: list[Result]) -> Row:
    run, split = group[0].run, _split(group[0].run)
    same = [
        other
        for other in everything
        if other.run.system == "archetype"
        and (other.run.pairing, other.run.split, other.run.seed)
        in {(r.run.pairing, r.run.split, r.run.seed) for r in group}
    ]
    baselines = {}
    for name in METRICS:
        baselines[name] = {
            other: statistics.mean(result.baselines[name][other] for result in group)
            for other in group[0].baselines[name]
        }
        if same and run.system != "archetype":
            baselines[name]["archetype"] = statistics.mean(result.scores[name] for result in same)
    options = {} if run.alpha is None else {"alpha": run.alpha}
    sounds = {"many-to-one": "fsdd", "one-to-one-scd": "speech_commands"}.get(run.pairing, "")
    paper = published(run.system, options, sounds, split, "accuracy")
    other_data = None
    if (run.pairing, split) == ("one-to-one", "random"):
        other_data = published(run.system, options, "speech_commands", "random", "accuracy")
    return Row(
        title=run.title,
        system=run.system,
        alpha=run.alpha,
        pairing=run.pairing,
        split=split,
        scores={name: _value([result.scores[name] for result in group]) for name in METRICS},
        baselines=baselines,
        published=paper,
        published_elsewhere=other_data,
    )


def _value(values: list[float]) -> Value:
    return Value(statistics.mean(values), min(values), max(values), len(values))
