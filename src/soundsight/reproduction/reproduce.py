"""One call from nothing, or from wherever the last call stopped, to the report."""

from __future__ import annotations

import math
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from soundsight import registry
from soundsight.datasets.info import data_root
from soundsight.errors import require
from soundsight.folder import read_folder
from soundsight.picture import encode
from soundsight.reproduction import earlier, folder, pictures, plots, runner
from soundsight.reproduction.plan import PAIRINGS, Run, Selection, plan, select, shortest
from soundsight.reproduction.report import Figure, Report, write
from soundsight.reproduction.results import Result, rows
from soundsight.reproduction.runner import Work
from soundsight.reproduction.zeroing import Curve
from soundsight.training.system import check_options

__all__ = ["Watch", "reproduce"]

Watch = Callable[[str, float, float], None]
"""Told what is being done, how much of all work is done, and how much work there is."""

_SEED = 0
"""Of the choice of the pictures that are shown."""


def reproduce(
    out: Path,
    *,
    only: Sequence[str] = (),
    alphas: Sequence[float] = (),
    pairings: Sequence[str] = (),
    num_seeds: int | None = None,
    speakers: bool = True,
    quick: bool = False,
    train: bool = True,
    settings: Sequence[str] = (),
    report: Path | None = None,
    root: Path | None = None,
    watch: Watch = lambda what, done, total: None,
) -> list[Path]:
    """Reproduce the tables and figures of the 2021 paper.

    Args:
        out: Folder for models, evaluations and the report; what is finished there is read, what is not is resumed.
        only: Some of ``plan.ITEMS``; empty for all.
        alphas: Weights α of AIVAEGAN; empty for those of Table 5.
        pairings: Some of ``plan.PAIRINGS``; empty for those whose data there are.
        num_seeds: Runs with the random split; 3, or of a quick look 1.
        speakers: Leave each speaker out, too.
        quick: A small but real version, in minutes.
        train: False reads what is finished and trains nothing.
        settings: ``KEY=VALUE`` changes of every recipe.
        report: An earlier ``report.json``, whose runs are taken as they are where they are not finished in ``out``.
        root: Folder of the data sets.
        watch: Told how far it is.

    Returns:
        The files: the page, the numbers, the figures.

    Raises:
        SoundsightError: A mistake of the user's; nothing is lost.
        KeyboardInterrupt: Interrupted; the next call goes on.
    """
    require("matplotlib", "train", "the figures of a reproduction")
    data, root = root, data_root() if root is None else root
    # Mistakes first: reading takes a moment.
    select(only=only, alphas=alphas, pairings=pairings, num_seeds=num_seeds, quick=quick)
    heard = registry.find("datasets", "fsdd").load(root / "fsdd").speakers if speakers else ()
    there = PAIRINGS if not quick and (root / "speech_commands").is_dir() else ()
    selection = select(
        only=only,
        alphas=alphas,
        pairings=pairings or there,
        num_seeds=num_seeds,
        speakers=sorted(set(heard)),
        quick=quick,
    )
    works = [Work(run, out / "models" / run.name, tuple(settings)) for run in plan(selection)]
    for work in works:  # mistakes in settings, too, before anything is written
        check_options(work.run.recipe(work.settings).model)
    folder.check(out, quick=quick, settings=list(settings))
    known = earlier.read(report, [work.run for work in works], settings, quick=quick)
    if train:
        todo = [work for work in works if work.run.name not in known.results and not runner.is_finished(work)]
        runner.check_data(todo, root)
    folder.claim(out, quick=quick, settings=list(settings))
    results, missing = _results(works, known.results, out, root, train, watch)
    finished = [work for work in works if runner.is_finished(work)]
    read = [work.run for work in works if work not in finished and work.run.name in known.results]
    watch("figures", 1.0, 1.0)
    curves = {run.name: known.curves[run.name] for run in read if run.name in known.curves}
    curves |= _curves(finished, selection, out, root)
    made = Report(
        items=selection.items,
        results=tuple(results),
        curves=curves,
        figures=tuple(_figures(finished, selection, results, curves, known.sheets, root)),
        missing=tuple(missing),
        trained={run.name: known.trained[run.name] for run in read} | {w.run.name: _training(w) for w in finished},
        quick=quick,
        command=_command(out, only, alphas, pairings, num_seeds, speakers, quick, train, settings, report, data),
        recipes={result.run.kind: earlier.recipe_of(result.run, settings) for result in results},
        earlier=tuple(run.name for run in read),
    )
    return write(made, out)


def _results(
    works: Sequence[Work], known: Mapping[str, Result], out: Path, root: Path, train: bool, watch: Watch
) -> tuple[list[Result], list[str]]:
    """Scores of all runs, and the names of those that are neither trained nor known."""
    total, done = sum(work.cost for work in works), 0.0
    results, missing = [], []
    for number, work in enumerate(works, start=1):
        name, before = f"{number}/{len(works)} {work.run.name}", done
        if train and work.run.name not in known:
            watch(name, done, total)
            runner.ensure(work, root, partial(_tell, watch, name, before, total))
        if runner.is_finished(work):
            watch(f"{name}: evaluation", before + work.training_cost, total)
            results.append(runner.evaluated(work, out / "evaluations" / f"{work.run.name}.json", root))
        elif work.run.name in known:
            results.append(known[work.run.name])
        else:
            missing.append(work.run.name)
        done += work.cost
    return results, missing


