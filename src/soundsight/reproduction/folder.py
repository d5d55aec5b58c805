"""The folder of a reproduction: ``models/``, ``evaluations/``, the report, and a note of what it is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from soundsight.errors import OutputError, SoundsightError
from soundsight.evaluation.report import without_nan
from soundsight.files import replace_file

__all__ = ["PAPER", "check", "claim", "read_json", "write_json"]

FORMAT_VERSION = 1
PAPER = "aivae-2021"
_NOTE = "reproduction.json"


def claim(out: Path, *, quick: bool, settings: list[str]) -> None:
    """Make ``out`` a folder of this reproduction, or find that it is one.

    Raises:
        SoundsightError: As ``check``.
        OutputError: It cannot be written.
    """
    check(out, quick=quick, settings=settings)
    if not (note := out / _NOTE).exists():
        write_json(note, {"format_version": FORMAT_VERSION, "paper": PAPER, **_ours(quick, settings)})


def _ours(quick: bool, settings: list[str]) -> dict[str, Any]:
    return {"quick": quick, "settings": sorted(settings)}


def check(out: Path, *, quick: bool, settings: list[str]) -> None:
    """Refuse a folder that cannot become one of this reproduction; nothing is changed.

    Raises:
        SoundsightError: It holds something else, another format, a quick look where results are asked for or the other
            way round, or results of other settings.
    """
    note, ours = out / _NOTE, _ours(quick, settings)
    if note.exists():
        theirs = read_json(note)
        if not isinstance(theirs, dict) or theirs.get("paper") != PAPER:
            raise SoundsightError(f"{note} is damaged, or not of '{PAPER}'; choose another --out")
        if (version := theirs.get("format_version")) != FORMAT_VERSION:
            raise SoundsightError(
                f"{out} has results in format {version!r}, this version writes {FORMAT_VERSION}; choose another --out"
            )
        if (found := {key: theirs.get(key) for key in ours}) != ours:
            what = "a quick look" if found["quick"] else "results of a full reproduction"
            what = what if found["quick"] != quick else f"results of other settings ({found['settings']})"
            raise SoundsightError(f"{out} holds {what}; choose another --out")
    elif out.is_dir() and any(out.iterdir()):
        raise SoundsightError(f"{out} holds other files (no {_NOTE} is among them); choose an empty --out")


def read_json(path: Path) -> Any:
    """What a JSON file says; None where it is absent or damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file whole, and the folder it lies in; what could not be computed is null.

    Raises:
        OutputError: It cannot be written.
    """
    text = json.dumps(without_nan(value), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, text.encode())
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror})") from error
