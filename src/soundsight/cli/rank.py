"""``soundsight rank``: order pictures by how well they fit a sound."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer

from soundsight.cli import complete_alignments, examples, say, show
from soundsight.cli.quiet import quiet_libraries
from soundsight.errors import ImageError, SoundsightError

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command(
    epilog=examples(
        "soundsight rank seven.wav pictures/*.png",
        "soundsight rank seven.wav one.png seven.jpg --json",
    )
)
def rank(
    sound: Annotated[str, typer.Argument(metavar="SOUND", help="File of a sound, or - for stdin.")],
    images: Annotated[list[str], typer.Argument(metavar="IMAGE...", help="Files of pictures.")],
    model: Annotated[
        str, typer.Option(metavar="NAME|FOLDER", autocompletion=complete_alignments, help="An alignment.")
    ] = "alignment",
    as_json: Annotated[bool, typer.Option("--json", help="One line of JSON for each picture.")] = False,
) -> None:
    """Order pictures by how well they fit a sound.

    The best comes first.

    The score is a cosine, from -1 to 1. It compares pictures of one sound: scores of two sounds say nothing beside each
    other, nor does any score of a sound that is no digit, or of a picture of none. Pictures that cannot be read are
    reported at the end and do not stop the rest.

    Exit code: 0, or 1 if some pictures could not be read, 2 if none could or something else is wrong.
    """
    from soundsight.alignment import Alignment

    if sound == "-" and sys.stdin.isatty():
        raise SoundsightError("'-' reads a sound from standard input, and nothing is piped in")
    alignment = Alignment.from_pretrained(model)
    with quiet_libraries():
        clips = alignment.hear(sys.stdin.buffer.read() if sound == "-" else sound, split=True)
    if len(clips) > 1:
        raise SoundsightError(f"{sound}: {len(clips)} utterances in it, and one is wanted; cut it first")
    sound_1D = alignment.embed_sounds(alignment.extract(clips))
    scores, errors = [], []
    for path in images:
        try:
            pixels_CHW = alignment.see(path)
        except ImageError as error:
            errors.append(str(error))
            continue
        scores.append((float((alignment.embed_images(pixels_CHW[None]) @ sound_1D[0])[0]), path))
    for score, path in sorted(scores, key=lambda item: -item[0]):
        show(json.dumps({"image": path, "score": round(score, 4)}) if as_json else f"{score:+.3f}  {path}")
    for line in errors:
        say(f"soundsight: error: {line}")
    if errors:
        raise typer.Exit(1 if scores else 2)
