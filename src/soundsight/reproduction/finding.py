"""The paper's finding, that low α is diverse and high α consistent, held against ours: its halves in sentences."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable
from itertools import pairwise
from typing import Literal

from soundsight.reproduction.plan import shortest
from soundsight.reproduction.results import Result, Row, rows, split_of

__all__ = ["finding"]

_MIN_RUNS = 3
"""Fewer agree by chance too often: one of four for two runs, one of eight for three and either direction."""
_Metric = Literal["accuracy", "diversity", "feature_diversity"]


def finding(results: Iterable[Result]) -> list[str]:
    """What accuracy and diversity do as α rises, in each pairing and split.

    Compared are the runs that every α has: the same seed or the same speaker left out. A direction is one that all of
    them take from the lowest α to the highest; how many of the steps between neighbouring α go the other way is said.

    Returns:
        A sentence for each metric, pairing and split with three α or more: two points are no trend.
    """
    trained = [result for result in results if result.run.system == "aivaegan"]
    table = rows(trained, "aivaegan")
    places = list(dict.fromkeys((row.pairing, row.split) for row in table))
    sentences = []
    for metric in ("accuracy", "diversity", "feature_diversity"):
        for pairing, split in places:
            here = [row for row in table if (row.pairing, row.split) == (pairing, split)]
            there = [r for r in trained if (r.run.pairing, split_of(r.run)) == (pairing, split)]
            if len(here) > 2 and (sentence := _sentence(metric, here, there)):
                sentences.append(sentence)
    return sentences


def _sentence(metric: _Metric, table: list[Row], results: list[Result]) -> str:
    alphas = [row.alpha or 0.0 for row in table]
    by_alpha: list[dict[tuple[str, int], float]] = [
        {(r.run.split, r.run.seed): r.scores[metric] for r in results if (r.run.alpha or 0.0) == alpha}
        for alpha in alphas
    ]
    shared = sorted(set.intersection(*(set(scores) for scores in by_alpha)))
    shared = [run for run in shared if all(math.isfinite(scores[run]) for scores in by_alpha)]
    if not shared:
        return ""
    is_accuracy = metric == "accuracy"
    means = [statistics.mean(scores[run] for run in shared) for scores in by_alpha]
    shown = ", ".join(f"{100 * mean:.1f} %" if is_accuracy else f"{mean:.2f}" for mean in means)
    names = {"accuracy": "Accuracy", "diversity": "Diversity in pixels", "feature_diversity": "Diversity in features"}
    published = [row.published.value for row in table if row.published]
    paper = ""
    if is_accuracy and len(published) == len(table):
        paper = f"; published {', '.join(f'{100 * value:.1f} %' for value in published)}"
    count = f"{len(shared)} {'run' if len(shared) == 1 else 'runs'} each"
    place = f"{table[0].pairing}, {table[0].split}, {count}"
    verdict = _verdict([by_alpha[-1][run] - by_alpha[0][run] for run in shared])
    wanted = "rises" if is_accuracy else "falls"
    if verdict in ("rises", "falls"):
        steps = [after[run] - before[run] for before, after in pairwise(by_alpha) for run in shared]
        against = sum(step <= 0 if verdict == "rises" else step >= 0 for step in steps)
        # The paper has Table 5 for the random split, and figures for diversity, which it does not measure.
        known = bool(paper) if is_accuracy else table[0].split == "random"
        where = "published" if is_accuracy else "the paper shows it"
        agrees = f", {'' if verdict == wanted else 'not '}as {where}" if known else ""
        verdict = f"From the lowest to the highest it {verdict} in every run{agrees}"
        verdict += f"; {against} of {len(steps)} steps between neighbours do not" if against else ""
    values = ", ".join(shortest(alpha) for alpha in alphas)
    return f"{names[metric]} at α = {values} ({place}): {shown}{paper}. {verdict}."


def _verdict(changes: list[float]) -> str:
    if len(changes) < _MIN_RUNS:
        return "Too few runs to tell a direction"
    if all(change > 0 for change in changes):
        return "rises"
    return "falls" if all(change < 0 for change in changes) else "Too close to tell a direction"
