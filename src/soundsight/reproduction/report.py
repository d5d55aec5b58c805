"""The report of a reproduction: rows, curves and pictures as ``report.json``, ``report.html`` and PNG."""

from __future__ import annotations

import math
import os
import platform
import time
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from html import escape
from importlib.metadata import version
from pathlib import Path
from typing import Any

from soundsight._version import __version__
from soundsight.errors import OutputError
from soundsight.evaluation.page import how, page
from soundsight.files import replace_file
from soundsight.reproduction.finding import finding
from soundsight.reproduction.folder import FORMAT_VERSION, PAPER, write_json
from soundsight.reproduction.results import EVALUATION, METRICS, Result, Row, rows
from soundsight.reproduction.zeroing import Curve

__all__ = ["Figure", "Report", "write"]

_BASELINES = ("chance", "constant picture", "nearest recording", "archetype", "real images")


@dataclass(frozen=True, slots=True)
class Figure:
    """A picture of the report.

    Attributes:
        name: Its file, without suffix.
        title: Which figure of the paper it stands for, and of what.
        description: What is to be seen, for those who cannot see it, too.
        png: The file.
    """

    name: str
    title: str
    description: str
    png: bytes


@dataclass(frozen=True, slots=True)
class Report:
    """All of a reproduction.

    Attributes:
        items: Tables and figures asked for.
        results: Scores of all runs.
        curves: Figure 8, by the name of the run.
        figures: Pictures.
        missing: Names of runs that are not trained.
        recipes: By system and pairing, what their trainings follow.
        earlier: Names of runs that are read from an earlier report.
        trained: What training each run took: seconds, steps, date, machine.
        quick: A quick look and no result.
        command: What makes this again.
    """

    items: tuple[str, ...]
    results: tuple[Result, ...]
    curves: dict[str, Curve]
    figures: tuple[Figure, ...]
    missing: tuple[str, ...]
    trained: dict[str, dict[str, Any]]
    quick: bool
    command: str
    recipes: dict[str, dict[str, Any]] = field(default_factory=dict)
    earlier: tuple[str, ...] = ()

    @property
    def tables(self) -> dict[str, list[Row]]:
        """Tables 4 and 5, where they were asked for."""
        systems = {"table4": "aivae", "table5": "aivaegan"}
        return {item: rows(self.results, system) for item, system in systems.items() if item in self.items}

    @property
    def claim(self) -> list[str]:
        """What becomes of the paper's finding, where Table 5 or the plane was asked for."""
        return finding(self.results) if {"table5", "plane"} & set(self.items) else []

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values, without the pictures."""
        return {
            "format_version": FORMAT_VERSION,
            "paper": PAPER,
            "quick": self.quick,
            "tables": {name: [row.to_json() for row in table] for name, table in self.tables.items()},
            "claim": self.claim,
            "runs": [
                {
                    "name": result.run.name,
                    **{key: value for key, value in asdict(result.run).items() if key != "quick"},
                    "scores": result.scores,
                    "baselines": result.baselines,
                    "error": result.error,
                    "training": self.trained.get(result.run.name, {}),
                }
                for result in self.results
            ],
            "figure8": {name: asdict(curve) for name, curve in self.curves.items()},
            "figures": [{"name": f.name, "title": f.title, "description": f.description} for f in self.figures],
            "missing": list(self.missing),
            "earlier": list(self.earlier),
            "evaluation": EVALUATION,
            "recipes": self.recipes,
            "command": self.command,
            "versions": _versions(),
            "date": time.strftime("%Y-%m-%d", time.gmtime()),
        }


def write(report: Report, out: Path) -> list[Path]:
    """Write the report; each file appears whole or not at all.

    Returns:
        The page, the numbers, and the figures.

    Raises:
        OutputError: They cannot be written.
    """
    html, numbers = render(report).encode(), report.to_json()
    write_json(out / "report.json", numbers)
    pictures = out / "figures"
    try:
        pictures.mkdir(exist_ok=True)
        for figure in report.figures:
            replace_file(pictures / f"{figure.name}.png", figure.png)
        for old in {path.name for path in pictures.glob("*.png")} - {f"{figure.name}.png" for figure in report.figures}:
            (pictures / old).unlink()
        replace_file(out / "report.html", html)
    except OSError as error:
        raise OutputError(f"{out}: the report cannot be written ({error.strerror})") from error
    return [out / "report.html", out / "report.json", *(pictures / f"{figure.name}.png" for figure in report.figures)]


def render(report: Report) -> str:
    """The page."""
    notes = []
    if report.quick:
        notes.append("A quick look: trained for moments. Nothing here is a result.")
    if report.missing:
        notes.append(f"{len(report.missing)} trainings are not finished; the tables are without them.")
    if report.earlier:
        notes.append(
            f"{len(report.earlier)} runs are read from an earlier report, with the pictures that lay beside it: "
            f"{', '.join(report.earlier)}."
        )
    parts = [f'<p class="warn">{escape(note)}</p>\n' for note in notes]
    titles = {
        "table4": "Table 4: AIVAE, accuracy of the judge",
        "table5": "Table 5: AIVAEGAN, accuracy of the judge by α",
    }
    for name, table in report.tables.items():
        parts.append(f"<h2>{escape(titles[name])}</h2>\n{_table(table, titles[name])}")
    if report.claim:
        items = "".join(f"<li>{escape(sentence)}</li>" for sentence in report.claim)
        parts.append(f"<h2>Do consistency and diversity trade off?</h2>\n<ul>{items}</ul>\n")
    parts += [_figure(figure) for figure in report.figures]
    parts += [_curve_table(name, curve) for name, curve in report.curves.items()]
    facts = [
        ("Runs", [_trained(name, facts) for name, facts in report.trained.items()]),
        ("Versions", [", ".join(f"{name} {number}" for name, number in _versions().items())]),
    ]
    parts.append(how(report.command, facts))
    subtitle = "Żelaszczyk & Mańdziuk, Audio-to-Image Cross-Modal Generation, 2021: published numbers and ours"
    return page("AIVAE and AIVAEGAN, reproduced", subtitle, "".join(parts))


def _figure(figure: Figure) -> str:
    return (
        f'<h2>{escape(figure.title)}</h2>\n<figure><img class=sheet src="data:image/png;base64,'
        f'{b64encode(figure.png).decode()}" alt="{escape(figure.title)}">'
        f'<figcaption class="soft">{escape(figure.description)}</figcaption></figure>\n'
    )


def _table(table: Sequence[Row], caption: str) -> str:
    """A row for each system, pairing and split: published, ours, baselines."""
    if not table:
        return '<p class="soft">No run of it is finished.</p>\n'
    head = ["pairing", "split", "published", "ours", "diversity (pixels)", "diversity (features)"]
    head += [name for name in _BASELINES if any(name in row.baselines["accuracy"] for row in table)]
    lines = []
    for row in table:
        beside = [
            _percent(row.baselines["accuracy"][name]) if name in row.baselines["accuracy"] else "–" for name in head[6:]
        ]
        cells = [
            row.pairing,
            row.split,
            _published(row),
            *(_value(row, metric) for metric in METRICS if "rec" not in metric),
        ]
        cells[3] += " *" if row.reached_by else ""
        body = "".join(f"<td>{escape(cell)}</td>" for cell in [*cells, *beside])
        lines.append(f'<tr><th scope="row">{escape(row.title)}</th>{body}</tr>')
    titles = "".join(f'<th scope="col">{escape(title)}</th>' for title in head)
    note = (
        "Mean, in brackets the lowest and the highest of the seeds, or of the speakers left out; of one run the "
        "standard error over its test recordings. Diversity: spread of those pictures of one digit that the judge "
        "reads as it, real test images = 1. * reached without the system, by a column to the right. † published for "
        "Speech Commands, which are other data. Without the system: chance; constant picture, the mean of all training "
        "pictures; nearest recording, a random training picture of the digit that the most similar training recording "
        "says; archetype, the mean picture of the digit that a classifier hears. Real images are what the judge reads "
        "of the test pictures themselves."
    )
    return (
        f'<div class="scroll"><table><caption>{escape(caption)}</caption><thead><tr><td></td>{titles}</tr></thead>'
        f'<tbody>{"".join(lines)}</tbody></table></div>\n<p class="soft">{note}</p>\n'
    )


def _published(row: Row) -> str:
    if row.published:
        return _percent(row.published.value)
    return f"{_percent(row.published_elsewhere.value)} †" if row.published_elsewhere else "–"


def _value(row: Row, metric: str) -> str:
    value = row.scores[metric]
    if math.isnan(value.mean):
        return "–"
    show = _percent if "accuracy" in metric else "{:.2f}".format
    if value.num_runs == 1:
        error = f" ± {100 * row.error:.1f}" if metric == "accuracy" and row.error is not None else ""
        return f"{show(value.mean)}{error} (1 {'seed' if row.split == 'random' else 'speaker'})"
    kind = "seeds" if row.split == "random" else "speakers"
    return f"{show(value.mean)} ({show(value.low)} to {show(value.high)}, {value.num_runs} {kind})"


def _curve_table(name: str, curve: Curve) -> str:
    """Figure 8 as numbers."""
    some = [i for i, k in enumerate(curve.num_zeroed) if k % 8 == 0]
    head = "".join(f'<th scope="col">{curve.num_zeroed[i]}</th>' for i in some)
    lines = "".join(
        f'<tr><th scope="row">{title}</th>{"".join(f"<td>{_percent(values[i])}</td>" for i in some)}</tr>'
        for title, values in (("mean", curve.mean), ("5th percentile", curve.low), ("95th percentile", curve.high))
    )
    return (
        f'<div class="scroll"><table><caption>Figure 8 in numbers, {escape(name)}: accuracy by number of zeroed '
        f"elements; {curve.num_draws} draws of elements, {curve.num_pictures} pictures each, one for each test "
        "recording; the tables weigh recordings by their pairs</caption>"
        f"<thead><tr><td></td>{head}</tr></thead><tbody>{lines}</tbody></table></div>\n"
    )


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _trained(name: str, facts: dict[str, Any]) -> str:
    return (
        f"{name}: {facts.get('steps') or 0:,} steps, {(facts.get('seconds') or 0) / 60:.1f} min, "
        f"{facts.get('machine') or 'machine unknown'}"
    )


def _versions() -> dict[str, str]:
    return {
        "soundsight": __version__,
        "python": platform.python_version(),
        "torch": version("torch"),
        "numpy": version("numpy"),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
    }
