"""``soundsight generate``: sounds in, files with pictures out."""

from __future__ import annotations

import re
import sys
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from soundsight.cli import complete_generators, examples, layers, mixture, say
from soundsight.cli import settings as settings_of
from soundsight.cli.backbone import Backbone, Offload, Precision, SaveMemory, Without
from soundsight.cli.quiet import quiet_libraries
from soundsight.cli.reporter import Reporter, progress, steps_shown
from soundsight.errors import OutputError, SoundsightError

app = typer.Typer(rich_markup_mode=None, add_completion=False)

_SUFFIXES = {".png": "png", ".webp": "webp", ".jpg": "jpg", ".jpeg": "jpg", ".npy": "npy"}
# What looks like a kind of file, not like the end of a folder's name.
_KIND = re.compile(r"\.[A-Za-z]{3,4}|\.mp4")


@app.command(
    epilog=examples(
        "soundsight generate seven.wav -o pictures",
        "soundsight generate recordings/ more/*.mp3 -o pictures --num-images 4 --seed 1",
        "soundsight generate phone-number.ogg -o number.png --grid",
        "soundsight generate --mix three.wav:0.7 eight.wav:0.3 -o between.png",
        "arecord -d 2 | soundsight generate - -o digit.png",
        "soundsight generate dog.wav --model runs/v2d-clap --encoder clap/ --backbone sd3/ --place rain.wav@top",
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
        str | None,
        typer.Option(
            metavar="IMAGE",
            help="Write as in this picture of a digit; the first picture exactly, others nearly.",
            show_default="drawn",
        ),
    ] = None,
    backbone: Backbone = None,
    encoder: Annotated[
        str | None,
        typer.Option(
            metavar="WEIGHTS",
            help="What hears for an adapter: a file, folder or hub name; or embeddings of these sounds (.npy, shards).",
        ),
    ] = None,
    encoder_set: Annotated[
        list[str],
        typer.Option(
            metavar="KEY=VALUE",
            help="An option of the encoder beside those that the adapter was trained with, such as pca=FILE; "
            "rows=LIST names the rows of a .npy; repeatable.",
        ),
    ] = [],  # noqa: B006
    prompt: Annotated[str | None, typer.Option(metavar="TEXT", help="A text beside the sound, for a backbone.")] = None,
    text_share: Annotated[
        float | None,
        typer.Option(metavar="X", help="How much the text counts where both speak, 0 to 1.", show_default="0"),
    ] = None,
    negative: Annotated[str | None, typer.Option(metavar="TEXT", help="What the backbone is not to paint.")] = None,
    place: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FILE@PLACE",
            help="Another sound in a part of the picture: left, right, top, bottom, centre or x0,y0,x1,y1; repeatable.",
        ),
    ] = None,
    then: Annotated[
        str | None, typer.Option(metavar="FILE@SHARE", help="Another sound that takes over after so much of the steps.")
    ] = None,
    follow_loudness: Annotated[
        bool, typer.Option("--follow-loudness", help="The louder the sound, the stronger the backbone's guidance.")
    ] = False,
    precision: Precision = None,
    offload: Offload = None,
    save_memory: SaveMemory = False,
    without: Without = [],  # noqa: B006
    format: Annotated[  # noqa: A002 - the name of the option
        Literal["png", "webp", "jpg", "npy"] | None,
        typer.Option(help="Kind of file; npy is an array for each sound or part.", show_default="as OUT ends, or png"),
    ] = None,
    grid: Annotated[bool, typer.Option("--grid", help="One sheet for all, a row for each sound.")] = False,
    mix: Annotated[
        bool,
        typer.Option(
            "--mix",
            help="One picture of all sounds, which are files here: FILE or FILE:WEIGHT; weights count in proportion.",
        ),
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
    asked = layers.Asked(prompt, text_share, negative, place or [], then, follow_loudness)
    pipe = AudioToImage.from_pretrained(
        model,
        backbone=backbone,
        encoder=encoder,
        encoder_options=settings_of.parse("--encoder-set", encoder_set),
        **layers.options(precision, offload, save_memory, without),
    )
    shape = pipe.folder.image
    size = size or default_size(shape.height, shape.width)
    turned = {"guidance": guidance, "steps": steps, "variation": variation, "style": style} | asked.controls()
    controls = pipe.check({name: value for name, value in turned.items() if value is not None})
    for line in getattr(pipe, "unread", lambda controls: [])(controls):
        say(f"soundsight: warning: {line}")
    if strict and not pipe.listens:
        raise SoundsightError(f"the model '{pipe.folder.name}' cannot tell what it knows; leave out --strict")
    settings = Settings(
        Path(out), suffix, num_images, seed, size, split, out_file, keep=grid, controls=controls, strict=strict
    )
    if mix:
        with steps_shown(pipe):
            pictures, heard = mixture.make(pipe, sounds, weights, settings)
        mixture.save(pictures, sounds, weights, heard, settings, grid, as_json)
        return
    reporter = Reporter(pipe, settings, as_json)
    with quiet_libraries(), steps_shown(pipe), closing(run(pipe, sources, plan(sources), settings)) as outcomes:
        rows = [row for outcome in progress(outcomes, len(sources)) if (row := reporter.take(outcome))]
    if grid and rows:
        reporter.write_grid(rows, Path(out) if out_file else Path(out) / f"grid.{suffix}")
    reporter.finish()


def _target(out: Path, is_folder: bool, wanted: str | None) -> tuple[bool, Any]:
    """Whether OUT is a file, and the format: what OUT ends in must be what was asked for."""
    if str(out) == "-":
        raise OutputError("-: pictures go to files, not to standard output; name a folder, or a file such as seven.png")
    told = _SUFFIXES.get(out.suffix.lower())
    if told is None and _KIND.fullmatch(out.suffix) and not is_folder and not out.is_dir():
        raise OutputError(
            f"{out}: {out.suffix} is not written here; choose png, webp, jpg or npy, or end the name of a folder in /"
        )
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
