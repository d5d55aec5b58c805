"""``soundsight evaluate`` of adapters, alone or with the text-to-image model that paints what they say."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from soundsight.cli import show
from soundsight.cli.layers import options
from soundsight.errors import OutputError, SoundsightError, require

if TYPE_CHECKING:
    from soundsight.evaluation.adapter_report import Painted

__all__ = ["ALIGNMENT", "Painter", "evaluate", "is_adapter"]

# What is meant where nothing is named; both know digits alone.
ALIGNMENT = "alignment"


@dataclass(frozen=True, slots=True)
class Painter:
    """Options of the text-to-image model, as they came."""

    backbone: str | None
    steps: int | None
    guidance: float | None
    precision: str | None
    offload: str | None
    save_memory: bool
    without: list[str]

    def refuse(self, model: str) -> None:
        """Say that a model takes none of a backbone's own options, where one was given.

        Raises:
            SoundsightError: One was.
        """
        if named := [name for name in self._named() if name not in ("--steps", "--guidance")]:
            raise SoundsightError(f"'{model}' is no adapter, and paints by itself or not at all: leave {named[0]} out")

    def check(self, model: str, judge: str | None, draws: int) -> None:
        """Refuse a judge and other options without something to paint, and something to paint without a judge.

        Raises:
            SoundsightError: The one is there without the other.
        """
        if self.backbone is None:
            lonely = [*(["--judge"] if judge is not None else []), *(["--draws"] if draws != 1 else []), *self._named()]
            if lonely:
                raise SoundsightError(
                    f"'{model}' is an adapter, and paints nothing itself: add --backbone with the text-to-image model "
                    f"that paints what it says, or leave {lonely[0]} out"
                )
        elif judge is None:
            raise SoundsightError(
                "--backbone paints, and nothing reads the pictures: add --judge with a trained judge of such pictures, "
                "as 'soundsight train resnet-cifar10' makes one"
            )

    @property
    def options(self) -> dict[str, Any]:
        """How the backbone is loaded."""
        return options(self.precision, self.offload, self.save_memory, self.without)

    def _named(self) -> list[str]:
        given = {
            "--backbone": self.backbone,
            "--steps": self.steps,
            "--guidance": self.guidance,
            "--precision": self.precision,
            "--offload": self.offload,
            "--save-memory": self.save_memory or None,
            "--without": self.without or None,
        }
        return [name for name, value in given.items() if value is not None]


def is_adapter(model: str) -> bool:
    """Whether a folder holds what is between sounds and a text-to-image model."""
    from soundsight.folder import pretrained_names, read_folder

    try:
        is_folder = model not in pretrained_names() and Path(model, "config.json").is_file()
    except OSError:  # too long for a path
        return False
    return is_folder and read_folder(model, verify=False).kind == "adapter"


def evaluate(
    model: str,
    painter: Painter,
    split: str | None,
    seed: int,
    out: Path | None,
    data: Path | None,
    judge: str | None,
    samples: int,
    draws: int,
    *,
    as_json: bool,
) -> None:
    """Compare what an adapter says of test recordings with what texts say; and pictures of it, with a backbone."""
    from soundsight.files import check_writable

    painter.check(model, judge, draws)
    require("torch", "train", "evaluating an adapter")
    check_writable(out or Path("reports"))
    if painter.backbone is None:
        from soundsight.training.adapter_evaluation import evaluate_adapter

        report = evaluate_adapter(model, split=split, root=data)
        written = _write(report.to_json(), out or _folder(report.folder.name, report.split))
        _tell(report.lines(), report.to_json(), written, as_json=as_json)
        return
    from soundsight.evaluation import files

    painted = _painted(model, painter, split, seed, data, judge, samples, draws)
    folder = out or _folder(painted.adapter.folder.name, painted.adapter.split)
    page = files.write(painted.pictures, folder, painted.to_json())[0]
    _tell(painted.lines(), painted.to_json(), page, as_json=as_json)


def _painted(
    model: str,
    painter: Painter,
    split: str | None,
    seed: int,
    data: Path | None,
    judge: str | None,
    samples: int,
    draws: int,
) -> Painted:
    for module in ("torch", "diffusers", "transformers", "safetensors"):
        require(module, "sd3", "painting what an adapter says")
    from soundsight.evaluation.adapter import evaluate_painted
    from soundsight.evaluation.painting import Settings
    from soundsight.evaluation.progress import bar

    assert painter.backbone is not None
    assert judge is not None
    settings = Settings(painter.backbone, judge, seed, draws, samples, painter.steps, painter.guidance, painter.options)
    with bar() as watch:
        return evaluate_painted(model, settings, split=split, root=data, watch=watch)


def _folder(name: str, split: str) -> Path:
    return Path("reports", "-".join([name, split.replace(":", "-").replace(",", "-")]))


def _write(report: dict[str, Any], folder: Path) -> Path:
    """The numbers as a file."""
    from soundsight.files import replace_file

    text = json.dumps(report, indent=2, ensure_ascii=False, allow_nan=False)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        replace_file(folder / "report.json", (text + "\n").encode())
    except OSError as error:
        raise OutputError(f"{folder}: the report cannot be written ({error.strerror})") from error
    return folder / "report.json"


def _tell(lines: Iterator[str], report: dict[str, Any], written: Path, *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(report, ensure_ascii=False, allow_nan=False))
        return
    for line in lines:
        show(line, marked=line.endswith(" *") or line.startswith("  * "))
    show(f"report: {written}")
