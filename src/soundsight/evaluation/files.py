"""A report as files: ``report.json``, ``report.html`` and the sample pictures as PNG."""

from __future__ import annotations

import json
from itertools import groupby
from pathlib import Path
from typing import Any

from soundsight import picture
from soundsight.errors import OutputError
from soundsight.evaluation.page import render
from soundsight.evaluation.report import Report
from soundsight.files import replace_file

__all__ = ["write"]


def write(report: Report, folder: Path, table: dict[str, Any] | None = None) -> list[Path]:
    """Write the report; each file appears whole or not at all.

    Args:
        report: The report.
        folder: Where to; it is made.
        table: What ``report.json`` says; by default what the report does.

    Returns:
        The files: the page first, then the numbers and the sheet of pictures.

    Raises:
        OutputError: They cannot be written.
    """
    contents = {
        "report.html": render(report).encode(),
        "report.json": (
            json.dumps(table or report.to_json(), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
        ).encode(),
    }
    if report.samples:
        rows = [[s.image_HWC for s in samples] for _, samples in groupby(report.samples, key=lambda s: s.label)]
        origin: dict[str, str | int] = {
            "model": report.model,
            "seed": report.seed,
            "content": "random generated pictures, a row per label",
        }
        contents["samples.png"] = picture.encode(picture.grid(rows), "png", origin)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, blob in contents.items():
            replace_file(folder / name, blob)
    except OSError as error:
        raise OutputError(f"{folder}: the report cannot be written ({error.strerror})") from error
    return [folder / name for name in contents]
