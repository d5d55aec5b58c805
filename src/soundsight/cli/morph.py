"""``soundsight morph``: a film from one sound to another."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from soundsight.cli import complete_generators, examples, show
from soundsight.cli.mixture import examine, heard_json
from soundsight.cli.quiet import quiet_libraries
from soundsight.errors import OutputError, SoundsightError, require

app = typer.Typer(rich_markup_mode=None, add_completion=False)

_SUFFIXES = (".gif", ".mp4", ".png")


@app.command(
    epilog=examples(
        "soundsight morph three.wav eight.wav -o morph.gif",
        "soundsight morph three.wav eight.wav -o morph.mp4 --frames 90 --fps 30",
        "soundsight morph three.wav eight.wav -o morph.png --frames 8",
    )
)
def morph(
    first: Annotated[str, typer.Argument(metavar="A", help="File of the first sound.")],
    second: Annotated[
        str, typer.Argument(metavar="B", help="File of the second sound; the same one for another handwriting alone.")
    ],
    out: Annotated[
        str, typer.Option("--out", "-o", metavar="FILE", help="Film (.gif or .mp4), or the frames side by side (.png).")
    ],
    model: Annotated[
        str,
        typer.Option(metavar="NAME|FOLDER", autocompletion=complete_generators, help="Model, by name or as a folder."),
    ] = "digits",
    frames: Annotated[int, typer.Option(min=2, max=1000, metavar="N", help="Number of pictures.")] = 32,
    fps: Annotated[
        float | None,
        typer.Option(metavar="N", help="Pictures a second of a film, 1 to 60; a GIF at most 50.", show_default="16"),
    ] = None,
    back: Annotated[
        bool | None,
        typer.Option(
            "--back/--no-back", help="A film goes there and back, so that it can repeat.", show_default="back"
        ),
    ] = None,
    seed: Annotated[int, typer.Option(metavar="N", help="The same seed gives the same film.")] = 0,
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
        str | None, typer.Option(metavar="IMAGE", help="Begin in the hand of this picture.", show_default="drawn")
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Make no film of a sound that is nothing the model knows.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one line of JSON.")] = False,
) -> None:
    """Make a film from one sound to another.

    What is painted goes from the first sound to the second, and so does the handwriting. On the way 'digits' paints
    shapes between two digits, which may look like a third, or like none.
    """
    import numpy as np

    from soundsight import film, picture
    from soundsight.files import check_writable, replace_file
    from soundsight.pipeline import AudioToImage

    path = Path(out)
    if path.suffix.lower() not in _SUFFIXES or out.endswith("/"):
        raise OutputError(f"{out}: a morph is a film or a strip of pictures; name it .gif, .mp4 or .png")
    is_strip = path.suffix.lower() == ".png"
    for name, value in (("--fps", fps), ("--back", back)):
        if is_strip and value is not None:
            raise SoundsightError(f"{name} is for films, and {out} is a strip of pictures; leave it out")
    fps = 16.0 if fps is None else fps
    if not 1 <= fps <= 60:
        raise SoundsightError(f"the number of pictures a second is 1 to 60, not {fps:g}")
    if path.suffix.lower() == ".mp4":
        require("av", "video", "MP4")
    check_writable(path.parent)
    pipe = AudioToImage.from_pretrained(model)
    shape = pipe.folder.image
    side = size or picture.default_size(shape.height, shape.width)
    if is_strip:
        scale = side / max(shape.height, shape.width)
        picture.grid_shape(1, frames, round(scale * shape.height), round(scale * shape.width), "png")
    turned = {"guidance": guidance, "steps": steps, "variation": variation, "style": style}
    controls = pipe.check({name: value for name, value in turned.items() if value is not None})
    if strict and not pipe.listens:
        raise SoundsightError(f"the model '{pipe.folder.name}' cannot tell what it knows; leave out --strict")
    with quiet_libraries():
        heard = examine(pipe, [first, second], strict=strict)
        pictures = pipe.morph(first, second, frames, seed, side, **controls)
    shown, origin = pictures.array, pictures.metadata(0)
    del origin["index"]
    height, width = shown.shape[1:3]
    if is_strip:
        strip = picture.grid([list(shown)])
        (height, width), data = strip.shape[:2], picture.encode(strip, "png", origin)
    else:
        encode = film.encode_gif if path.suffix.lower() == ".gif" else film.encode_mp4
        data = encode(shown if back is False else np.concatenate([shown, shown[-2:0:-1]]), fps, origin)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, data)
    except OSError as error:
        raise OutputError(f"{out}: cannot be written ({error.strerror})") from error
    told = {**origin, **heard_json(heard), "path": out, "frames": frames, "width": width, "height": height}
    show(json.dumps(told) if as_json else out)
