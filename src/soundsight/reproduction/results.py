"""Scores of many runs as rows of the paper's tables: means and ranges, with what they must be read beside."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from soundsight.evaluation.published import Published, published
from soundsight.evaluation.trial import TEST_IMAGES, TRAIN_IMAGES
from soundsight.reproduction.plan import PAIRINGS, Pairing, Run

__all__ = ["EVALUATION", "METRICS", "Result", "Row", "Value", "result_of", "rows", "split_of"]

EVALUATION = 2
"""Version of what is computed; one more for each change of a number that stays by its name."""
METRICS = ("accuracy", "recording_accuracy", "diversity", "feature_diversity")


@dataclass(frozen=True, slots=True)
class Result:
    """What one run scored.

    Attributes:
        run: The run.
        scores: A value for each of ``METRICS``; NaN for what could not be computed.
        baselines: For each metric, what scored how much without the model.
        error: Standard error of the accuracy over test recordings; None where it cannot be told.
    """

    run: Run
    scores: dict[str, float]
    baselines: dict[str, dict[str, float]]
    error: float | None = None


@dataclass(frozen=True, slots=True)
class Value:
    """A mean over the runs of which it is known, with the lowest and the highest; NaN where it is of none."""

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
        error: Standard error of the accuracy over test recordings, where there is but one run.
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
    error: float | None
    published: Published | None
    published_elsewhere: Published | None

    @property
    def reached_by(self) -> tuple[str, ...]:
        """What reaches the accuracy without the system: where there is one, it says nothing of it."""
        ours, beside = self.scores["accuracy"].mean, self.baselines["accuracy"]
        return tuple(name for name, value in beside.items() if name != TEST_IMAGES and value >= ours)

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        return asdict(self)


def result_of(run: Run, report: dict[str, Any]) -> Result:
    """The scores of a run from the JSON of its evaluation."""
    scores = {name: _number(report["scores"][name]["value"]) for name in METRICS}
    baselines = {
        name: {b["name"]: _number(b["value"]) for b in report["scores"][name]["baselines"] if b["name"] != TRAIN_IMAGES}
        for name in METRICS
    }
    return Result(run, scores, baselines, report["scores"]["accuracy"].get("error"))


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


def rows(results: Iterable[Result], system: str) -> list[Row]:
    """The rows of one system: for each pairing, split and α what was run of it."""
    everything = list(results)
    groups: dict[tuple[Pairing, str, float], list[Result]] = {}
    for result in everything:
        run = result.run
        if run.system == system:
            groups.setdefault((run.pairing, split_of(run), run.alpha or 0.0), []).append(result)
    keys = sorted(groups, key=lambda key: (PAIRINGS.index(key[0]), key[1] != "random", key[2]))
    return [_row(groups[key], everything) for key in keys]


def split_of(run: Run) -> str:
    """How tables name a run's split."""
    return "random" if run.split == "random" else "unseen speakers"


def _row(group: list[Result], everything: list[Result]) -> Row:
    run, split = group[0].run, split_of(group[0].run)
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
            if all(other in result.baselines[name] for result in group)
        }
        if same and run.system != "archetype":
            baselines[name]["archetype"] = statistics.mean(result.scores[name] for result in same)
    options = {} if run.alpha is None else {"alpha": run.alpha}
    sounds = "speech_commands" if run.pairing == "one-to-one-scd" else "fsdd"
    how = run.pairing.removesuffix("-scd")
    paper = published(run.system, options, sounds, how, split, "accuracy")
    other_data = None
    if run.pairing == "one-to-one":
        other_data = published(run.system, options, "speech_commands", how, split, "accuracy")
    return Row(
        title=run.title,
        system=run.system,
        alpha=run.alpha,
        pairing=run.pairing,
        split=split,
        scores={name: _value([result.scores[name] for result in group]) for name in METRICS},
        baselines=baselines,
        error=group[0].error if len(group) == 1 else None,
        published=paper,
        published_elsewhere=other_data,
    )


def _value(values: list[float]) -> Value:
    known = [value for value in values if math.isfinite(value)]
    if not known:
        return Value(math.nan, math.nan, math.nan, 0)
    return Value(statistics.mean(known), min(known), max(known), len(known))
