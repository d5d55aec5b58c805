"""A report as one HTML file that asks nothing of the network: pictures are inside, and no script runs."""

from __future__ import annotations

import math
from base64 import b64encode
from collections.abc import Iterable, Sequence
from html import escape
from importlib.resources import files
from itertools import groupby
from string import Template

from soundsight.evaluation.report import OURS, Group, Report, Sample, shown_groups
from soundsight.picture import encode

__all__ = ["how", "page", "render"]


def render(report: Report) -> str:
    """The page of one evaluation."""
    groups = _groups("By label", report.by_label) + _groups("By speaker", report.by_speaker)
    content = (
        "".join(f'<p class="warn">{escape(note)}</p>\n' for note in report.notes)
        + f"<h2>Scores</h2>\n{_scores(report)}\n{_pictures(report)}\n"
        + (f"<h2>What was read as what</h2>\n{_confusion(report)}\n" if report.labels else "")
        + (f'<h2>In detail</h2>\n<div class="columns">\n{groups}\n</div>\n' if groups else "")
        + how(report.command, report.facts())
    )
    return page(f"{report.model}: evaluation", report.subtitle, content)


def page(title: str, subtitle: str, content: str) -> str:
    """A page in the style of all reports.

    Args:
        title: Text.
        subtitle: Text.
        content: HTML.
    """
    template = Template((files("soundsight.evaluation") / "page.html").read_text(encoding="utf-8"))
    return template.substitute(title=escape(title), subtitle=escape(subtitle), content=content)


def how(command: str, facts: Sequence[tuple[str, list[str]]]) -> str:
    """The part of a page that says how it was made."""
    lines = "\n".join(f"<dt>{escape(name)}</dt><dd>{_lines(values)}</dd>" for name, values in facts)
    return f"<h2>How this was made</h2>\n<pre><code>{escape(command)}</code></pre>\n<dl>\n{lines}\n</dl>\n"


def _scores(report: Report) -> str:
    """A column for each score; one that a baseline reaches is marked, and in words below."""
    tables = []
    for scores, rows in report.tables():
        head = "".join(f'<th scope="col">{escape(score.title)}</th>' for score in scores)
        body = []
        for name, values in rows:
            ours = ' class="ours"' if name == OURS else ""
            # A star stands for a baseline that does as well: in colour, too, for those who see it.
            cells = "".join(
                f"<td{' class=warn' if value.endswith('*') else ''}>{escape(value)}</td>" for value in values
            )
            body.append(f'<tr{ours}><th scope="row">{escape(name)}</th>{cells}</tr>')
        table = f"<table><thead><tr><td></td>{head}</tr></thead><tbody>{''.join(body)}</tbody></table>"
        tables.append(f'<div class="scroll">{table}</div>')
    lines = []
    for score in report.scores:
        if score.reached_by:
            others = escape(", ".join(score.reached_by))
            lines.append(f'<p class="warn">* {escape(score.title)}: reached without a model by {others}.</p>')
        if score.published:
            lines.append(f'<p class="soft">Published: {escape(score.published.source)}.</p>')
    note = f'<p class="soft">{escape(report.score_note)}</p>'
    return "\n".join(tables) + f"\n{note}{''.join(lines)}"


def _pictures(report: Report) -> str:
    """Random pictures in one list per label."""
    if not report.samples:
        return ""
    parts = [
        "<h2>Pictures</h2>",
        f'<p class="soft">Drawn at random with seed {report.seed}, not picked.'
        f"{' Outlined: what the judge misread.' if report.labels else ''}</p>",
    ]
    for label, samples in groupby(report.samples, key=lambda sample: sample.label):
        items = "".join(_picture(sample, is_read=bool(report.labels)) for sample in samples)
        parts.append(f'<h3>{escape(label)}</h3>\n<ul class="pictures">{items}</ul>')
    return "\n".join(parts)


def _picture(sample: Sample, *, is_read: bool) -> str:
    png = b64encode(encode(sample.image_HWC, "png", {})).decode()
    height, width = sample.image_HWC.shape[:2]
    right = sample.label == sample.decision
    read_as = f"Picture made from {sample.sound}, which says {sample.label}; read as {sample.decision}"
    alt = escape(read_as if is_read else f"{sample.label} picture of {sample.sound}")
    read = "" if right else f"<br><b>read as {escape(sample.decision)}</b>"
    return (
        f"<li{'' if right else ' class=wrong'}>"
        f'<img src="data:image/png;base64,{png}" width="{width}" height="{height}" alt="{alt}">'
        f"{escape(sample.sound)}{read}</li>"
    )


def _confusion(report: Report) -> str:
    """Counts, shaded by their share of the row."""
    head = "".join(f'<th scope="col">{escape(label)}</th>' for label in report.labels)
    rows = []
    for label, counts in zip(report.labels, report.confusion_LL.tolist(), strict=True):
        total = max(1, sum(counts))
        cells = "".join(
            f'<td style="--share:{count / total:.3f}">{count:,}</td>' if count else '<td class="zero">0</td>'
            for count in counts
        )
        rows.append(f'<tr><th scope="row">{escape(label)}</th>{cells}</tr>')
    return (
        '<div class="scroll"><table class="confusion"><caption>Number of pictures. '
        "Row: what the picture should show. Column: what the judge read.</caption>"
        f"<thead><tr><td></td>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def _groups(title: str, groups: Sequence[Group]) -> str:
    if not groups:
        return ""
    shown, left_out = shown_groups(groups)
    rows = "".join(
        f'<tr><th scope="row">{escape(g.name)}</th><td>{_percent(g.accuracy)}</td><td>{g.num_pictures:,}</td></tr>'
        for g in shown
    )
    more = f"; the {len(shown)} lowest of {len(groups)}, all are in report.json" if left_out else ""
    return (
        f'<div class="scroll"><table><caption>{title}{more}</caption><thead><tr><td></td>'
        f'<th scope="col">accuracy</th><th scope="col">pictures</th></tr></thead><tbody>{rows}</tbody></table></div>'
    )


def _percent(share: float) -> str:
    return "–" if math.isnan(share) else f"{100 * share:.2f} %"


def _lines(values: Iterable[str]) -> str:
    return "<br>".join(escape(value) for value in values)
