"""Runs that an earlier report measured: a reproduction may be made in parts, on machines that do not last."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from soundsight.config import parse_recipe
from soundsight.errors import RecipeError, SoundsightError
from soundsight.reproduction.folder import FORMAT_VERSION, PAPER, read_json
from soundsight.reproduction.plan import Run
from soundsight.reproduction.report import Figure
from soundsight.reproduction.results import EVALUATION, METRICS, Result
from soundsight.reproduction.zeroing import Curve, curve_of
from soundsight.training.claim import first_difference

__all__ = ["Earlier", "read", "recipe_of"]

_SHEETS = frozenset(f"figure{number}" for number in range(3, 8))
_MAX_SHEET_BYTES = 8 << 20
# What runs of one kind differ in.
_OF_THE_RUN = (("data", "split"), ("train", "seed"), ("model", "alpha"))


@dataclass(frozen=True, slots=True)
class Earlier:
    """What an earlier report measured, by the names of the runs.

    Attributes:
        results: Scores.
        trained: What their training took.
        curves: Figure 8.
        sheets: Figures 3 to 7, by the name of the run; of those whose PNG lies in ``figures`` beside the report.
    """

    results: dict[str, Result]
    trained: dict[str, dict[str, Any]]
    curves: dict[str, Curve]
    sheets: dict[str, list[Figure]]


def read(path: Path | None, runs: Sequence[Run], settings: Sequence[str], *, quick: bool) -> Earlier:
    """Those of ``runs`` that a ``report.json`` has.

    Args:
        path: The report; None for no runs.
        runs: What is asked for.
        settings: ``KEY=VALUE`` settings of the user.
        quick: Whether a quick look is asked for.

    Raises:
        SoundsightError: It is no report of this paper, in another format, damaged, of other recipes, of an evaluation
            that computed other numbers, or a quick look where results are asked for or the other way round.
    """
    if path is None:
        return Earlier({}, {}, {}, {})
    table = read_json(path)
    if not isinstance(table, dict) or table.get("paper") != PAPER:
        raise SoundsightError(f"{path} cannot be read, is damaged, or no report of '{PAPER}'")
    for key, ours in (("format_version", FORMAT_VERSION), ("evaluation", EVALUATION), ("quick", quick)):
        if (theirs := table.get(key)) != ours:
            raise SoundsightError(f"{path} has {key} {theirs!r}, not {ours!r}: its numbers do not belong beside these")
    wanted = {run.name: run for run in runs}
    try:
        json.dumps(table, ensure_ascii=False).encode()  # half a character would end the new report, hours later
        entries = {entry["name"]: entry for entry in table["runs"] if entry["name"] in wanted}
        results = {name: _result(wanted[name], entry) for name, entry in entries.items()}
        trained = {name: _facts(entry) for name, entry in entries.items()}
        curves = {name: curve_of(curve) for name, curve in table["figure8"].items() if name in entries}
        sheets = {name: _sheets(path.parent / "figures", name, table["figures"]) for name in entries}
        recipes = {kind: dict(recipe) for kind, recipe in table["recipes"].items()}
    except (KeyError, TypeError, ValueError, AttributeError, OSError, OverflowError) as error:
        raise SoundsightError(f"{path} is damaged: {error!r}") from error
    for name in results:
        _check(path, wanted[name], recipes, settings)
    return Earlier(results, trained, curves, sheets)


def recipe_of(run: Run, settings: Sequence[str]) -> dict[str, Any]:
    """What the training of a run and of others of its kind follows, as plain JSON values."""
    return _common(run.recipe(settings).model_dump(mode="json"))


def _result(run: Run, entry: dict[str, Any]) -> Result:
    scores = {name: _number(entry["scores"][name]) for name in METRICS}
    baselines = {name: {other: _number(value) for other, value in entry["baselines"][name].items()} for name in METRICS}
    for name in ("accuracy", "recording_accuracy"):
        if any(value > 1 for value in (scores[name], *baselines[name].values())):
            raise ValueError(f"{name} of {run.name} above 1")
    return Result(run, scores, baselines, None if entry["error"] is None else _number(entry["error"]))


def _sheets(folder: Path, name: str, entries: list[dict[str, Any]]) -> list[Figure]:
    """The sheets of one run."""
    found: dict[str, Figure] = {}
    for entry in entries:
        item, _, run = str(entry["name"]).partition("-")
        file = folder / f"{entry['name']}.png"
        if item in _SHEETS and run == name and file.is_file():
            if file.stat().st_size > _MAX_SHEET_BYTES:
                raise ValueError(f"{file.name} larger than {_MAX_SHEET_BYTES >> 20} MiB")
            png, words = file.read_bytes(), [str(entry[key]) for key in ("title", "description")]
            if not png.startswith(b"\x89PNG\r\n\x1a\n"):
                raise ValueError(f"{file.name} is no PNG")
            "".join(words).encode()  # what no file can hold is refused while nothing is written
            found[f"{item}-{run}"] = Figure(f"{item}-{run}", words[0], words[1], png)
    return list(found.values())


def _number(value: float | None) -> float:
    number = math.nan if value is None else float(value)
    if number < 0 or math.isinf(number):
        raise ValueError(f"a score of {number}")
    return number


def _facts(entry: dict[str, Any]) -> dict[str, Any]:
    """What a training took."""
    facts = dict(entry["training"])
    known = {name: kind for name, kind in (("steps", int), ("seconds", float)) if facts.get(name) is not None}
    return facts | {name: kind(facts[name]) for name, kind in known.items()}


def _check(path: Path, run: Run, recipes: dict[str, dict[str, Any]], settings: Sequence[str]) -> None:
    try:
        # Keys that did not exist when the report was written are at their defaults.
        theirs = _common(parse_recipe(recipes[run.kind]).model_dump(mode="json"))
    except (KeyError, RecipeError) as error:
        raise SoundsightError(f"{path} does not say how {run.name} was trained: {error}") from error
    if (key := first_difference(theirs, recipe_of(run, settings))) is not None:
        raise SoundsightError(f"{path}: {run.name} was trained with another '{key}'; its numbers do not belong here")


def _common(recipe: dict[str, Any]) -> dict[str, Any]:
    """A dumped recipe without what is of one run alone, and without words."""
    common = {key: dict(value) if isinstance(value, dict) else value for key, value in recipe.items()}
    for *rooms, key in _OF_THE_RUN:
        place: Any = common
        for room in rooms:
            place[room] = dict(place.get(room, {}))
            place = place[room]
        place.pop(key, None)
    common.pop("card", None)
    return common