def _tell(watch: Watch, name: str, before: float, total: float, cost: float) -> None:
    watch(name, before + cost, total)


def _shown(works: Sequence[Work], systems: set[str]) -> list[Work]:
    """The runs that the paper's figures show: random split, first seed."""
    return [w for w in works if w.run.system in systems and (w.run.split, w.run.seed) == ("random", 0)]


def _curves(works: Sequence[Work], selection: Selection, out: Path, root: Path) -> dict[str, Curve]:
    """Figure 8, by the name of the run."""
    if "figure8" not in selection.items:
        return {}
    shown = _shown(works, {"aivae", "aivaegan"})
    return {
        work.run.name: runner.curve(
            work, out / "evaluations" / f"{work.run.name}-figure8.json", root, step=32 if selection.quick else 1
        )
        for work in shown
    }


def _figures(
    works: Sequence[Work],
    selection: Selection,
    results: Sequence[Result],
    curves: dict[str, Curve],
    known: Mapping[str, Sequence[Figure]],
    root: Path,
) -> Iterator[Figure]:
    """All pictures that were asked for, in the order of the paper; sheets of earlier runs as they are."""
    names = {work.run.name for work in works}
    read = [result.run.name for result in results if result.run.name not in names]
    earlier_sheets = [sheet for name in read for sheet in known.get(name, ())]
    for item, system, pairing, draw in (
        ("figure3", "aivae", None, pictures.seen_in_training),
        ("figure4", "aivae", None, pictures.unheard),
        ("figure5", "aivaegan", "many-to-one", pictures.seen_in_training),
        ("figure6", "aivaegan", "one-to-one", pictures.seen_in_training),
        ("figure7", "aivaegan", None, pictures.unheard),
    ):
        for work in _shown(works, {system}) if item in selection.items else ():
            if pairing is None or work.run.pairing.startswith(pairing):
                yield _sheet(item, work.run, draw(work.folder, _SEED, root))
        if item in selection.items:
            yield from (sheet for sheet in earlier_sheets if sheet.name.startswith(f"{item}-{system}-"))
    for pairing in selection.pairings:
        runs = (result.run for result in results)
        chosen = {run.title: curves[run.name] for run in runs if run.pairing == pairing and run.name in curves}
        if chosen:
            yield Figure(
                f"figure8-{pairing}",
                f"Figure 8, {pairing}",
                "Accuracy of the judge when k elements of the latent, drawn at random, are set to 0; the band holds "
                "nine tenths of the draws. The numbers are in the tables below.",
                plots.zeroed(chosen, pairing),
            )
    if "plane" in selection.items:
        yield from _planes(results, selection)


def _planes(results: Sequence[Result], selection: Selection) -> Iterator[Figure]:
    table = [row for system in ("archetype", "aivae", "aivaegan") for row in rows(results, system)]
    for pairing in selection.pairings:
        for split in ("random", "unseen speakers"):
            here = [row for row in table if (row.pairing, row.split) == (pairing, split)]
            for metric in ("diversity", "feature_diversity") if here else ():
                points = "; ".join(
                    f"{row.title}: accuracy {100 * row.scores['accuracy'].mean:.1f} %, "
                    f"diversity {row.scores[metric].mean:.2f}"
                    for row in here
                    if not math.isnan(row.scores[metric].mean)
                )
                kind = "pixels" if metric == "diversity" else "features"
                yield Figure(
                    f"plane-{kind}-{pairing}-{split.replace(' ', '-')}",
                    f"Consistency and diversity in {kind}, {pairing}, {split}",
                    f"A point for each system; above is consistent, to the right is diverse. {points}.",
                    plots.plane(here, metric, f"{pairing}, {split}"),
                )


def _sheet(item: str, run: Run, sheet_HWC: NDArray[np.uint8]) -> Figure:
    kind = "test recordings" if item in ("figure4", "figure7") else "training pairs, after the training"
    title = f"Figure {item[-1]}: {run.title}, {run.pairing}, {kind}"
    description = (
        f"Left, pictures that {run.title} made; right, the real pictures of the same pairs. A row for each digit, "
        f"pairs drawn at random with seed {_SEED}, not picked."
    )
    name = f"{item}-{run.name}"
    return Figure(name, title, description, encode(sheet_HWC, "png", {"content": title, "seed": _SEED}))


def _training(work: Work) -> dict[str, Any]:
    facts = read_folder(work.folder, verify=False).training
    return {name: facts.get(name) for name in ("steps", "seconds", "date", "machine", "torch", "parameters")}


def _command(
    out: Path,
    only: Sequence[str],
    alphas: Sequence[float],
    pairings: Sequence[str],
    num_seeds: int | None,
    speakers: bool,
    quick: bool,
    train: bool,
    settings: Sequence[str],
    report: Path | None,
    data: Path | None,
) -> str:
    """The command line that does the same."""
    parts = ["soundsight", "reproduce", folder.PAPER, "--out", str(out)]
    for option, values in (("--only", only), ("--alpha", alphas), ("--pairing", pairings), ("--set", settings)):
        for value in values:
            parts += [option, shortest(value) if isinstance(value, float) else str(value)]
    parts += [] if num_seeds is None else ["--seeds", str(num_seeds)]
    parts += [] if speakers else ["--no-speakers"]
    parts += ["--quick"] if quick else []
    parts += [] if train else ["--finished-only"]
    parts += [] if report is None else ["--earlier", str(report)]
    parts += [] if data is None else ["--data", str(data)]
    return shlex.join(parts)
