"""A report on the terminal."""

from __future__ import annotations

import math

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from soundsight.evaluation.report import OURS, Report, shown_groups

__all__ = ["show"]


def show(report: Report, console: Console) -> None:
    """Print scores beside their baselines, then labels and speakers."""
    title = Text(f"{report.model}: evaluation", style="bold")
    parts: list[Table | Text] = [title, Text(report.subtitle), *(Text(note, style="bold red") for note in report.notes)]
    parts += [*_scores(report), Text(report.score_note, style="dim")]
    for score in report.scores:
        if score.reached_by:
            parts.append(
                Text(f"* {score.title}: reached without a model by {', '.join(score.reached_by)}", style="red")
            )
        if score.published:
            parts.append(Text(f"published: {score.published.source}", style="dim"))
    parts.append(_labels(report))
    if report.by_speaker:
        parts.append(_speakers(report))
    console.print(Group(*parts))


def _scores(report: Report) -> list[Table]:
    """A column for each score, a row for the model and each thing it stands beside."""
    tables = []
    for scores, rows in report.tables():
        table = Table("")
        for score in scores:
            table.add_column(score.title, justify="right")
        for name, cells in rows:
            ours = name == OURS
            table.add_row(name, *(Text(cell, style="bold" if ours else "") for cell in cells), end_section=ours)
        tables.append(table)
    return tables


def _labels(report: Report) -> Table:
    """Accuracy of each label and what it is mostly taken for."""
    table = Table("label", box=None, pad_edge=False)
    table.add_column("accuracy", justify="right")
    table.add_column("pictures", justify="right")
    table.add_column("misread as")
    for i, group in enumerate(report.by_label):
        counts = {report.labels[j]: int(n) for j, n in enumerate(report.confusion_LL[i]) if j != i and n}
        worst = sorted(counts.items(), key=lambda item: -item[1])[:3]
        misread = ", ".join(f"{label} ({count})" for label, count in worst)
        table.add_row(group.name, _percent(group.accuracy), f"{group.num_pictures:,}", misread)
    return table


def _speakers(report: Report) -> Table:
    shown, left_out = shown_groups(report.by_speaker)
    table = Table("speaker", box=None, pad_edge=False)
    table.add_column("accuracy", justify="right")
    table.add_column("pictures", justify="right")
    for group in shown:
        table.add_row(group.name, _percent(group.accuracy), f"{group.num_pictures:,}")
    if left_out:
        table.caption = f"the lowest; {left_out} more in report.json"
    return table


def _percent(share: float) -> str:
    return "–" if math.isnan(share) else f"{100 * share:.2f} %"
