"""``soundsight morph``: a film from one sound to another."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from soundsight.cli import complete_generators, examples, show
from soundsight.cli.mixture import examine
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
    fps: Annotated[float, typer.Option(metavar="N", help="Pictures a second, 1 to 60; a GIF at most 50.")] = 16.0,
    back: Annotated[bool, typer.Option(help="Go there and back, so that it can repeat without a jump.")] = True,
    seed: Annotated[int, typer.Option(metavar="N", help="The same seed gives the same film.")] = 0,
    size: Annotated[
        int | None,
        typer.Option(min=8, max=4096, metavar="N", help="Long side in pixels.", show_default="280, or as drawn"),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one line of JSON.")] = False,
) -> None:
    """Make a film from one sound to another.

    What is painted goes from the first sound to the second, and so does the handwriting. Models that paint what they
    hear at once, as 'digits' does, change their mind on the way, and quickly.
    """
    import numpy as np

    from soundsight import film, picture
    from soundsight.files import check_writable, replace_file
    from soundsight.pipeline import AudioToImage

    path = Path(out)
    if path.suffix.lower() not in _SUFFIXES or out.endswith("/"):
        raise OutputError(f"{out}: a morph is a film or a strip of pictures; name it .gif, .mp4 or .png")
    if not 1 <= fps <= 60:
        raise SoundsightError(f"the number of pictures a second is 1 to 60, not {fps:g}")
    if path.suffix.lower() == ".mp4":
        require("av", "video", "MP4")
    check_writable(path.parent)
    pipe = AudioToImage.from_pretrained(model)
    shape = pipe.folder.image
    side = size or picture.default_size(shape.height, shape.width)
    if path.suffix.lower() == ".png":
        scale = side / max(shape.height, shape.width)
        picture.grid_shape(1, frames, round(scale * shape.height), round(scale * shape.width), "png")
    with quiet_libraries():
        examine(pipe, [first, second])
        pictures = pipe.morph(first, second, frames, seed, side)
    shown, origin = pictures.array, pictures.metadata(0)
    del origin["index"]
    if path.suffix.lower() == ".png":
        data = picture.encode(picture.grid([list(shown)]), "png", origin)
    else:
        encode = film.encode_gif if path.suffix.lower() == ".gif" else film.encode_mp4
        data = encode(np.concatenate([shown, shown[-2:0:-1]]) if back else shown, fps, origin)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, data)
    except OSError as error:
        raise OutputError(f"{out}: cannot be written ({error.strerror})") from error
    told = {**origin, "file": out, "frames": frames, "width": shown.shape[2], "height": shown.shape[1]}
    show(json.dumps(told) if as_json else out)
