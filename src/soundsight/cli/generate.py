"""``soundsight generate``: sounds in, files with pictures out."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from soundsight.cli import complete_generators, examples, mixture, say, show
from soundsight.cli.quiet import quiet_libraries
from soundsight.errors import OutputError, SoundsightError

if TYPE_CHECKING:
    from soundsight.batch import Outcome, Settings
    from soundsight.picture import UInt8
    from soundsight.pipeline import AudioToImage

app = typer.Typer(rich_markup_mode=None, add_completion=False)

_SUFFIXES = {".png": "png", ".webp": "webp", ".jpg": "jpg", ".jpeg": "jpg", ".npy": "npy"}
# Pictures elsewhere; a folder of such a name is nobody's wish.
_FOREIGN = {".avif", ".bmp", ".gif", ".heic", ".mp4", ".npz", ".pdf", ".svg", ".tif", ".tiff"}
_MANY = 20


@app.command(
    epilog=examples(
        "soundsight generate seven.wav -o pictures",
        "soundsight generate recordings/ more/*.mp3 -o pictures --num-images 4 --seed 1",
        "soundsight generate phone-number.ogg -o number.png --grid",
        "soundsight generate --mix three.wav:0.7 eight.wav:0.3 -o between.png",
        "arecord -d 2 | soundsight generate - -o digit.png",
    )
)
def generate(
    sounds: Annotated[
        list[str], typer.Argument(metavar="SOUND...", help="Files, folders (searched to the bottom), or - for stdin.")
    ],
    out: Annotated[
        str, typer.Option("--out", "-o", metavar="OUT", help="Folder for the pictures, or a file such as seven.png.")
    ] = ".",
    model: Annotated[
        str,
        typer.Option(metavar="NAME|FOLDER", autocompletion=complete_generators, help="Model, by name or as a folder."),
    ] = "digits",
    num_images: Annotated[int, typer.Option(min=1, max=1000, metavar="N", help="Pictures of each sound.")] = 1,
    seed: Annotated[int, typer.Option(metavar="N", help="The same seed gives the same pictures.")] = 0,
    size: Annotated[
        int | None,
        typer.Option(min=8, max=4096, metavar="N", help="Long side in pixels.", show_default="280, or as drawn"),
    ] = None,
    guidance: Annotated[
        float | None,
        typer.Option(metavar="X", help="How much to insist on what was heard, 0 to 20.", show_default="the model's"),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(metavar="N", help="Steps from noise to picture, 1 to 200.", show_default="the model's"),
    ] = None,
    variation: Annotated[
        float | None,
        typer.Option(metavar="X", help="How much the handwriting varies, 0 to 2.", show_default="1"),
    ] = None,
    style: Annotated[
        str | None, typer.Option(metavar="IMAGE", help="Write as in this picture of a digit.", show_default="drawn")
    ] = None,
    format: Annotated[  # noqa: A002 - the name of the option
        Literal["png", "webp", "jpg", "npy"] | None,
        typer.Option(help="Kind of file; npy is an array for each sound or part.", show_default="as OUT ends, or png"),
    ] = None,
    grid: Annotated[bool, typer.Option("--grid", help="One sheet for all, a row for each sound.")] = False,
    mix: Annotated[
        bool, typer.Option("--mix", help="One picture of all sounds, which are files here: FILE or FILE:WEIGHT.")
    ] = False,
    split: Annotated[bool, typer.Option(help="Cut long recordings at silences, one picture for each part.")] = True,
    strict: Annotated[
        bool, typer.Option("--strict", help="Make no picture of a sound that is nothing the model knows.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="One line of JSON for each file written, or sound that failed.")
    ] = False,
) -> None:
    """Turn sounds into pictures.

    Pictures are named after their sound, and replace older ones of that name. Sounds that cannot be used are reported
    at the end and do not stop the rest. Of a sound that is nothing the model knows there is a picture and a warning; it
    means nothing.

    Exit code: 0, or 1 if some sounds could not be used, 2 if none could or something else is wrong.
    """
    if "-" in sounds and sys.stdin.isatty():
        raise SoundsightError("'-' reads a sound from standard input, and nothing is piped in")
    if not out:
        raise OutputError("--out is empty; name a folder, or a file such as seven.png")
    out_file, suffix = _target(Path(out), out.endswith("/"), format)
    _check_combination(out, suffix, out_file, grid, num_images)
    from soundsight.batch import Settings, collect, plan, run
    from soundsight.files import check_writable
    from soundsight.picture import default_size
    from soundsight.pipeline import AudioToImage

    if grid or mix:
        check_writable(Path(out).parent if out_file else Path(out))
    weights: list[float] = []
    if mix:
        sounds, weights = mixture.parse(sounds)
    sources = collect(sounds) if not mix else []
    if out_file and not grid and len(sources) > 1:
        raise OutputError(f"{out}: one file for {len(sources)} sounds; name a folder, or add --grid")
    pipe = AudioToImage.from_pretrained(model)
    shape = pipe.folder.image
    size = size or default_size(shape.height, shape.width)
    turned = {"guidance": guidance, "steps": steps, "variation": variation, "style": style}
    controls = pipe.check({name: value for name, value in turned.items() if value is not None})
    if strict and not pipe.generator.listens:
        raise SoundsightError(f"the model '{pipe.folder.name}' cannot tell what it knows; leave out --strict")
    settings = Settings(
        Path(out), suffix, num_images, seed, size, split, out_file, keep=grid, controls=controls, strict=strict
    )
    if mix:
        mixture.save(mixture.make(pipe, sounds, weights, settings), sounds, weights, settings, grid, as_json)
        return
    reporter = _Reporter(pipe, settings, as_json)
    with quiet_libraries(), closing(run(pipe, sources, plan(sources), settings)) as outcomes:
        rows = [row for outcome in _progress(outcomes, len(sources)) if (row := reporter.take(outcome))]
    if grid and rows:
        reporter.write_grid(rows, Path(out) if out_file else Path(out) / f"grid.{suffix}")
    reporter.finish()


def _target(out: Path, is_folder: bool, wanted: str | None) -> tuple[bool, Any]:
    """Whether OUT is a file, and the format: what OUT ends in must be what was asked for."""
    if str(out) == "-":
        raise OutputError("-: pictures go to files, not to standard output; name a folder, or a file such as seven.png")
    told = _SUFFIXES.get(out.suffix.lower())
    if out.suffix.lower() in _FOREIGN and not is_folder and not out.is_dir():
        raise OutputError(f"{out}: {out.suffix} is not written here; choose png, webp, jpg or npy, or name a folder")
    if told is None or is_folder or out.is_dir():
        if out.exists() and not out.is_dir():
            raise OutputError(f"{out}: a file; expected a folder, or the name of a picture such as seven.png")
        return False, wanted or "png"
    if wanted not in (None, told):
        raise OutputError(f"{out}: ends in {out.suffix} and --format is {wanted}; leave out one of them")
    return True, told


def _check_combination(out: str, suffix: str, is_file: bool, grid: bool, num_images: int) -> None:
    if grid and suffix == "npy":
        raise OutputError("a grid is a picture, and npy holds arrays; leave out --grid, or choose another --format")
    if is_file and not grid and num_images > 1 and suffix != "npy":
        raise OutputError(f"{out}: one file for {num_images} pictures; name a folder, or add --grid")


class _Reporter:
    """Tells what was written as it happens, and what went wrong at the end."""

    def __init__(self, pipe: AudioToImage, settings: Settings, as_json: bool) -> None:
        self._model, self._shape = pipe.folder.name, pipe.folder.image
        self._settings = settings
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
        self._sounds.append(outcome.source.given)
        (self._errors if self._settings.strict else self._warnings).extend(outcome.strange)
        for file in outcome.files:
            more: dict[str, Any] = {"part": file.part} if file.part else {}
            more |= {} if file.heard is None else {"heard": file.heard.to_json()}
            self._written(file.path, outcome.milliseconds, sound=outcome.source.given, index=file.index, **more)
        self._milliseconds += outcome.milliseconds
        self._heard += [pictures.heard.to_json() for pictures in outcome.pictures if pictures.heard is not None]
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
        origin: dict[str, str | int] = {"sound": sounds, "model": self._model, "seed": self._settings.seed}
        data = encode(grid(rows), self._settings.suffix, {**origin, "soundsight": __version__})
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
            milliseconds=round(milliseconds, 2),
        )

    def _line(self, **what: Any) -> None:
        if self._as_json:
            typer.echo(json.dumps(what))


def _progress(outcomes: Iterator[Outcome], total: int) -> Iterable[Outcome]:
    """The same outcomes, with a bar on stderr where there are many and somebody is looking."""
    if total < _MANY or not sys.stderr.isatty():
        return outcomes
    from rich.console import Console
    from rich.progress import track

    return track(outcomes, "Listening", total=total, console=Console(stderr=True), transient=True)
