"""A training folder belongs to one recipe."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from soundsight.config import Recipe, parse_recipe
from soundsight.errors import OutputError, RecipeError
from soundsight.files import replace_file
from soundsight.folder import check_free

__all__ = ["check", "claim", "first_difference"]


def claim(out: Path, recipe: Recipe, resume: bool) -> None:
    """Note the recipe in the folder ``out``; refuse one that holds another training.

    A training goes on for more epochs than it was begun with, unless its learning rate falls towards their end.

    Raises:
        RecipeError: There is a training and ``resume`` is False, or its recipe differs.
        OutputError: The folder cannot be written, or holds weights of something else.
    """
    path = out / "recipe.json"
    ours = recipe.model_dump(mode="json")
    check_free(out, {"model.safetensors"})  # not after hours of training
    # A recipe alone is what a run leaves that failed before its first step: nothing would be lost.
    if (out / "config.json").is_file() or (out / "state").is_dir():
        if not resume:
            raise RecipeError(f"{out} holds a training already: add --resume to go on, or choose another --out")
        check(out, recipe)
    try:
        out.mkdir(parents=True, exist_ok=True)
        replace_file(path, (json.dumps(ours, indent=2) + "\n").encode())
    except OSError as error:
        raise OutputError(f"cannot write to {out}: {error.strerror}") from error


def check(out: Path, recipe: Recipe) -> None:
    """Refuse a folder that holds a training by another recipe; nothing is written.

    Raises:
        RecipeError: Its recipe differs, or cannot be read.
    """
    path, ours = out / "recipe.json", recipe.model_dump(mode="json")
    if not path.is_file():
        raise RecipeError(f"{path} is missing, and without it a training cannot go on: choose another --out")
    try:
        # Keys that did not exist when the training was begun are at their defaults.
        theirs = parse_recipe(json.loads(path.read_text(encoding="utf-8"))).model_dump(mode="json")
    except (OSError, ValueError, RecipeError) as error:
        raise RecipeError(f"{path} cannot be read: {error}; choose another --out") from error
    if (key := first_difference(_lengthened(theirs, recipe), ours)) is not None:
        what = f"'{key}'" if key else "recipe"
        raise RecipeError(f"{out} was trained with another {what}: resume with the same, or choose another --out")


def _lengthened(theirs: dict[str, Any], recipe: Recipe) -> dict[str, Any]:
    """The recipe ``theirs`` with the epochs of ours, where these are only more of the same."""
    if any(options.schedule != "constant" for options in recipe.train.optimizer.values()):
        return theirs
    epochs = max(theirs["train"]["epochs"], recipe.train.epochs)
    return theirs | {"train": theirs["train"] | {"epochs": epochs}}


# These may change between a run and its resumption without changing what came before.
_FREE = {"train.save_every", "train.sample_every", "card"}


def first_difference(theirs: Any, ours: Any, key: str = "") -> str | None:
    """The first key in which two dumped recipes differ, of those that change the training; None if they do not."""
    if key in _FREE or theirs == ours:
        return None
    if isinstance(theirs, dict) and isinstance(ours, dict):
        for name in sorted(theirs.keys() | ours.keys()):
            found = first_difference(theirs.get(name), ours.get(name), f"{key}.{name}".lstrip("."))
            if found is not None:
                return found
        return None
    return key
