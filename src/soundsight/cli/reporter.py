"""What ``soundsight generate`` says: files as they are written, mistakes at the end, how far it is."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from soundsight.cli import say, show
from soundsight.errors import OutputError

if TYPE_CHECKING:
    from soundsight.batch import Outcome, Settings
    from soundsight.picture import UInt8
    from soundsight.pipeline import AudioToImage

__all__ = ["Reporter", "progress", "steps_shown"]

_MANY = 20


class Reporter:
    """Tells what was written as it happens, and what went wrong at the end."""

    def __init__(self, pipe: AudioToImage, settings: Settings, as_json: bool) -> None:
        self._model, self._shape = pipe.folder.name, pipe.folder.image
        from soundsight.controls import told

        self._settings, self._turned = settings, told(settings.controls)
        self._as_json = as_json
        self._errors: list[str] = []
        self._warnings: list[str] = []
        self._num_failed = 0
        self._heard: list[dict[str, str | float]] = []
        self._sounds: list[str] = []
        self._num_files = 0
        self._last = ""
        self._milliseconds = 0.0
        self._columns = 0

    def take(self, outcome: Outcome) -> list[UInt8]:
        """Report an outcome; its row of the sheet, where one is wanted."""
        if outcome.error:
            self._errors.append(outcome.error)
            self._num_failed += 1
            self._line(sound=outcome.source.given, error=outcome.error)
            return []
        for doubt in outcome.doubts:
            (self._errors if doubt.refused else self._warnings).append(doubt.line)
            if doubt.refused:
                heard = {} if doubt.heard is None else {"heard": doubt.heard.to_json()}
                part = {"part": doubt.part} if doubt.part else {}
                self._line(sound=outcome.source.given, **part, error=doubt.line, **heard)
        if not outcome.files and not outcome.pictures:
            self._num_failed += 1
            return []
        self._sounds.append(outcome.source.given)
        for file in outcome.files:
            more: dict[str, Any] = {"part": file.part} if file.part else {}
            more |= {} if file.heard is None else {"heard": file.heard.to_json()}
            self._written(file.path, outcome.milliseconds, sound=outcome.source.given, index=file.index, **more)
        self._milliseconds += outcome.milliseconds
        self._heard += [
            {"sound": outcome.source.given, **({"part": p.part} if p.part else {}), **p.heard.to_json()}
            for p in outcome.pictures
            if p.heard is not None
        ]
        row = [image for pictures in outcome.pictures for image in pictures.array]
        if row:
            from soundsight.picture import grid_shape

            # Told as soon as it is known, before a folder of sounds has been worked on in vain.
            self._columns = max(self._columns, len(row))
            height, width = row[0].shape[:2]
            grid_shape(len(self._sounds), self._columns, height, width, self._settings.suffix)
        return row

    def write_grid(self, rows: list[list[UInt8]], path: Path) -> None:
        """Write the sheet of all pictures."""
        from soundsight._version import __version__
        from soundsight.files import replace_file
        from soundsight.picture import encode, grid

        sounds = ", ".join(Path(sound).name for sound in self._sounds[:100])
        origin: dict[str, str | float] = {"sound": sounds, "model": self._model, "seed": self._settings.seed}
        data = encode(grid(rows), self._settings.suffix, {**origin, **self._turned, "soundsight": __version__})
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            replace_file(path, data)
        except OSError as error:
            raise OutputError(f"{path}: cannot be written ({error.strerror})") from error
        heard = {"heard": self._heard} if self._heard else {}
        self._written(path, self._milliseconds, sounds=self._sounds, index=None, **heard)

    def finish(self) -> None:
        """The summary, and the exit code."""
        if self._num_files and not self._as_json:
            show(self._last if self._num_files == 1 else f"{self._num_files} files in {self._settings.out}")
        for kind, lines in (("warning", self._warnings), ("error", self._errors)):
            for line in lines[:_MANY]:
                say(f"soundsight: {kind}: {line}")
            if len(lines) > _MANY:
                say(f"soundsight: {kind}: and {len(lines) - _MANY} more")
        if self._num_failed and self._sounds:
            say(f"soundsight: {self._num_failed} of {self._num_failed + len(self._sounds)} sounds could not be used")
        if self._errors:
            raise typer.Exit(1 if self._sounds else 2)

    def _written(self, path: Path, milliseconds: float, **what: Any) -> None:
        self._num_files += 1
        self._last = str(path)
        self._line(
            **what,
            path=str(path),
            seed=self._settings.seed,
            model=self._model,
            **self._turned,
            milliseconds=round(milliseconds, 2),
        )

    def _line(self, **what: Any) -> None:
        if self._as_json:
            typer.echo(json.dumps(what))


def progress(outcomes: Iterator[Outcome], total: int) -> Iterable[Outcome]:
    """The same outcomes, with a bar on stderr where there are many and somebody is looking."""
    if total < _MANY or not sys.stderr.isatty():
        return outcomes
    from rich.console import Console
    from rich.progress import track

    return track(outcomes, "Listening", total=total, console=Console(stderr=True), transient=True)


@contextmanager
def steps_shown(pipe: AudioToImage) -> Iterator[None]:
    """While this lasts, a bar on stderr for the steps of a picture, where they take long and somebody is looking."""
    if not hasattr(pipe, "on_step") or not sys.stderr.isatty():
        yield
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("Painting")
        pipe.on_step = lambda done, total: bar.update(task, completed=done, total=total)
        try:
            yield
        finally:
            pipe.on_step = None
