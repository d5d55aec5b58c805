"""The error tree, and that every extra it sends a user to exists."""

from __future__ import annotations

import ast
import inspect
import sys
import tomllib
from pathlib import Path

import pytest

from soundsight import errors
from soundsight.errors import MissingExtraError, SoundsightError, require

REPOSITORY = Path(__file__).resolve().parents[2]


def error_classes() -> list[type[BaseException]]:
    return [value for value in vars(errors).values() if inspect.isclass(value) and issubclass(value, BaseException)]


def test_all_errors_share_one_base_and_say_what_they_mean() -> None:
    classes = error_classes()
    assert len(classes) >= 7
    for error in classes:
        assert issubclass(error, SoundsightError), error
        assert error.__doc__, error
        assert error.__name__ in errors.__all__, error


def test_only_the_base_is_an_exception_of_pythons_own() -> None:
    # `except ValueError` in somebody's code must not swallow what is meant for the user.
    assert SoundsightError.__bases__ == (Exception,)
    others = [error for error in error_classes() if error is not SoundsightError]
    assert all(issubclass(base, SoundsightError) for error in others for base in error.__bases__)


def test_require_is_silent_for_what_is_installed_and_imports_nothing() -> None:
    module = "this"  # in the standard library, and a poem on stdout if it were imported
    sys.modules.pop(module, None)
    require(module, "train", "training")
    assert module not in sys.modules


def test_require_names_the_extra_and_the_line_that_installs_it() -> None:
    with pytest.raises(MissingExtraError) as caught:
        require("no_such_module", "train", "training")
    assert str(caught.value) == "training needs the extra 'train': pip install 'soundsight[train]'"


def extras_asked_for(source: Path) -> set[str]:
    """Second arguments of all calls of ``require`` in a tree."""
    return {
        node.args[1].value
        for path in source.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] == "require" and len(node.args) == 3
        if isinstance(node.args[1], ast.Constant) and isinstance(node.args[1].value, str)
    }


def test_every_extra_that_is_asked_for_exists() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    asked = extras_asked_for(REPOSITORY / "src")
    assert "train" in asked
    assert asked <= set(project["optional-dependencies"])
