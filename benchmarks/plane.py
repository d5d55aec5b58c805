"""The default model on the consistency–diversity plane of the 2021 paper, beside every system of its reproduction.

    python benchmarks/results.py digits --splits random --out docs/results/digits-random.json
    python benchmarks/plane.py

Reads what ``results.py`` and ``soundsight reproduce`` have written, draws ``docs/img/plane.png`` and prints the points
that have the default model above them and to the right, or not.
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

from soundsight.reproduction.plots import plane
from soundsight.reproduction.results import Row, Value

METRICS = ("accuracy", "diversity", "feature_diversity")


def row_of(found: dict[str, Any]) -> Row:
    """A row of the paper's tables, as ``report.json`` has it."""
    scores = {name: Value(**value) for name, value in found["scores"].items()}
    title = f"{found['title']}, {found['pairing']}"
    return Row(**{**found, "scores": scores, "title": title, "published": None, "published_elsewhere": None})


def row_of_runs(title: str, runs: list[dict[str, Any]]) -> Row:
    """Mean and range over the seeds of ``results.py``."""
    scores = {}
    for name in METRICS:
        values = [run[name] for run in runs]
        scores[name] = Value(statistics.mean(values), min(values), max(values), len(values))
    return Row(
        title, "latent_flow", None, "many-to-one", "random", scores, {name: {} for name in METRICS}, None, None, None
    )


def main() -> None:
    """Draw the plane."""
    docs = Path(__file__).resolve().parents[1] / "docs"
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, default=docs / "results" / "digits-random.json")
    parser.add_argument("--paper", type=Path, default=docs / "results" / "aivae-2021" / "report.json")
    parser.add_argument("--out", type=Path, default=docs / "img" / "plane.png")
    options = parser.parse_args()
    tables = json.loads(options.paper.read_text(encoding="utf-8"))["tables"].values()
    theirs = [row_of(row) for table in tables for row in table if row["split"] == "random"]
    ours = row_of_runs("the default model, digits", json.loads(options.runs.read_text(encoding="utf-8")))
    options.out.write_bytes(plane([ours, *theirs], "diversity", "Right and varied (random split, three seeds)"))
    for row in [ours, *theirs]:
        beaten = all(ours.scores[name].mean > row.scores[name].mean for name in ("accuracy", "diversity"))
        said = "" if row is ours else "  dominated" if beaten else "  not dominated"
        print(f"{row.title:40}" + "".join(f"{row.scores[name].mean:9.4f}" for name in METRICS) + said)


if __name__ == "__main__":
    main()
