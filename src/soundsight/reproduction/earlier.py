"""Runs that an earlier report measured: a reproduction may be made in parts, on machines that do not last."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from soundsight.config import parse_recipe
from soundsight.errors import RecipeError, SoundsightError
from soundsight.reproduction.folder import FORMAT_VERSION, PAPER, read_json
from soundsight.reproduction.plan import Run
from soundsight.reproduction.results import EVALUATION, METRICS, Result
from soundsight.reproduction.zeroing import Curve, curve_of
from soundsight.training.claim import first_difference

__all__ = ["Earlier", "read", "recipe_of"]

# What runs of one kind differ in.
_OF_THE_RUN = (("data", "split"), ("train", "seed"), ("model", "alpha"))


@dataclass(frozen=True, slots=True)
class Earlier:
    """What an earlier report measured, by the names of the runs.

    Attributes:
        results: Scores.
        trained: What their training took.
        curves: Figure 8.
    """

    results: dict[str, Result]
    trained: dict[str, dict[str, Any]]
    curves: dict[str, Curve]


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
        return Earlier({}, {}, {})
    table = read_json(path)
    if not isinstance(table, dict) or table.get("paper") != PAPER:
        raise SoundsightError(f"{path} cannot be read, is damaged, or no report of '{PAPER}'")
    for key, ours in (("format_version", FORMAT_VERSION), ("evaluation", EVALUATION), ("quick", quick)):
        if (theirs := table.get(key)) != ours:
            raise SoundsightError(f"{path} has {key} {theirs!r}, not {ours!r}: its numbers do not belong beside these")
    wanted = {run.name: run for run in runs}
    try:
        entries = {entry["name"]: entry for entry in table["runs"] if entry["name"] in wanted}
        results = {name: _result(wanted[name], entry) for name, entry in entries.items()}
        trained = {name: dict(entry["training"]) for name, entry in entries.items()}
        curves = {name: curve_of(curve) for name, curve in table["figure8"].items() if name in entries}
        recipes = {kind: dict(recipe) for kind, recipe in table["recipes"].items()}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise SoundsightError(f"{path} is damaged: {error!r}") from error
    for name in results:
        _check(path, wanted[name], recipes, settings)
    return Earlier(results, trained, curves)


def recipe_of(run: Run, settings: Sequence[str]) -> dict[str, Any]:
    """What the training of a run and of others of its kind follows, as plain JSON values."""
    return _common(run.recipe(settings).model_dump(mode="json"))


def _result(run: Run, entry: dict[str, Any]) -> Result:
    scores = {name: _number(entry["scores"][name]) for name in METRICS}
    baselines = {name: {other: _number(value) for other, value in entry["baselines"][name].items()} for name in METRICS}
    return Result(run, scores, baselines, entry["error"])


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


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
