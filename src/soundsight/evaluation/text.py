"""A report as plain lines: what a terminal, a pipe and a screen reader can all show."""

from __future__ import annotations

import math
from collections.abc import Iterator

from soundsight.evaluation.report import Group, Report, Score, number, ours, shown_groups

__all__ = ["lines"]


def lines(report: Report) -> Iterator[str]:
    """Scores with what they stand beside, then labels and speakers; a line for each."""
    yield f"{report.model}: evaluation"
    yield report.subtitle
    yield from (f"note: {note}" for note in report.notes)
    for score in report.scores:
        yield ""
        yield from _score(score)
    yield ""
    yield report.score_note
    if report.labels:
        yield from _labels(report)
    if report.by_speaker:
        yield ""
        shown, left_out = shown_groups(report.by_speaker)
        yield f"speakers, the lowest; {left_out} more in report.json" if left_out else "speakers"
        yield from (f"  {_group(group)}" for group in shown)


def _score(score: Score) -> Iterator[str]:
    yield f"{score.title}: {ours(score)}" if not math.isnan(score.value) else score.title
    if score.published:
        yield f"  published: {number(score, score.published.value)} ({score.published.source})"
    yield from (f"  {baseline.name}: {number(score, baseline.value)}" for baseline in score.baselines)
    if score.reached_by:
        yield f"  * reached without a model by {', '.join(score.reached_by)}"


def _labels(report: Report) -> Iterator[str]:
    """Accuracy of each label and what it is mostly taken for."""
    yield ""
    yield "labels"
    for i, group in enumerate(report.by_label):
        counts = {report.labels[j]: int(n) for j, n in enumerate(report.confusion_LL[i]) if j != i and n}
        worst = sorted(counts.items(), key=lambda item: -item[1])[:3]
        misread = ", ".join(f"{label} ({count})" for label, count in worst)
        yield f"  {_group(group)}" + (f", misread as {misread}" if misread else "")


def _group(group: Group) -> str:
    share = "–" if math.isnan(group.accuracy) else f"{100 * group.accuracy:.2f} %"
    return f"{group.name}: {share} of {group.num_pictures:,}"
